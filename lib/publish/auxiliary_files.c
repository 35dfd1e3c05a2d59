#include "auxiliary_files.h"

#include "config_update.h"
#include "tokenizer_files.h"
#include "pattern.h"

#include <stdlib.h>
#include <string.h>

char *auxiliary_files_read_config(const struct model_source *lender, size_t *size)
{
    const struct ckpt *c = lender ? model_source_checkpoint(lender) : NULL;
    return c ? ckpt_read_auxiliary_file(c, "config.json", size) : NULL;
}

static int put_config(const struct auxiliary_files *l, auxiliary_file_writer *put, void *to,
                      struct error *e)
{
    size_t size;
    char *config = auxiliary_files_read_config(l->source, &size);
    if (!config)
        return 0;
    char *text = config_update_json(config, size, l->source, l->result, l->new_head, l->tool);
    int failed = put(to, "config.json", text, strlen(text), e);
    free(text);
    free(config);
    return failed;
}

/* A file of the tokenizer, with the chat template that was asked for in its place. */
static int put_tokenizer_file(const struct auxiliary_files *l, const char *name, const char *text,
                              size_t size, auxiliary_file_writer *put, void *to, struct error *e)
{
    const char *template = l->chat_template;
    if (template && strcmp(name, "chat_template.jinja") == 0)
        return put(to, name, template, strlen(template), e);
    if (!template || strcmp(name, "tokenizer_config.json") != 0)
        return put(to, name, text, size, e);
    char *config = chat_template_insert(text, size, template, e);
    int failed = config ? put(to, name, config, strlen(config), e) : -1;
    free(config);
    return failed;
}

/* Of the small files beside a model's weights, those that belong to a model of any kind: settings,
 * code that goes with it, licences. README and config are written anew. */
static bool is_lent(const char *name)
{
    static const char *const patterns[] = {"*.json",   "*.jinja", "*.py",
                                           "LICENSE*", "NOTICE*", "USE_POLICY*"};
    bool lent = false;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        lent |= pattern_matches(patterns[i], name);
    return lent && strcmp(name, "config.json") != 0;
}

/* The small files of a model, those of its tokenizer or all others. */
static int put_files_of(const struct auxiliary_files *l, const struct model_source *in,
                        bool tokenizer, auxiliary_file_writer *put, void *to, struct error *e)
{
    const struct ckpt *c = model_source_checkpoint(in);
    for (size_t i = 0; c && i < ckpt_auxiliary_file_count(c); i++) {
        const char *name = ckpt_auxiliary_file_name(c, i);
        size_t size;
        if (tokenizer_files_is_tokenizer_file(name) != tokenizer || (!tokenizer && !is_lent(name)))
            continue;
        char *text = ckpt_read_auxiliary_file(c, name, &size);
        int failed = -1;
        if (!text)
            error_set(e, "cannot read %s of %s", name, model_source_name(in));
        else if (tokenizer)
            failed = put_tokenizer_file(l, name, text, size, put, to, e);
        else
            failed = put(to, name, text, size, e);
        free(text);
        if (failed)
            return -1;
    }
    return 0;
}

/* A chat template without a file to stand in gets one of its own. */
static int put_template(const struct auxiliary_files *l, const struct model_source *in,
                        auxiliary_file_writer *put, void *to, struct error *e)
{
    const struct ckpt *c = model_source_checkpoint(in);
    for (size_t i = 0; c && i < ckpt_auxiliary_file_count(c); i++)
        if (strcmp(ckpt_auxiliary_file_name(c, i), "tokenizer_config.json") == 0 ||
            strcmp(ckpt_auxiliary_file_name(c, i), "chat_template.jinja") == 0)
            return 0;
    return put(to, "chat_template.jinja", l->chat_template, strlen(l->chat_template), e);
}

static int put_tokenizer(const struct auxiliary_files *l, auxiliary_file_writer *put, void *to,
                         struct error *e)
{
    struct model_source *own = NULL;
    if (l->no_tokenizer)
        return 0;
    if (l->tokenizer && !(own = model_source_open(l->tokenizer, l->spool, l->tool, e)))
        return -1;
    const struct model_source *in = own ? own : l->source;
    int failed = put_files_of(l, in, true, put, to, e) ||
                         (l->chat_template && put_template(l, in, put, to, e))
                     ? -1
                     : 0;
    model_source_close(own);
    return failed;
}

int auxiliary_files_copy(const struct auxiliary_files *l, auxiliary_file_writer *put, void *to,
                         struct error *e)
{
    return put_files_of(l, l->source, false, put, to, e) || put_tokenizer(l, put, to, e) ||
                   put_config(l, put, to, e)
               ? -1
               : 0;
}
