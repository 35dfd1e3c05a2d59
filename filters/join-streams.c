/* join-streams: the vectors of several streams side by side
 *
 *     tv-extract base math > m.tv; tv-extract base code > c.tv
 *     join-streams m.tv c.tv | combine | pack --base base merged/
 *     join-streams <(tv-extract base math | trim --density 0.2) <(tv-extract base code) | ...
 *
 * The streams must hold the same tensors, of the same shapes, in the same order. Models must have
 * different names, but for a base that all of them share. "-" is standard input.
 */
#include "filter.h"
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct input {
    int fd;
    struct reader *reader;
    size_t *models;      /* where its models stand in the joint header */
    struct tensor at;    /* the tensor at hand */
    bool rewindable;
};

struct inputs {
    size_t n;
    struct input *inputs;
};

/* ---- the manifest ---------------------------------------------------------------------------- */

static int open_input(struct input *in, const char *path, struct error *e)
{
    bool is_standard = strcmp(path, "-") == 0;
    in->fd = is_standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0)
        return error_set(e, "cannot open %s: %s", path, strerror(errno));
    in->reader = reader_open(in->fd, is_standard ? "standard input" : path, e);
    return in->reader ? 0 : -1;
}

static bool is_base(const struct model *m)
{
    return m->role && strcmp(m->role, "base") == 0;
}

/* The place of a model in the joint header; a base that is there already is the same one. */
static int add_model(struct header *h, const struct model *m, const char *path, size_t *place,
                     struct error *e)
{
    long at = header_find_model(h, m->name);
    if (at >= 0 && is_base(m) && is_base(&h->models[at])) {
        const struct model *there = &h->models[at];
        if (m->has_fingerprint != there->has_fingerprint || m->fingerprint != there->fingerprint)
            return error_set(e, "%s was made against another base %s than the streams before it",
                             path, m->name);
    } else {
        at = header_add_model(h, m->name, m->role, e);
        if (at < 0)
            return -1;
        h->models[at].has_fingerprint = m->has_fingerprint;
        h->models[at].fingerprint = m->fingerprint;
        h->models[at].extra = m->extra;
    }
    *place = (size_t)at;
    return 0;
}

static int check_agrees(const struct header *h, const struct header *other, const char *path,
                        struct error *e)
{
    if (other->kind != h->kind)
        return error_set(e, "%s holds %s, the first stream %s", path, kind_name(other->kind),
                         kind_name(h->kind));
    if (other->rounding != h->rounding)
        return error_set(e, "%s was rounded to another dtype than the first stream", path);
    if (other->n_tensors != h->n_tensors)
        return error_set(e, "%s has %zu tensors, the first stream %zu", path, other->n_tensors,
                         h->n_tensors);
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *a = &h->tensors[i], *b = &other->tensors[i];
        if (strcmp(a->name, b->name) != 0)
            return error_set(e, "tensor %zu of %s is %s, of the first stream %s", i + 1, path,
                             b->name, a->name);
        if (!tensor_same_shape(a, b))
            return error_set(e, "tensor %s of %s has another shape than in the first stream",
                             a->name, path);
    }
    return 0;
}

/* Appends an input's vectors to the tensors of the joint header. */
static void add_vectors(struct header *h, const struct input *in)
{
    const struct header *own = reader_header(in->reader);
    for (size_t i = 0; i < h->n_tensors; i++) {
        struct tensor *t = &h->tensors[i];
        const struct tensor *from = &own->tensors[i];
        struct vector *all = arena_alloc(&h->arena, t->n_vectors + from->n_vectors, sizeof *all);
        if (t->n_vectors)
            memcpy(all, t->vectors, t->n_vectors * sizeof *all);
        struct tensor copy = tensor_copy(&h->arena, from);
        for (size_t k = 0; k < from->n_vectors; k++) {
            all[t->n_vectors + k] = copy.vectors[k];
            all[t->n_vectors + k].model = in->models[from->vectors[k].model];
        }
        t->vectors = all;
        t->n_vectors += from->n_vectors;
    }
}

/* The joint header starts as the first stream's, without models, vectors and history. */
static void start_header(struct header *h, const struct header *first)
{
    struct header *copy = header_copy(first);
    *h = *copy; /* the arena goes with it */
    free(copy);
    h->n_models = 0;
    h->history = (struct history){0};
    for (size_t i = 0; i < h->n_tensors; i++)
        h->tensors[i].n_vectors = 0;
}

static int open_join(struct stage *s, struct header *h, struct error *e)
{
    struct inputs *in = s->data = mem_alloc(1, sizeof *in);
    in->inputs = mem_alloc(s->operands.n, sizeof *in->inputs);
    s->parents = arena_alloc(&s->arena, s->operands.n, sizeof *s->parents);
    for (size_t i = 0; i < s->operands.n; i++) {
        const char *path = s->operands.texts[i];
        struct input *one = &in->inputs[in->n++];
        if (open_input(one, path, e))
            return -1;
        const struct header *own = reader_header(one->reader);
        if (i == 0)
            start_header(h, own);
        else if (check_agrees(h, own, path, e))
            return -1;
        one->models = mem_alloc(own->n_models, sizeof *one->models);
        for (size_t m = 0; m < own->n_models; m++)
            if (add_model(h, &own->models[m], path, &one->models[m], e))
                return -1;
        add_vectors(h, one);
        s->parents[s->n_parents++] = own->history;
    }
    return 0;
}

/* ---- payload --------------------------------------------------------------------------------- */

/* The tensor's header: that of the first stream, with the weights and attributes of all. */
static int begin(struct job *job, struct error *e)
{
    struct inputs *in = job->stage->data;
    size_t k = 0;
    for (size_t i = 0; i < in->n; i++) {
        struct input *one = &in->inputs[i];
        int more = reader_next(one->reader, job->arena, &one->at, e);
        if (more <= 0)
            return more < 0 ? -1 : error_set(e, "broken stream: it ends before its last tensor");
        for (size_t j = 0; j < one->at.n_vectors; j++, k++) {
            size_t model = job->out->vectors[k].model;
            job->out->vectors[k] = one->at.vectors[j];
            job->out->vectors[k].model = model;
        }
    }
    return PLAN_TRANSFORM;
}

static int fill(const struct job *job, struct block *b, struct error *e)
{
    struct inputs *in = job->stage->data;
    size_t k = 0;
    for (size_t i = 0; i < in->n; i++)
        for (size_t j = 0; j < in->inputs[i].at.n_vectors; j++, k++)
            if (reader_payload(in->inputs[i].reader, b->data[k],
                               (b->n * dtype_bits(b->dtypes[k]) + 7) / 8, e))
                return -1;
    return 0;
}

static int rewind_join(struct stage *s, struct error *e)
{
    struct inputs *in = s->data;
    for (size_t i = 0; i < in->n; i++) {
        struct input *one = &in->inputs[i];
        bool copied;
        if (one->rewindable ? reader_rewind(one->reader, e)
                            : reader_make_rewindable(one->reader, s->common.spool, &copied, e))
            return -1;
        one->rewindable = true;
    }
    return 0;
}

static int close_input(struct stage *s, struct input *in, bool ok, struct error *e)
{
    struct arena a = {0};
    struct tensor t;
    int failed = ok ? reader_next(in->reader, &a, &t, e) : 0;
    for (size_t i = 0; ok && !failed && i < reader_end(in->reader)->n_hashes; i++) {
        const struct end *end = reader_end(in->reader);
        stage_add_hash(s, end->models[i], end->hashes[i]);
    }
    arena_free(&a);
    reader_close(in->reader);
    if (in->fd >= 0)
        close(in->fd);
    free(in->models);
    return failed;
}

static int close_join(struct stage *s, bool ok, struct error *e)
{
    struct inputs *in = s->data;
    int failed = 0;
    for (size_t i = 0; i < in->n; i++)
        if (close_input(s, &in->inputs[i], ok && !failed, e))
            failed = -1;
    free(in->inputs);
    free(in);
    return failed;
}

const struct filter filter_join_streams = {
    .name = "join-streams",
    .summary = "Put the vectors of several streams side by side",
    .operands = "STREAM...",
    .notes = "- is standard input. The streams hold the same tensors in the same order, but vectors "
             "of different models.\n\n"
             "  join-streams <(tv-extract base math | trim --density 0.2) \\\n"
             "      <(tv-extract base code) | combine | pack --base base merged/",
    .min_operands = 1,
    .max_operands = SIZE_MAX,
    .role = ROLE_SOURCE,
    .operands_are_files = true,
    .open = open_join,
    .begin = begin,
    .fill = fill,
    .rewind = rewind_join,
    .close = close_join,
};
