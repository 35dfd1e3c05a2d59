#include "stream_inputs.h"

#include "hash.h"
#include "source_sink_services.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- opening --------------------------------------------------------------------------------- */

static int open_input_stream(struct stream_input *in, const char *path, struct error *e)
{
    bool is_standard = strcmp(path, "-") == 0;
    in->path = path;
    in->fd = is_standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0)
        return error_set(e, "cannot open %s: %s", path, strerror(errno));
    in->reader = reader_open(in->fd, is_standard ? "standard input" : path, e);
    return in->reader ? 0 : -1;
}

static int check_kind_and_rounding(const struct header *h, const struct header *other,
                                   const char *path, struct error *e)
{
    if (other->kind != h->kind)
        return error_set(e, "%s contains %s, but the first stream contains %s", path,
                         stream_kind_name(other->kind), stream_kind_name(h->kind));
    if (other->input_rounding != h->input_rounding)
        return error_set(e, "%s was rounded to a different dtype than the first stream", path);
    return 0;
}

static bool is_base_model(const struct model *m)
{
    return m->role && strcmp(m->role, "base") == 0;
}

/* A model that the joint header has already must be the same one. */
static int check_model_is_identical(const struct model *known, const struct model *m,
                                    const char *path, struct error *e)
{
    if (m->has_fingerprint == known->has_fingerprint && m->fingerprint == known->fingerprint)
        return 0;
    return error_set(e, "%s %s of %s has a different fingerprint than in the streams before it",
                     is_base_model(m) ? "base" : "model", m->name, path);
}

/* Its index in the joint header, or -1. */
static long copy_model_to_joint_header(struct header *h, const struct model *m, struct error *e)
{
    long index = header_add_model(h, m->name, NULL, e);
    if (index < 0)
        return -1;
    struct model *copy = &h->models[index];
    copy->role = arena_copy_text(&h->arena, m->role);
    copy->hub = arena_copy_text(&h->arena, m->hub);
    copy->commit = arena_copy_text(&h->arena, m->commit);
    copy->has_fingerprint = m->has_fingerprint;
    copy->fingerprint = m->fingerprint;
    copy->quantization = arena_copy_text(&h->arena, m->quantization);
    copy->unknown_keys = unknown_keys_copy(&h->arena, m->unknown_keys);
    return index;
}

/* Adds a model of a stream to the joint header, unless it has that model and may share it; its
 * index there in *joint. */
static int add_model_to_joint_header(struct header *h, const struct model *m, const char *path,
                                     bool same_models, size_t *joint, struct error *e)
{
    long index = header_find_model(h, m->name);
    if (index >= 0 && (same_models || (is_base_model(m) && is_base_model(&h->models[index])))) {
        if (check_model_is_identical(&h->models[index], m, path, e))
            return -1;
    } else {
        index = copy_model_to_joint_header(h, m, e);
        if (index < 0)
            return -1;
    }
    *joint = (size_t)index;
    return 0;
}

/* The joint header starts as a copy of the first stream's, without models, tensors and history. */
static void start_joint_header(struct header *h, const struct header *first)
{
    struct header *copy = header_copy(first);
    *h = *copy; /* the arena goes with it */
    free(copy);
    h->n_models = h->n_tensors = 0;
    h->history = (struct history){0};
}

int stream_inputs_open(struct stream_inputs *all, struct stage *s, struct header *h,
                       bool same_models, struct error *e)
{
    all->inputs = mem_alloc(s->operands.n, sizeof *all->inputs);
    s->parents = arena_alloc(&s->arena, s->operands.n, sizeof *s->parents);
    for (size_t i = 0; i < s->operands.n; i++) {
        struct stream_input *in = &all->inputs[all->n++];
        if (open_input_stream(in, s->operands.items[i], e))
            return -1;
        const struct header *own = reader_header(in->reader);
        if (i == 0)
            start_joint_header(h, own);
        else if (check_kind_and_rounding(h, own, in->path, e))
            return -1;
        in->joint_models = mem_alloc(own->n_models, sizeof *in->joint_models);
        for (size_t m = 0; m < own->n_models; m++)
            if (add_model_to_joint_header(h, &own->models[m], in->path, same_models,
                                          &in->joint_models[m], e))
                return -1;
        s->parents[s->n_parents++] = own->history;
    }
    return 0;
}

const struct header *stream_inputs_header(const struct stream_inputs *all, size_t i)
{
    return reader_header(all->inputs[i].reader);
}

/* A vector of a tensor and its model in the joint header. */
struct joint_vector {
    size_t model, vector;
};

static int compare_joint_models(const void *a, const void *b)
{
    size_t x = ((const struct joint_vector *)a)->model, y = ((const struct joint_vector *)b)->model;
    return x < y ? -1 : x > y;
}

/* The positions of the tensor's vectors in the order of their joint models, from `first` on. */
static size_t *sort_by_joint_model(const struct stream_input *in, const struct tensor *t,
                                   size_t first, struct arena *a)
{
    size_t *positions = arena_alloc(a, t->n_vectors, sizeof *positions);
    struct joint_vector *order = arena_alloc(a, t->n_vectors, sizeof *order);
    for (size_t j = 0; j < t->n_vectors; j++)
        order[j] = (struct joint_vector){in->joint_models[t->vectors[j].model], j};
    qsort(order, t->n_vectors, sizeof *order, compare_joint_models);
    for (size_t j = 0; j < t->n_vectors; j++)
        positions[order[j].vector] = first + j;
    return positions;
}

struct tensor stream_inputs_copy_tensor(const struct stream_inputs *all, size_t i, size_t index,
                                        struct arena *a)
{
    const struct stream_input *in = &all->inputs[i];
    const struct tensor *own = &reader_header(in->reader)->tensors[index];
    size_t *positions = sort_by_joint_model(in, own, 0, a);
    struct tensor t = tensor_copy(a, own), sorted = t;
    sorted.vectors = arena_alloc(a, t.n_vectors, sizeof *sorted.vectors);
    for (size_t j = 0; j < t.n_vectors; j++) {
        sorted.vectors[positions[j]] = t.vectors[j];
        sorted.vectors[positions[j]].model = in->joint_models[t.vectors[j].model];
    }
    return sorted;
}

/* ---- reading --------------------------------------------------------------------------------- */

static int read_tensor_header(struct stream_input *in, struct arena *a, struct error *e)
{
    int more = reader_next_tensor(in->reader, a, &in->current_tensor, e);
    if (more == 0)
        return error_set(e, "broken stream: it ends before its last tensor");
    in->n_read++;
    return more < 0 ? -1 : 0;
}

static int skip_tensor_payload(struct stream_input *in, struct error *e)
{
    const struct tensor *t = &in->current_tensor;
    void *bytes = mem_alloc(tensor_block_elements(t), 8);
    size_t first, n;
    int failed = 0;
    for (size_t b = 0; b < tensor_block_count(t) && !failed; b++) {
        tensor_block_range(t, b, &first, &n);
        for (size_t k = 0; k < t->n_vectors && !failed; k++)
            failed = reader_read_payload(in->reader, bytes, dtype_bytes(t->vectors[k].dtype, n), e);
    }
    free(bytes);
    return failed;
}

int stream_inputs_seek_tensor(struct stream_inputs *all, size_t i, size_t index, size_t first,
                              struct arena *a, struct error *e)
{
    struct stream_input *in = &all->inputs[i];
    while (in->n_read < index)
        if (read_tensor_header(in, a, e) || skip_tensor_payload(in, e))
            return -1;
    if (read_tensor_header(in, a, e))
        return -1;
    in->vector_positions = sort_by_joint_model(in, &in->current_tensor, first, a);
    return 0;
}

void stream_inputs_copy_vectors(const struct stream_input *in, struct tensor *t)
{
    for (size_t j = 0; j < in->current_tensor.n_vectors; j++) {
        struct vector *v = &t->vectors[in->vector_positions[j]];
        *v = in->current_tensor.vectors[j];
        v->model = in->joint_models[v->model];
    }
}

int stream_inputs_read_block(const struct stream_input *in, struct block *b, struct error *e)
{
    for (size_t j = 0; j < in->current_tensor.n_vectors; j++) {
        size_t k = in->vector_positions[j];
        if (reader_read_payload(in->reader, b->data[k], dtype_bytes(b->dtypes[k], b->n), e))
            return -1;
    }
    return 0;
}

int stream_inputs_rewind(struct stream_inputs *all, struct stage *s, struct error *e)
{
    for (size_t i = 0; i < all->n; i++) {
        struct stream_input *in = &all->inputs[i];
        bool copied;
        if (in->is_rewindable ? reader_rewind(in->reader, e)
                              : reader_make_rewindable(in->reader, s->common.spool, &copied, e))
            return -1;
        in->is_rewindable = true;
        in->n_read = 0;
    }
    return 0;
}

/* ---- closing --------------------------------------------------------------------------------- */

/* Reads the rest of the stream: only its end proves that it is complete. */
static int read_rest_of_stream(struct stream_input *in, struct error *e)
{
    struct arena a = {0};
    int failed = 0;
    while (!failed && in->n_read < reader_header(in->reader)->n_tensors) {
        failed = read_tensor_header(in, &a, e) || skip_tensor_payload(in, e) ? -1 : 0;
        arena_clear(&a);
    }
    if (!failed)
        failed = reader_next_tensor(in->reader, &a, &in->current_tensor, e);
    arena_free(&a);
    return failed;
}

/* The full hash of a model. If streams have different hashes of it, because they read different
 * parts, it is the hash of those. */
static bool combine_model_hashes(const struct stream_inputs *all, const char *model, uint64_t *hash)
{
    bool found = false;
    for (size_t i = 0; i < all->n; i++) {
        const struct end_record *end = reader_end_record(all->inputs[i].reader);
        for (size_t j = 0; j < end->n_hashes; j++) {
            const uint64_t both[2] = {*hash, end->hashes[j]};
            if (strcmp(end->hashed_models[j], model) != 0 || (found && both[0] == both[1]))
                continue;
            *hash = found ? XXH3_64bits(both, sizeof both) : both[1];
            found = true;
        }
    }
    return found;
}

static void add_combined_hashes_to_run(const struct stream_inputs *all, struct stage *s)
{
    uint64_t hash = 0;
    for (size_t m = 0; m < s->out->n_models; m++)
        if (combine_model_hashes(all, s->out->models[m].name, &hash))
            source_sink_services_add_model_hash(s, s->out->models[m].name, hash);
}

int stream_inputs_close(struct stream_inputs *all, struct stage *s, bool ok, struct error *e)
{
    int failed = 0;
    for (size_t i = 0; i < all->n && ok && !failed; i++) {
        failed = read_rest_of_stream(&all->inputs[i], e);
        s->lacks_checksums |= reader_lacks_checksums(all->inputs[i].reader);
    }
    if (ok && !failed)
        add_combined_hashes_to_run(all, s);
    for (size_t i = 0; i < all->n; i++) {
        struct stream_input *in = &all->inputs[i];
        reader_close(in->reader);
        if (in->fd >= 0)
            close(in->fd);
        free(in->joint_models);
    }
    free(all->inputs);
    return failed;
}
