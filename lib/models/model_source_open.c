#include "model_name.h"
#include "model_path.h"
#include "model_source.h"
#include "model_source_fields.h"
#include "printable.h"
#include "record.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- lists of tensors ------------------------------------------------------------------------ */

static void list_saved_tensors(struct model_source *m)
{
    const struct header *h = saved_stream_header(m->saved);
    struct listed_tensor *listed = mem_alloc(h->n_tensors, sizeof *listed);
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        listed[i] = (struct listed_tensor){{.name = t->name,
                                            .dtype = t->vectors[0].dtype,
                                            .file_dtype = t->vectors[0].dtype,
                                            .rank = t->rank,
                                            .shape = t->shape,
                                            .elements = tensor_elements(t)},
                                           i};
    }
    model_source_set_tensors(m, listed, h->n_tensors);
    free(listed);
}

static void list_base_tensors(struct model_source *m)
{
    size_t n = model_source_tensor_count(m->base);
    struct listed_tensor *listed = mem_alloc(n, sizeof *listed);
    for (size_t i = 0; i < n; i++) {
        listed[i] = (struct listed_tensor){*model_source_tensor(m->base, i), i};
        if (adapter_deltas_change(m->deltas, i)) /* its elements are computed */
            listed[i].tensor.data = NULL;
    }
    model_source_set_tensors(m, listed, n);
    free(listed);
}

const char *model_source_strip_name_from_operand(const char *operand)
{
    const char *equals = strchr(operand, '=');
    const char *slash = strchr(operand, '/');
    return equals && equals > operand && (!slash || slash > equals) ? equals + 1 : operand;
}

/* Opens a checkpoint, or with `in` one that arrives through a pipe, of which `key` names a dict.
 * Prints its notes if it can be opened. */
static struct ckpt *open_checkpoint(const char *path, struct byte_input *in, const char *key,
                                    const char *spool, const char *tool, struct error *e)
{
    struct bytes printed = {0};
    FILE *f = bytes_open_stream(&printed);
    struct ckpt *c = in ? ckpt_open_pipe(in, path, key, spool, f, e) : ckpt_open(path, spool, f, e);
    fclose(f);
    char *notes = bytes_take_text(&printed);
    for (char *line = c ? strtok(notes, "\n") : NULL; line; line = strtok(NULL, "\n"))
        printable_note(tool, "%s", line);
    free(notes);
    return c;
}

/* A model with the name that the operand gives it, or has by itself. */
static struct model_source *new_source(const char *operand)
{
    const char *path = model_source_strip_name_from_operand(operand);
    struct model_source *m = mem_alloc(1, sizeof *m);
    struct stat st;
    m->is_unlinked = stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0;
    m->name = path == operand ? model_name_from_path(path)
                              : mem_copy_text_n(operand, (size_t)(path - operand) - 1);
    return m;
}

/* Opens a checkpoint, a saved stream or an adapter alone, without its base. */
static struct model_source *open_without_base(const char *operand, int kinds, const char *spool,
                                              const char *tool, struct error *e)
{
    const char *path = model_source_strip_name_from_operand(operand);
    int is_checkpoint = ckpt_is_checkpoint(path, e);
    if (is_checkpoint < 0)
        return NULL;
    struct model_source *m = new_source(operand);
    struct stat st;
    if (is_checkpoint)
        m->ckpt = open_checkpoint(path, NULL, NULL, spool, tool, e);
    else if ((m->saved = saved_stream_open(path, spool, kinds, e)))
        list_saved_tensors(m);
    if (m->ckpt || m->saved)
        return m;
    if (stat(path, &st) == 0 && S_ISFIFO(st.st_mode)) {
        const struct error own = *e;
        error_set(e,
                  "%s; a model in another format must be a file, or standard input (-) of unpack "
                  "or tv-extract",
                  own.text);
    }
    model_source_close(m);
    return NULL;
}

/* ---- adapters -------------------------------------------------------------------------------- */

static const struct ckpt_tensor *tensor_of_base(const void *model, size_t i)
{
    return model_source_tensor(model, i);
}

static long find_tensor_of_base(const void *model, const char *name)
{
    return model_source_find_tensor(model, name);
}

static void read_base_f64(const void *model, size_t i, size_t first, size_t n, double *to)
{
    model_source_read_f64(model, i, first, n, DTYPE_NONE, to);
}

struct adapter_base model_source_adapter_base(const struct model_source *m)
{
    return (struct adapter_base){.model = m,
                                 .name = m->name,
                                 .n_tensors = model_source_tensor_count(m),
                                 .tensor = tensor_of_base,
                                 .find_tensor = find_tensor_of_base,
                                 .read_f64 = read_base_f64};
}

static struct model_source *refuse_adapter_alone(struct model_source *m, const char *operand,
                                                 struct error *e)
{
    error_set(e, "%s is a LoRA adapter, which needs its base model: BASE+%s", operand,
              model_source_strip_name_from_operand(operand));
    model_source_close(m);
    return NULL;
}

/* Makes `m`, which is opened as an adapter alone, the model `base` with the adapter. Takes over the
 * base. */
static struct model_source *apply_adapter(struct model_source *m, struct model_source *base,
                                          const char *path, const char *tool, struct error *e)
{
    size_t size = 0;
    const struct ckpt *c = model_source_checkpoint(base);
    m->base = base;
    bool failed = c && ckpt_read_auxiliary_file(c, "config.json", &m->config, &size, e) < 0;
    struct adapter_base below = model_source_adapter_base(base);
    below.config = m->config;
    below.config_size = size;
    if (!failed) {
        m->deltas = adapter_deltas_open(m->ckpt, path, &below, tool, e);
        m->ckpt = NULL;
    }
    if (m->deltas) {
        list_base_tensors(m);
        return m;
    }
    model_source_close(m);
    return NULL;
}

/* The model as a whole, without the selection of layers; it borrows what it reads. */
static struct model_source *whole_model(const struct model_source *of)
{
    struct model_source *m = mem_alloc(1, sizeof *m);
    m->name = mem_copy_text(of->name);
    m->ckpt = of->ckpt;
    m->saved = of->saved;
    m->base = of->base;
    m->deltas = of->deltas;
    m->borrows_content = true;
    if (m->saved)
        list_saved_tensors(m);
    else if (m->deltas)
        list_base_tensors(m);
    return m;
}

/* Opens the adapter alone and applies it to `base`, which it takes over. */
static struct model_source *open_adapter(const char *operand, const char *adapter,
                                         struct model_source *base, const char *spool,
                                         const char *tool, struct error *e)
{
    const char *path = model_source_strip_name_from_operand(operand);
    struct model_source *m = mem_alloc(1, sizeof *m);
    if (path == operand) { /* not from the whole: whether it has a '+' was decided */
        char *base_path = model_path_copy_base(path, adapter);
        char *base_name = model_name_from_path(base_path), *own = model_name_from_path(adapter);
        m->name = mem_printf("%s+%s", base_name, own);
        free(base_path);
        free(base_name);
        free(own);
    } else {
        m->name = mem_copy_text_n(operand, (size_t)(path - operand) - 1);
    }
    m->ckpt = open_checkpoint(adapter, NULL, NULL, spool, tool, e);
    if (m->ckpt && ckpt_is_adapter(m->ckpt))
        return apply_adapter(m, base, adapter, tool, e);
    if (m->ckpt)
        error_set(e, "%s is not a LoRA adapter: it has no adapter_config.json", adapter);
    model_source_close(base);
    model_source_close(m);
    return NULL;
}

/* Opens "BASE+ADAPTER". */
static struct model_source *open_with_base(const char *operand, const char *adapter,
                                           const char *spool, const char *tool, struct error *e)
{
    const char *path = model_source_strip_name_from_operand(operand);
    char *base_path = model_path_copy_base(path, adapter);
    char *name = model_name_from_path(base_path);
    char *base_operand = mem_printf("base=%s", base_path); /* a '=' in the path is not a name */
    struct model_source *base = model_source_open(base_operand, spool, tool, e);
    if (base) {
        free(base->name);
        base->name = mem_copy_text(name);
    }
    free(base_operand);
    free(base_path);
    free(name);
    return base ? open_adapter(operand, adapter, base, spool, tool, e) : NULL;
}

struct model_source *model_source_open_of_kinds(const char *operand, int kinds, const char *spool,
                                                const char *tool, struct error *e)
{
    const char *adapter = model_path_adapter(model_source_strip_name_from_operand(operand));
    if (adapter)
        return open_with_base(operand, adapter, spool, tool, e);
    struct model_source *m = open_without_base(operand, kinds, spool, tool, e);
    return m && m->ckpt && ckpt_is_adapter(m->ckpt) ? refuse_adapter_alone(m, operand, e) : m;
}

/* Is it the path of the model that `base_operand` names, perhaps with layers selected? */
static bool is_base_operand(const char *path, size_t length, const char *base_operand)
{
    const char *base = model_source_strip_name_from_operand(base_operand);
    return strncmp(path, base, length) == 0 && (!base[length] || base[length] == '[');
}

struct model_source *model_source_open_on(const char *operand, const struct model_source *base,
                                          const char *base_operand, const char *spool,
                                          const char *tool, struct error *e)
{
    const char *path = model_source_strip_name_from_operand(operand);
    const char *adapter = model_path_adapter(path);
    if (adapter && is_base_operand(path, (size_t)(adapter - path) - 1, base_operand))
        return open_adapter(operand, adapter, whole_model(base), spool, tool, e);
    if (adapter)
        return open_with_base(operand, adapter, spool, tool, e);
    struct model_source *m = open_without_base(operand, KIND_WEIGHTS, spool, tool, e);
    return m && m->ckpt && ckpt_is_adapter(m->ckpt)
               ? apply_adapter(m, whole_model(base), path, tool, e)
               : m;
}

/* ---- opening a model ------------------------------------------------------------------------- */

struct model_source *model_source_open(const char *operand, const char *spool, const char *tool,
                                       struct error *e)
{
    return model_source_open_of_kinds(operand, KIND_WEIGHTS, spool, tool, e);
}

bool model_source_is_standard_input(const char *operand)
{
    const char *path = model_source_strip_name_from_operand(operand);
    return path[0] == '-' && (!path[1] || path[1] == '#');
}

/* Is the input a stream? It is copied, because it must be complete before it is a model. */
static struct saved_stream *open_stream_pipe(struct byte_input *in, const char *spool,
                                             struct error *e)
{
    struct saved_stream *s = saved_stream_open_pipe(in, "standard input", spool, KIND_WEIGHTS, e);
    byte_input_close(in);
    return s;
}

static bool begins_stream(const struct byte_input *in)
{
    size_t n;
    const unsigned char *first = byte_input_peek(in, &n);
    return n >= 5 && memcmp(first, "\xa4" RECORD_MAGIC, 5) == 0;
}

static void refuse_key_of_stream(struct byte_input *in, const char *key, struct error *e)
{
    byte_input_close(in);
    error_set(e, "standard input is a stream, which has no dicts in it; leave out #%s", key);
}

static char *name_standard_input(const char *key)
{
    return key && *key ? model_name_append_key("stdin", key) : mem_copy_text("stdin");
}

struct model_source *model_source_open_standard_input(const char *operand,
                                                      const struct model_source *base,
                                                      const char *spool, const char *tool,
                                                      struct error *e)
{
    const char *path = model_source_strip_name_from_operand(operand);
    const char *key = path[1] ? path + 2 : NULL;
    if (isatty(STDIN_FILENO)) {
        error_set(e, "standard input is a terminal; pipe a model into it");
        return NULL;
    }
    struct byte_input *in = byte_input_open(STDIN_FILENO, "standard input", NULL, 0, e);
    if (!in)
        return NULL;
    struct model_source *m = mem_alloc(1, sizeof *m);
    m->name = path == operand ? name_standard_input(key)
                              : mem_copy_text_n(operand, (size_t)(path - operand) - 1);
    if (!begins_stream(in))
        m->ckpt = open_checkpoint("standard input", in, key, spool, tool, e);
    else if (key)
        refuse_key_of_stream(in, key, e);
    else if ((m->saved = open_stream_pipe(in, spool, e)))
        list_saved_tensors(m);
    bool is_adapter = m->ckpt && ckpt_is_adapter(m->ckpt);
    if (is_adapter && base)
        return apply_adapter(m, whole_model(base), "standard input", tool, e);
    if ((m->ckpt && !is_adapter) || m->saved)
        return m;
    if (is_adapter)
        error_set(e, "standard input is a LoRA adapter, which needs its base model before it");
    model_source_close(m);
    return NULL;
}

void model_source_close(struct model_source *m)
{
    if (!m)
        return;
    if (!m->borrows_content) {
        ckpt_close(m->ckpt);
        saved_stream_close(m->saved);
        adapter_deltas_close(m->deltas);
        model_source_close(m->base);
    }
    free(m->config);
    free(m->tensors);
    free(m->stored_indexes);
    free(m->computed);
    free(m->name);
    arena_free(&m->arena);
    free(m);
}
