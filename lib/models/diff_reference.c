#include "diff_reference.h"

#include "model_source.h"
#include "saved_stream.h"

#include <stdlib.h>
#include <string.h>

struct named_index {
    const char *name;
    size_t index;
};

struct diff_reference {
    struct model_source *model; /* with its header, or ... */
    struct header *header;
    struct saved_stream *saved; /* ... this */
    struct named_index *names;  /* sorted */
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct named_index *)a)->name, ((const struct named_index *)b)->name);
}

static void sort_names(struct diff_reference *r)
{
    const struct header *h = diff_reference_header(r);
    r->names = mem_alloc(h->n_tensors, sizeof *r->names);
    for (size_t i = 0; i < h->n_tensors; i++)
        r->names[i] = (struct named_index){h->tensors[i].name, i};
    qsort(r->names, h->n_tensors, sizeof *r->names, compare_names);
}

static int open_model(struct diff_reference *r, const char *operand, const char *spool,
                      const char *tool, struct error *e)
{
    r->model = model_source_open(operand, spool, tool, e);
    if (!r->model)
        return -1;
    r->header = header_new();
    if (model_source_fill_header(r->model, r->header, e) < 0)
        return -1;
    model_source_set_identity(r->model, r->header, 0);
    return 0;
}

struct diff_reference *diff_reference_open(const char *operand, const char *spool, const char *tool,
                                           struct error *e)
{
    const char *path = model_source_strip_name_from_operand(operand);
    int is_checkpoint = strcmp(path, "-") == 0 ? 0 : ckpt_is_checkpoint(path, e);
    if (is_checkpoint < 0)
        return NULL;
    struct diff_reference *r = mem_alloc(1, sizeof *r);
    bool ok = is_checkpoint ? open_model(r, operand, spool, tool, e) == 0
                            : (r->saved = saved_stream_open(path, spool, 0, e)) != NULL;
    if (ok) {
        sort_names(r);
        return r;
    }
    diff_reference_close(r);
    return NULL;
}

void diff_reference_close(struct diff_reference *r)
{
    if (!r)
        return;
    model_source_close(r->model);
    header_free(r->header);
    saved_stream_close(r->saved);
    free(r->names);
    free(r);
}

int diff_reference_check_unchanged(const struct diff_reference *r, struct error *e)
{
    return r->model ? model_source_check_unchanged(r->model, e)
                    : saved_stream_check_unchanged(r->saved, e);
}

const struct header *diff_reference_header(const struct diff_reference *r)
{
    return r->model ? r->header : saved_stream_header(r->saved);
}

long diff_reference_find_tensor(const struct diff_reference *r, const char *name)
{
    struct named_index key = {.name = name};
    size_t n = diff_reference_header(r)->n_tensors;
    const struct named_index *found = bsearch(&key, r->names, n, sizeof key, compare_names);
    return found ? (long)found->index : -1;
}

const struct tensor *diff_reference_tensor(const struct diff_reference *r, size_t i)
{
    return r->model ? &r->header->tensors[i] : saved_stream_tensor(r->saved, i);
}

void diff_reference_read_elements(const struct diff_reference *r, size_t i, size_t k, size_t first,
                                  size_t n, void *to)
{
    if (r->model)
        model_source_read_stored(r->model, i, first, n, to);
    else
        saved_stream_read_elements(r->saved, i, k, first, n, to);
}

void diff_reference_release_pages(const struct diff_reference *r, size_t i, size_t first, size_t n)
{
    if (r->model) /* a saved stream releases its pages itself */
        model_source_release_pages(r->model, i, first, n);
}
