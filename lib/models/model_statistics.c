#include "model_statistics.h"

#include "model_source.h"
#include "stage.h"

#include <stdlib.h>
#include <string.h>

struct statistics_file {
    const char *path; /* as given */
    struct model_source *source;
};

struct model_statistics {
    const char *option;
    model_statistics_shape *shape;
    size_t n;
    struct statistics_file *files; /* [model of the header] */
};

/* ---- opening --------------------------------------------------------------------------------- */

int model_statistics_check_options(const char *option, const struct string_list *files,
                                   struct error *e)
{
    for (size_t i = 0; i < files->n; i++) {
        const char *word = files->items[i], *path = model_source_strip_name_from_operand(word);
        if (path - word < 2 || !*path)
            return error_set(e, "--%s %s: expected MODEL=FILE", option, word);
    }
    return 0;
}

/* Opens the file of "MODEL=FILE". */
static int open_file(struct model_statistics *m, struct stage *s, const struct header *h,
                     const char *word, struct error *e)
{
    const char *path = model_source_strip_name_from_operand(word);
    const char *name = arena_copy_text_n(&s->arena, word, (size_t)(path - word) - 1);
    long model = header_find_model(h, name);
    if (model < 0)
        return error_set(e, "--%s %s: the stream has no model %s", m->option, word, name);
    struct statistics_file *f = &m->files[model];
    if (f->source)
        return error_set(e, "--%s is given twice for the model %s", m->option, name);
    f->path = path;
    f->source = model_source_open_of_kinds(word, KIND_WEIGHTS | KIND_ACTIVATIONS, s->common.spool,
                                           s->filter->name, e);
    if (!f->source)
        return -1;
    stage_record_option(s, arena_printf(&s->arena, "--%s=%s=xxh3:%016llx", m->option, name,
                                        (unsigned long long)model_source_fingerprint(f->source)));
    return 0;
}

static int check_every_model_has_file(const struct model_statistics *m, const struct header *h,
                                      struct error *e)
{
    for (size_t i = 0; i < h->n_tensors; i++)
        for (size_t k = 0; k < h->tensors[i].n_vectors; k++) {
            size_t model = h->tensors[i].vectors[k].model;
            if (!m->files[model].source)
                return error_set(e, "there is no --%s for the model %s", m->option,
                                 h->models[model].name);
        }
    return 0;
}

static int check_tensors(const struct model_statistics *m, const struct header *h, struct error *e)
{
    size_t n_possible = 0, n_found = 0, rank;
    uint64_t shape[TENSOR_RANK_MAX];
    for (size_t i = 0; i < h->n_tensors; i++) {
        int found = model_statistics_find(m, &h->tensors[i], e);
        if (found < 0)
            return -1;
        n_possible += m->shape(&h->tensors[i], &rank, shape);
        n_found += (size_t)found;
    }
    return n_possible == 0 || n_found > 0
               ? 0
               : error_set(e, "no file of --%s contains a tensor of the stream", m->option);
}

struct model_statistics *model_statistics_open(struct stage *s, const char *option,
                                               const struct string_list *files,
                                               model_statistics_shape *shape,
                                               const struct header *h, struct error *e)
{
    struct model_statistics *m = mem_alloc(1, sizeof *m);
    *m = (struct model_statistics){option, shape, h->n_models,
                                   mem_alloc(h->n_models, sizeof *m->files)};
    int failed = 0;
    for (size_t i = 0; i < files->n && !failed; i++)
        failed = open_file(m, s, h, files->items[i], e);
    if (!failed && check_every_model_has_file(m, h, e) == 0 && check_tensors(m, h, e) == 0)
        return m;
    model_statistics_close(m, false, e);
    return NULL;
}

int model_statistics_close(struct model_statistics *m, bool ok, struct error *e)
{
    int failed = 0;
    for (size_t i = 0; m && i < m->n; i++) {
        failed = failed || (ok && model_source_check_unchanged(m->files[i].source, e));
        model_source_close(m->files[i].source);
    }
    free(m ? m->files : NULL);
    free(m);
    return failed ? -1 : 0;
}

const char *model_statistics_file(const struct model_statistics *m, size_t model)
{
    return m->files[model].path;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* The index in the file of vector k's statistic; -1: it has none. */
static long find_tensor(const struct model_statistics *m, const struct tensor *t, size_t k)
{
    const struct vector *v = &t->vectors[k];
    const struct model_source *f = m->files[v->model].source;
    long found = v->source ? model_source_find_tensor(f, v->source) : -1;
    return found < 0 ? model_source_find_tensor(f, t->name) : found;
}

static int check_tensor(const struct model_statistics *m, size_t model,
                        const struct ckpt_tensor *found, size_t rank, const uint64_t *shape,
                        struct error *e)
{
    const char *path = m->files[model].path;
    if (!dtype_is_float(found->dtype))
        return error_set(e, "tensor %s of %s is %s; expected F16, BF16, F32 or F64", found->name,
                         path, dtype_name(found->dtype));
    if (found->rank == rank && memcmp(found->shape, shape, rank * sizeof *shape) == 0)
        return 0;
    struct arena a = {0};
    error_set(e, "tensor %s of %s has shape %s; expected %s", found->name, path,
              tensor_format_shape(&a, found->rank, found->shape),
              tensor_format_shape(&a, rank, shape));
    arena_free(&a);
    return -1;
}

int model_statistics_find(const struct model_statistics *m, const struct tensor *t, struct error *e)
{
    size_t n_found = 0, missing = 0, rank;
    uint64_t shape[TENSOR_RANK_MAX];
    if (!m->shape(t, &rank, shape))
        return 0;
    for (size_t k = 0; k < t->n_vectors; k++) {
        size_t model = t->vectors[k].model;
        long found = find_tensor(m, t, k);
        if (found < 0)
            missing = model;
        else if (check_tensor(m, model, model_source_tensor(m->files[model].source, (size_t)found),
                              rank, shape, e))
            return -1;
        n_found += found >= 0;
    }
    if (n_found > 0 && n_found < t->n_vectors)
        return error_set(e, "%s has no tensor %s, which other files of --%s have",
                         m->files[missing].path, t->name, m->option);
    return n_found > 0;
}

void model_statistics_read_f32(const struct model_statistics *m, const struct tensor *t, size_t k,
                               size_t first, size_t n, float *to)
{
    model_source_read_f32(m->files[t->vectors[k].model].source, (size_t)find_tensor(m, t, k), first,
                          n, DTYPE_NONE, to);
}

void model_statistics_read_f64(const struct model_statistics *m, const struct tensor *t, size_t k,
                               size_t first, size_t n, double *to)
{
    model_source_read_f64(m->files[t->vectors[k].model].source, (size_t)find_tensor(m, t, k), first,
                          n, DTYPE_NONE, to);
}
