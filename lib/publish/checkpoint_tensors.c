#include "checkpoint_tensors.h"

#include "ordered_pool.h"

#include <stdlib.h>

#define CHUNK            ((size_t)65536) /* elements of a tensor of the base copied at a time */
#define CHUNKS_IN_FLIGHT 16

/* ---- checks ---------------------------------------------------------------------------------- */

int checkpoint_tensors_check_vectors(const struct header *h, struct error *e)
{
    for (size_t i = 0; i < h->n_tensors; i++)
        if (h->tensors[i].n_vectors > 1)
            return error_set(e,
                             "tensor %s has %zu vectors, but a checkpoint has one; put combine "
                             "before pack",
                             h->tensors[i].name, h->tensors[i].n_vectors);
    return 0;
}

int checkpoint_tensors_check_weight(const struct tensor *t, struct error *e)
{
    return vector_is_weighted(&t->vectors[0])
               ? error_set(e,
                           "tensor %s has a weight other than 1; put combine before pack, and "
                           "weigh before combine",
                           t->name)
               : 0;
}

static int check_elements_are_finite(const struct tensor *t, size_t first, size_t n, const void *x,
                                     struct error *e)
{
    enum dtype d = t->vectors[0].dtype;
    size_t i = dtype_find_nonfinite(d, x, n);
    return i == n ? 0
                  : error_set(e,
                              "tensor %s overflows %s at flat index %zu: its number is beyond the "
                              "range of that type (choose another --dtype, or --allow-nonfinite to "
                              "accept it)",
                              t->name, dtype_name(d), first + i);
}

/* ---- the method ------------------------------------------------------------------------------ */

/* Converts n elements to another floating-point dtype, rounding once. */
static void convert_dtype(enum dtype from, const void *x, size_t n, enum dtype to, void *out)
{
    if (from == DTYPE_F64) {
        dtype_from_f64(to, x, out, n);
        return;
    }
    float *wide = mem_alloc_aligned(n * sizeof *wide);
    dtype_to_f32(from, x, wide, n);
    dtype_from_f32(to, wide, out, n);
    free(wide);
}

/* Converts n elements of tensor `index` of the checkpoint. x are weights, or task vectors where the
 * base is to be added, of dtype `from`. */
static int convert_elements(const struct checkpoint_tensors *c, size_t index, enum dtype from,
                            size_t first, size_t n, const void *x, struct error *e)
{
    const struct tensor *t = &c->contents->header->tensors[index];
    enum dtype to = t->vectors[0].dtype;
    bool adds = c->base && index < c->contents->n_stream;
    if (!adds && from == to)
        return c->receive(c->receiver, index, first, n, x, e);
    void *out = mem_alloc_aligned(dtype_bytes(to, n));
    if (adds)
        base_model_add(c->base, index, first, n, from, x, to, out);
    else
        convert_dtype(from, x, n, to, out);
    int failed = (!c->allow_nonfinite && check_elements_are_finite(t, first, n, out, e)) ||
                 c->receive(c->receiver, index, first, n, out, e);
    free(out);
    return failed ? -1 : 0;
}

int checkpoint_tensors_convert_block(const struct checkpoint_tensors *c, size_t index,
                                     const struct block *b, struct error *e)
{
    if (convert_elements(c, index, b->dtypes[0], b->first, b->n, b->data[0], e))
        return -1;
    if (c->base)
        base_model_release_pages(c->base, index, b->first, b->n);
    return 0;
}

struct base_tensor_copy {
    const struct checkpoint_tensors *tensors;
    size_t index; /* in the checkpoint */
    size_t i;     /* in the base */
};

/* On any thread. */
static int copy_chunk_of_base_tensor(void *copy, size_t slot, size_t chunk, struct error *e)
{
    const struct base_tensor_copy *c = copy;
    const struct model_source *base = base_model_source(c->tensors->base);
    size_t elements = model_source_tensor(base, c->i)->elements, first = chunk * CHUNK;
    size_t n = elements - first < CHUNK ? elements - first : CHUNK;
    enum dtype d;
    void *buffer = NULL;
    const void *x = checkpoint_contents_read_base_tensor(c->tensors->contents, base, c->i, first, n,
                                                         &buffer, &d);
    int failed = convert_elements(c->tensors, c->index, d, first, n, x, e);
    model_source_release_pages(base, c->i, first, n);
    free(buffer);
    return failed;
}

int checkpoint_tensors_copy_base_tensor(const struct checkpoint_tensors *c, size_t index,
                                        struct thread_pool *threads, struct error *e)
{
    const struct ordered_steps steps = {.work = copy_chunk_of_base_tensor};
    struct base_tensor_copy copy = {c, index, c->contents->filled[index - c->contents->n_stream]};
    size_t elements = model_source_tensor(base_model_source(c->base), copy.i)->elements;
    return ordered_pool_run(threads, (elements + CHUNK - 1) / CHUNK, CHUNKS_IN_FLIGHT, &steps,
                            &copy, e);
}
