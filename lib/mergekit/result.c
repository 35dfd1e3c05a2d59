/* Documents whose results others use as models. */
#include "build.h"

#include "input.h"

#include <string.h>

#define DOCUMENTS_DEEP 16 /* results of documents that use results */

/* ---- how a result is stored -------------------------------------------------------------------
 */

/* The model on disk whose config and tokenizer the result of a document gets. */
const char *result_lender(const struct build *b, const struct config *c)
{
    const char *model = c->base;
    for (size_t depth = 0; depth < DOCUMENTS_DEEP; depth++) {
        if (!model)
            model = c->slices[0].base ? c->slices[0].base : c->slices[0].sources[0].model;
        struct parties all;
        struct error ignored;
        parties_find(&all, b->file, c, b->a, &ignored);
        const struct party *p = parties_get(&all, model, b->a);
        if (!p->result)
            return p->file;
        c = p->result;
        model = c->base;
    }
    return NULL; /* a circle, which is refused when it is walked */
}

/* The dtype of most elements of a model on disk; DTYPE_NONE if it cannot be read. */
static enum dtype stored_dtype(const struct build *b, const char *path)
{
    struct error ignored;
    uint64_t count[DTYPE_COUNT] = {0};
    enum dtype most = DTYPE_NONE;
    struct input *in = path ? input_open(path, NULL, b->tool, &ignored) : NULL;
    for (size_t i = 0; in && i < input_count(in); i++)
        count[input_tensor(in, i)->dtype] += input_tensor(in, i)->elements;
    input_close(in);
    for (int d = 0; d < DTYPE_COUNT; d++)
        if (dtype_is_float((enum dtype)d) && count[d] > count[most])
            most = (enum dtype)d;
    return most;
}

enum dtype result_said_dtype(const struct config *c)
{
    return c->out_dtype != DTYPE_NONE ? c->out_dtype : c->dtype;
}

/* In what a document's result would stand in its file. */
enum dtype result_dtype(const struct build *b, const struct config *c)
{
    return result_said_dtype(c) != DTYPE_NONE ? result_said_dtype(c)
                                              : stored_dtype(b, result_lender(b, c));
}

/* ---- its pipeline ------------------------------------------------------------------------------
 */

static struct recipe_result *find(const struct recipe *r, const struct config *c)
{
    for (size_t i = 0; i < r->n_results; i++)
        if (r->results[i]->config == c)
            return r->results[i];
    return NULL;
}

static struct recipe_result *make(const struct build *outer, const struct party *party)
{
    struct build b = *outer;
    struct recipe *r = b.r;
    struct recipe_result *own = arena_alloc(b.a, 1, sizeof *own);
    *own = (struct recipe_result){.config = party->result, .name = party->name};
    b.outer = outer;
    own->dtype = result_dtype(&b, party->result);
    if (build_start(&b, party->result) || build_weights(&b, &own->line))
        return NULL;
    struct recipe_result **all = arena_alloc(b.a, r->n_results + 1, sizeof *all);
    if (r->n_results)
        memcpy(all, r->results, r->n_results * sizeof *all);
    all[r->n_results++] = own;
    r->results = all;
    return own;
}

/* The stream as its file would be: rounded. */
static struct line *rounded(struct recipe_result *own, struct arena *a)
{
    if (own->rounded.n > 0)
        return &own->rounded;
    struct command *c = line_add(&own->rounded, "unpack", a);
    build_dtype(c, own->dtype, a);
    struct word *w = command_add_word(c, a);
    w->text = arena_printf(a, "%s=", own->name);
    w->inner = &own->line;
    return &own->rounded;
}

struct line *result_line(const struct build *outer, const struct party *party)
{
    for (const struct build *b = outer; b; b = b->outer)
        if (b->c == party->result) {
            build_refuse(outer, b->c->line, "the documents use each other in a circle");
            return NULL;
        }
    struct recipe_result *own = find(outer->r, party->result);
    if (!own && !(own = make(outer, party)))
        return NULL;
    own->uses++;
    bool as_it_comes =
        own->dtype == DTYPE_NONE || own->dtype == DTYPE_F32 || own->dtype == outer->c->dtype;
    return as_it_comes ? &own->line : rounded(own, outer->a);
}

/* ---- results that are used more than once ------------------------------------------------------
 */

struct line *recipe_result_line(const struct recipe_result *own, const char *path, struct arena *a)
{
    struct line *l = arena_alloc(a, 1, sizeof *l);
    l->n = own->line.n;
    l->commands = arena_copy(a, own->line.commands, l->n * sizeof *l->commands);
    struct command *pack = line_add(l, "pack", a);
    build_dtype(pack, own->dtype, a);
    command_add(pack, path, a);
    return l;
}

/* Puts the path in the place of the result's pipeline. */
static void use_in(struct line *l, const struct recipe_result *own, const char *path,
                   struct arena *a)
{
    for (size_t i = 0; i < l->n; i++)
        for (size_t j = 0; j < l->commands[i].n; j++) {
            struct word *w = &l->commands[i].words[j];
            if (w->inner == &own->line || w->inner == &own->rounded)
                *w = (struct word){.text = arena_printf(a, "%s%s%s", w->text, path, w->after)};
            else if (w->inner)
                use_in(w->inner, own, path, a);
        }
}

void recipe_use_file(struct recipe *r, const struct recipe_result *own, const char *path,
                     struct arena *a)
{
    for (size_t i = 0; i < r->n_results; i++)
        if (r->results[i] != own)
            use_in(&r->results[i]->line, own, path, a);
    use_in(&r->line, own, path, a);
}
