/* join-streams: join the vectors of several streams in one stream
 *
 *     tv-extract base math > m.tvs; tv-extract base code > c.tvs
 *     join-streams m.tvs c.tvs | combine | pack --base base merged/
 *     join-streams <(tv-extract base math | trim --density 0.2) <(tv-extract base code) | ...
 *
 * The streams must have the same tensors, with the same shapes, in the same order. The names of
 * their models must differ, except for a common base. "-" is standard input.
 */
#include "filter.h"
#include "stream_inputs.h"

#include <stdlib.h>
#include <string.h>

/* ---- the manifest ---------------------------------------------------------------------------- */

/* Checks that a stream has the same tensors as the first. */
static int check_same_tensors(const struct header *h, const struct header *other, const char *path,
                              struct error *e)
{
    if (other->n_tensors != h->n_tensors)
        return error_set(e, "%s has %zu tensors, but the first stream has %zu", path,
                         other->n_tensors, h->n_tensors);
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *a = &h->tensors[i], *b = &other->tensors[i];
        if (strcmp(a->name, b->name) != 0)
            return error_set(e, "tensor %zu of %s is %s, but %s in the first stream", i + 1, path,
                             b->name, a->name);
        if (!tensor_same_shape(a, b))
            return error_set(e, "tensor %s of %s has another shape in the first stream", a->name,
                             path);
    }
    return 0;
}

/* Appends the vectors of input i to a tensor of the joint header. */
static int append_vectors_of_input(const struct stream_inputs *all, size_t i, size_t index,
                                   struct header *h, struct error *e)
{
    struct tensor *t = &h->tensors[index],
                  more = stream_inputs_copy_tensor(all, i, index, &h->arena);
    if (t->n_vectors && t->vectors[t->n_vectors - 1].model >= more.vectors[0].model)
        return error_set(e, "tensor %s: both %s and an earlier stream have a vector of %s", t->name,
                         all->inputs[i].path, h->models[more.vectors[0].model].name);
    struct vector *v = arena_alloc(&h->arena, t->n_vectors + more.n_vectors, sizeof *v);
    if (t->n_vectors)
        memcpy(v, t->vectors, t->n_vectors * sizeof *v);
    memcpy(v + t->n_vectors, more.vectors, more.n_vectors * sizeof *v);
    t->vectors = v;
    t->n_vectors += more.n_vectors;
    return 0;
}

static int open_join(struct stage *s, struct header *h, struct error *e)
{
    struct stream_inputs *all = s->data = mem_alloc(1, sizeof *all);
    if (stream_inputs_open(all, s, h, false, e))
        return -1;
    h->n_tensors = stream_inputs_header(all, 0)->n_tensors;
    for (size_t t = 0; t < h->n_tensors; t++)
        h->tensors[t].n_vectors = 0;
    for (size_t i = 0; i < all->n; i++) {
        if (check_same_tensors(h, stream_inputs_header(all, i), all->inputs[i].path, e))
            return -1;
        for (size_t t = 0; t < h->n_tensors; t++)
            if (append_vectors_of_input(all, i, t, h, e))
                return -1;
    }
    return 0;
}

/* ---- payload --------------------------------------------------------------------------------- */

/* The tensor header is that of the first stream, with the weights and attributes of all. */
static int begin_tensor(struct job *job, struct error *e)
{
    struct stream_inputs *all = job->stage->data;
    size_t k = 0;
    for (size_t i = 0; i < all->n; i++) {
        struct stream_input *in = &all->inputs[i];
        if (stream_inputs_seek_tensor(all, i, job->index, k, job->arena, e))
            return -1;
        stream_inputs_copy_vectors(in, job->out);
        k += in->current_tensor.n_vectors;
    }
    job->out->unknown_keys = all->inputs[0].current_tensor.unknown_keys;
    return PLAN_TRANSFORM;
}

static int fill_block(const struct job *job, struct block *b, struct error *e)
{
    const struct stream_inputs *all = job->stage->data;
    for (size_t i = 0; i < all->n; i++)
        if (stream_inputs_read_block(&all->inputs[i], b, e))
            return -1;
    return 0;
}

static int rewind_join(struct stage *s, struct error *e)
{
    return stream_inputs_rewind(s->data, s, e);
}

static int close_join(struct stage *s, bool ok, struct error *e)
{
    int failed = stream_inputs_close(s->data, s, ok, e);
    free(s->data);
    return failed;
}

const struct filter filter_join_streams = {
    .name = "join-streams",
    .summary = "Join the vectors of several streams in one stream",
    .step = STEP_STREAMS,
    .operands = "STREAM...",
    .notes = "- is standard input. The streams must have the same tensors in the same order, and "
             "vectors of different models.\n\n"
             "  join-streams <(tv-extract base math | trim --density 0.2) \\\n"
             "      <(tv-extract base code) | combine | pack --base base merged/",
    .min_operands = 1,
    .max_operands = SIZE_MAX,
    .role = ROLE_SOURCE,
    .operands_are_files = true,
    .open = open_join,
    .begin_tensor = begin_tensor,
    .source.fill_block = fill_block,
    .source.rewind = rewind_join,
    .close = close_join,
};
