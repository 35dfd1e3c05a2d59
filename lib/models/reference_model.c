#include "reference_model.h"

#include "model_source.h"
#include "saved_stream.h"

#include <stdlib.h>
#include <string.h>

/* One of the two. */
struct reference_model {
    struct model_source *model;
    struct header *header; /* made for the model */
    struct saved_stream *saved;
    struct named *names; /* sorted */
};

struct named {
    const char *name;
    size_t place;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static void sort_names(struct reference_model *r)
{
    const struct header *h = reference_model_header(r);
    r->names = mem_alloc(h->n_tensors, sizeof *r->names);
    for (size_t i = 0; i < h->n_tensors; i++)
        r->names[i] = (struct named){h->tensors[i].name, i};
    qsort(r->names, h->n_tensors, sizeof *r->names, by_name);
}

static int describe_model(struct reference_model *r, struct error *e)
{
    struct header *h = r->header = header_new();
    h->kind = KIND_WEIGHTS;
    if (header_add_model(h, model_source_name(r->model), NULL, e) < 0)
        return -1;
    h->n_tensors = model_source_tensor_count(r->model);
    h->tensors = arena_alloc(&h->arena, h->n_tensors, sizeof *h->tensors);
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct ckpt_tensor *from = model_source_tensor(r->model, i);
        struct vector v = vector_with_defaults(0, from->name, from->dtype, from->dtype);
        struct tensor t = {.name = from->name,
                           .rank = from->rank,
                           .shape = from->shape,
                           .n_vectors = 1,
                           .vectors = &v};
        h->tensors[i] = tensor_copy(&h->arena, &t);
    }
    return 0;
}

struct reference_model *reference_model_open(const char *operand, const char *spool,
                                             const char *tool, struct error *e)
{
    const char *path = model_source_path_of_operand(operand);
    int is_checkpoint = strcmp(path, "-") == 0 ? 0 : ckpt_is_checkpoint(path, e);
    if (is_checkpoint < 0)
        return NULL;
    struct reference_model *r = mem_alloc(1, sizeof *r);
    bool ok = is_checkpoint ? (r->model = model_source_open(operand, spool, tool, e)) &&
                                  describe_model(r, e) == 0
                            : (r->saved = saved_stream_open(path, spool, false, e)) != NULL;
    if (ok) {
        sort_names(r);
        return r;
    }
    reference_model_close(r);
    return NULL;
}

void reference_model_close(struct reference_model *r)
{
    if (!r)
        return;
    model_source_close(r->model);
    header_free(r->header);
    saved_stream_close(r->saved);
    free(r->names);
    free(r);
}

const struct header *reference_model_header(const struct reference_model *r)
{
    return r->model ? r->header : saved_stream_header(r->saved);
}

long reference_model_find_tensor(const struct reference_model *r, const char *name)
{
    struct named key = {.name = name};
    size_t n = reference_model_header(r)->n_tensors;
    const struct named *found = bsearch(&key, r->names, n, sizeof key, by_name);
    return found ? (long)found->place : -1;
}

const struct tensor *reference_model_tensor(const struct reference_model *r, size_t i)
{
    return r->model ? &r->header->tensors[i] : saved_stream_tensor(r->saved, i);
}

void reference_model_read_elements(const struct reference_model *r, size_t i, size_t k,
                                   size_t first, size_t n, void *to)
{
    if (r->model)
        model_source_read_stored(r->model, i, first, n, to);
    else
        saved_stream_read(r->saved, i, k, first, n, to);
}

void reference_model_release_pages(const struct reference_model *r, size_t i, size_t first,
                                   size_t n)
{
    if (r->model) /* a saved stream sees by itself */
        model_source_release_pages(r->model, i, first, n);
}
