#include "checkpoint_contents.h"

#include "tensor_name.h"
#include "tied_head.h"

#include <stdlib.h>
#include <string.h>

/* The dtype in which tensor i of the stream is stored in the file. */
static enum dtype choose_stored_dtype(const struct header *h, size_t i,
                                      const struct base_model *base, enum dtype wanted)
{
    const struct vector *v = &h->tensors[i].vectors[0];
    if (!dtype_is_float(v->dtype))
        return v->dtype;
    if (wanted != DTYPE_NONE)
        return wanted;
    if (h->input_rounding != DTYPE_NONE)
        return h->input_rounding;
    if (base)
        return base_model_matching_tensor(base, i)->file_dtype;
    return dtype_is_float(v->stored_dtype) ? v->stored_dtype : v->dtype;
}

/* ---- tensors of the base --------------------------------------------------------------------- */

static struct tensor make_tensor_of_base(struct arena *a, const struct ckpt_tensor *t,
                                         enum dtype wanted)
{
    struct vector *v = arena_alloc(a, 1, sizeof *v);
    bool converts = wanted != DTYPE_NONE && dtype_is_float(t->dtype);
    *v = vector_with_defaults(0, t->name, converts ? wanted : t->file_dtype, t->file_dtype);
    return (struct tensor){.name = t->name,
                           .rank = t->rank,
                           .shape = t->shape,
                           .layer = -1,
                           .layers = -1,
                           .n_vectors = 1,
                           .vectors = v};
}

/* Adds the tensors of the base that the stream lacks. The head of a tied model is the embedding,
 * which the stream may have changed, so a copy of the old one is omitted. */
static int add_missing_base_tensors(struct checkpoint_contents *c, const struct base_model *base,
                                    enum dtype wanted, struct error *e)
{
    const struct model_source *source = base_model_source(base);
    struct header *h = c->header;
    size_t n = model_source_tensor_count(source);
    struct tensor *all = arena_alloc(&h->arena, c->n_stream + n, sizeof *all);
    memcpy(all, h->tensors, c->n_stream * sizeof *all);
    h->tensors = all;
    c->filled = mem_alloc(n, sizeof *c->filled);
    for (size_t i = 0; i < n; i++) {
        int tied =
            base_model_tensor_is_unused(base, i) ? tied_head_is_stored_again(source, i, e) : 1;
        if (tied < 0)
            return -1;
        if (tied)
            continue;
        c->filled[h->n_tensors - c->n_stream] = i;
        all[h->n_tensors++] =
            make_tensor_of_base(&h->arena, model_source_tensor(source, i), wanted);
    }
    return 0;
}

const void *checkpoint_contents_read_base_tensor(const struct checkpoint_contents *c,
                                                 const struct model_source *base, size_t i,
                                                 size_t first, size_t n, void **buffer,
                                                 enum dtype *d)
{
    const struct ckpt_tensor *t = model_source_tensor(base, i);
    enum dtype rounding = c->header->input_rounding;
    bool is_rounded = rounding != DTYPE_NONE && rounding != t->dtype && dtype_is_float(t->dtype);
    *d = is_rounded ? DTYPE_F64 : t->dtype;
    *buffer = NULL;
    if (t->data && !is_rounded)
        return t->data + dtype_bytes(t->dtype, first);
    *buffer = mem_alloc_aligned(dtype_bytes(*d, n));
    if (is_rounded)
        model_source_read_f64(base, i, first, n, rounding, *buffer);
    else
        model_source_read_stored(base, i, first, n, *buffer);
    return *buffer;
}

/* ---- the header ------------------------------------------------------------------------------ */

int checkpoint_contents_init(struct checkpoint_contents *c, struct header *stream,
                             const struct base_model *base,
                             const struct checkpoint_contents_options *o, struct error *e)
{
    *c = (struct checkpoint_contents){.header = stream, .n_stream = stream->n_tensors};
    for (size_t i = 0; i < c->n_stream; i++)
        stream->tensors[i].vectors[0].dtype = choose_stored_dtype(stream, i, base, o->dtype);
    if (!base || !o->fill)
        return 0;
    enum dtype wanted = o->dtype != DTYPE_NONE ? o->dtype : stream->input_rounding;
    return add_missing_base_tensors(c, base, wanted, e);
}

void checkpoint_contents_free(struct checkpoint_contents *c)
{
    header_free(c->header);
    free(c->filled);
}

uint64_t checkpoint_contents_size(const struct checkpoint_contents *c)
{
    uint64_t size = 0;
    for (size_t i = 0; i < c->header->n_tensors; i++) {
        const struct tensor *t = &c->header->tensors[i];
        size += dtype_bytes(t->vectors[0].dtype, tensor_elements(t));
    }
    return size;
}

bool checkpoint_contents_has_own_head(const struct checkpoint_contents *c)
{
    for (size_t i = 0; i < c->n_stream; i++)
        if (tensor_name_is_lm_head(c->header->tensors[i].name))
            return true;
    return false;
}
