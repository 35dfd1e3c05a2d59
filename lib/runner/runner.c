#include "runner.h"

#include "block_buffers.h"
#include "prefetch.h"
#include "finite_check.h"
#include "stage.h"
#include "stage_rules.h"
#include "tensor_buffer.h"
#include "ordered_pool.h"
#include "thread_pool.h"
#include "progress.h"
#include "writer.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS_PER_THREAD 4 /* in flight at once, when there are several threads */
#define THREADS_MAX       1024
#define DROPPED           SIZE_MAX
#define AHEAD_ROOM        ((size_t)4 << 20) /* bytes held beside a tensor, of the next */
#define SAMPLE_INTERVAL   20000000          /* nanoseconds between looks at the memory in use */

/* A block's place among those in flight. */
struct slot {
    struct block_buffer *buffer; /* NULL: none yet, or given back */
    struct block block;          /* what its buffer held, without the payload */
    void *work;
    size_t work_room;
};

struct runner {
    struct stage *const *stages;
    size_t n;
    size_t opened;            /* stages whose open was called */
    struct header **headers;  /* after each stage's open */
    size_t **place;           /* [stage][position before it] = position after it, or DROPPED */
    struct thread_pool *pool; /* NULL: this thread alone */
    struct progress *progress;
    struct stage_cost *spent; /* [stage] */
    uint64_t peak_anonymous, sampled;

    /* The tensor at hand. */
    struct arena arena;
    struct job *jobs;
    struct tensor *tensors; /* [stage]: its header behind that stage */
    enum plan *plans;
    size_t begun; /* jobs that have begun and must end */
    size_t vectors_max;
    size_t index; /* in the source's manifest */
    struct tensor_buffer *hold;
    bool held;         /* its payload is in `hold`, or on its way */
    bool known_finite; /* a pass has found every number of the source to be */
    struct prefetch *arriving;

    /* The next one, which is read while this one leaves. */
    struct chunk_pool *chunks; /* that both are held in */
    struct spool *file;        /* or, if it needs more memory than there may be, one of them */
    struct tensor_buffer *spare;
    struct prefetch *coming;

    size_t n_slots;
    struct slot *slots;
    struct block_buffers buffers; /* as many */

    size_t n_hashes;
    const char **hash_models;
    uint64_t *hashes;
    size_t n_tensor_hashes;
    struct tensor_hash *tensor_hashes;
    struct arena hash_arena;
};

/* ---- what it costs ------------------------------------------------------------------------ */

/* Adds to a stage's account the time since `start`, and bytes of payload. */
static void spend(struct runner *r, size_t s, uint64_t start, uint64_t bytes)
{
    r->spent[s].nanoseconds += process_stats_clock_ns() - start;
    r->spent[s].bytes += bytes;
}

static uint64_t block_bytes(const struct block *b)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < b->n_vectors; k++)
        bytes += dtype_bytes(b->dtypes[k], b->n);
    return bytes;
}

/* Memory is looked at now and then, for the kernel keeps no peak of what is in no file. */
static void sample_memory(struct runner *r)
{
    uint64_t now = process_stats_clock_ns();
    if (now - r->sampled < SAMPLE_INTERVAL)
        return;
    r->sampled = now;
    uint64_t anonymous = process_stats_anonymous_bytes();
    r->peak_anonymous = anonymous > r->peak_anonymous ? anonymous : r->peak_anonymous;
}

/* Does the source give its blocks in stream order, once, until it is rewound? */
static bool gives_once(const struct runner *r)
{
    return r->stages[0]->filter->source.rewind != NULL;
}

/* ---- opening ----------------------------------------------------------------------------- */

/* Names the failed stage, unless the sentence came from another program. */
static int fail(struct runner *r, size_t s, struct error *e)
{
    if (!e->stage[0])
        snprintf(e->stage, sizeof e->stage, "%s", r->stages[s]->name);
    return -1;
}

/* Does an element-wise stage work on the tensor, or does it pass? */
static bool works_on(const struct stage *s, const struct tensor *t)
{
    return tensor_is_float(t) && !stage_excludes_tensor(s, t);
}

static int check_rows(const struct stage *s, const struct header *h, struct error *e)
{
    for (size_t i = 0; i < h->n_tensors; i++)
        if (tensor_columns(&h->tensors[i]) > (size_t)1 << 20 && works_on(s, &h->tensors[i]))
            return error_set(e, "tensor %s has rows of %zu elements; at most 2^20 are taken",
                             h->tensors[i].name, tensor_columns(&h->tensors[i]));
    return 0;
}

static int check_kind(const struct filter *f, const struct header *h, struct error *e)
{
    if (!f->kinds || h->kind & f->kinds)
        return 0;
    char takes[64] = "";
    for (int kind = KIND_WEIGHTS; kind <= KIND_ACTIVATIONS; kind *= 2)
        if (f->kinds & kind) {
            strcat(takes, takes[0] ? " or " : "");
            strcat(takes, stream_kind_name((enum stream_kind)kind));
        }
    return error_set(
        e, "the stream holds %s; this filter takes %s%s", stream_kind_name(h->kind), takes,
        h->kind == KIND_WEIGHTS && f->kinds == KIND_TASK_VECTORS ? " (tv-extract makes them)" : "");
}

static enum scope scope_of(const struct stage *s)
{
    return s->filter->choose_scope ? s->filter->choose_scope(s) : s->filter->scope;
}

static void add_history(struct stage *s, struct header *h)
{
    struct string_list arguments = stage_history_arguments(s, &h->arena);
    /* The ends of the chain are no steps of the recipe. */
    if (!s->filter->summary || s->filter->no_history_step)
        return;
    struct history_step *step = header_add_step(h, s->filter->name, arguments.n, arguments.items);
    step->n_parents = s->n_parents;
    step->parents = s->parents; /* until close; a header behind this one holds a copy */
}

static int open_stage(struct runner *r, size_t s, struct error *e)
{
    struct stage *stage = r->stages[s];
    const struct header *in = s ? r->headers[s - 1] : NULL;
    struct header *out = in ? header_copy(in) : header_new();
    r->headers[s] = out;
    stage->runner = r;
    stage->in = in;
    stage->out = out;
    if (in && check_kind(stage->filter, in, e))
        return -1;
    if (in && scope_of(stage) == SCOPE_ROW && check_rows(stage, in, e))
        return -1;
    if (in && stage_rules_check_all(stage, in, e))
        return -1;
    r->opened = s + 1;
    if (stage->filter->open && stage->filter->open(stage, out, e))
        return -1;
    size_t before = in ? in->n_tensors : out->n_tensors;
    r->place[s] = mem_alloc(before, sizeof(size_t));
    for (size_t i = 0; i < before; i++)
        r->place[s][i] = in ? DROPPED : i;
    for (size_t i = 0; in && i < out->n_tensors; i++)
        r->place[s][out->tensors[i].input_index] = i;
    add_history(stage, out);
    return 0;
}

static int open_all(struct runner *r, struct error *e)
{
    for (size_t s = 0; s < r->n; s++) {
        uint64_t start = process_stats_clock_ns();
        if (open_stage(r, s, e))
            return fail(r, s, e);
        spend(r, s, start, 0);
        for (size_t i = 0; i < r->headers[s]->n_tensors; i++)
            if (r->headers[s]->tensors[i].n_vectors > r->vectors_max)
                r->vectors_max = r->headers[s]->tensors[i].n_vectors;
    }
    return 0;
}

static struct block_buffer *take_buffer(struct runner *r)
{
    return block_buffers_acquire(&r->buffers, r->vectors_max,
                                 tensor_block_elements(&r->tensors[0]));
}

static void *work_area(struct slot *s, size_t size)
{
    if (s->work_room < size) {
        free(s->work);
        s->work = mem_alloc(size, 1);
        s->work_room = size;
    }
    return s->work;
}

/* ---- a block through the chain ------------------------------------------------------------ */

/* Bytes of n elements of all vectors. */
static uint64_t all_bytes(const struct tensor *t, size_t n)
{
    uint64_t bits = 0;
    for (size_t k = 0; k < t->n_vectors; k++)
        bits += dtype_bits(t->vectors[k].dtype);
    return n * bits / 8;
}

/* Points the block at its buffers, or at what is held in memory (`in_place`). */
static void aim(struct runner *r, struct block_buffer *b, size_t index, bool in_place)
{
    const struct tensor *t = &r->tensors[0];
    struct block *block = &b->block;
    block->index = index;
    tensor_block_range(t, index, &block->first, &block->n);
    block->columns = tensor_columns(t);
    block->n_vectors = t->n_vectors;
    for (size_t k = 0; k < t->n_vectors; k++) {
        void *held = in_place ? tensor_buffer_block_data(r->hold, t, index, k) : NULL;
        block->data[k] = held ? held : b->raw[k];
        block->dtypes[k] = t->vectors[k].dtype;
        block->buffer_of[k] = k;
    }
}

/* Refuses numbers that are not finite, once for the same numbers. */
static int check_finite(const struct stage *stage, const struct tensor *t, const struct header *h,
                        struct block_buffer *buffer, struct error *e)
{
    if (buffer->finite || finite_check_is_off(stage))
        return 0;
    if (finite_check_block(t, h, &buffer->block, e))
        return -1;
    buffer->finite = true;
    return 0;
}

/* Leaves `head` elements of a block, rounded up to whole rows; 0: all. */
static void shorten(struct block *b, size_t head)
{
    size_t rows = head && b->columns ? (head + b->columns - 1) / b->columns : 0;
    if (rows && rows * b->columns < b->n)
        b->n = rows * b->columns;
}

/* A stage that takes numbers that are not finite takes them off the source too. */
static bool source_checks(const struct runner *r)
{
    return !finite_check_is_off(r->stages[0]) && !r->stages[1]->filter->accepts_nonfinite;
}

/* The block as the source gives it, or its head. Under `holding` all of it stays in the hold. What
 * goes on (`checks`) must be finite. */
static int fill(struct runner *r, struct block_buffer *b, size_t index, size_t head, bool holding,
                bool checks, struct error *e)
{
    const struct job *job = &r->jobs[0];
    const struct tensor *t = &r->tensors[0];
    if (holding)
        tensor_buffer_allocate_block(r->hold, t, index, SIZE_MAX);
    aim(r, b, index, holding);
    if (!holding && !gives_once(r))
        shorten(&b->block, head);
    uint64_t start = process_stats_clock_ns();
    if (job->stage->filter->source.fill(job, &b->block, e))
        return -1;
    spend(r, 0, start, block_bytes(&b->block));
    checks &= source_checks(r);
    b->finite = checks && r->known_finite;
    if (checks && check_finite(job->stage, t, job->stage->out, b, e))
        return -1;
    for (size_t k = 0; holding && k < t->n_vectors; k++)
        if (tensor_buffer_write_block(r->hold, t, index, k, b->block.data[k], e))
            return -1;
    shorten(&b->block, head);
    return 0;
}

/* The block out of the hold, or its head; `in_place` when nobody will want it again. */
static int recall(struct runner *r, struct block_buffer *b, size_t index, size_t head,
                  bool in_place, struct error *e)
{
    const struct tensor *t = &r->tensors[0];
    if (r->arriving && prefetch_wait_for_block(r->arriving, index, e))
        return -1;
    aim(r, b, index, in_place);
    shorten(&b->block, head);
    b->finite = !r->stages[0]->common.allow_nonfinite; /* checked when it was filled in */
    for (size_t k = 0; k < t->n_vectors; k++) {
        size_t size = dtype_bytes(t->vectors[k].dtype, b->block.n);
        if (b->block.data[k] == b->raw[k] &&
            tensor_buffer_read_block(r->hold, t, index, k, b->raw[k], size, e))
            return -1;
    }
    return 0;
}

/* One transform; afterwards the values are what the wire behind it could carry. */
static int transform(struct runner *r, size_t s, struct block_buffer *b, struct error *e)
{
    const struct filter *f = r->stages[s]->filter;
    if (r->plans[s] == PLAN_PASS_THROUGH || !f->transform)
        return 0;
    if (f->raw_payload)
        block_buffers_convert_to_wire_dtype(&r->tensors[s - 1], b);
    else
        block_buffers_convert_to_f32(b);
    if (check_finite(r->stages[s], &r->tensors[s - 1], r->stages[s]->in, b, e))
        return fail(r, s, e);
    uint64_t start = process_stats_clock_ns(), bytes = block_bytes(&b->block);
    if (f->transform(&r->jobs[s], &b->block, e))
        return fail(r, s, e);
    spend(r, s, start, bytes);
    b->block.n_vectors = r->tensors[s].n_vectors;
    for (size_t k = 0; !f->raw_payload && k < b->block.n_vectors; k++)
        if (b->block.dtypes[k] == DTYPE_F32)
            dtype_round_f32(r->tensors[s].vectors[k].dtype, b->block.data[k], b->block.n);
    b->finite &= f->only_drops_elements;
    return check_finite(r->stages[s], &r->tensors[s], r->stages[s]->out, b, e) ? fail(r, s, e) : 0;
}

/* ---- passes over a tensor ------------------------------------------------------------------ */

/* What to do with the blocks at the far end of a pass. */
struct pass {
    size_t last;   /* the stage that looks at them */
    size_t head;   /* how much of each block; 0: all */
    bool observes; /* with observe and merge; else consume */
    bool final;    /* no pass follows for this tensor */
    bool fresh;    /* blocks come from the source, which gives them once, in order */
    bool holding;  /* and are held on the way */
};

/* What the parts of a block's way are told. */
struct way {
    struct runner *r;
    const struct pass *p;
};

/* The first part, of a source that gives its blocks in order. */
static int fill_in_order(void *way, size_t slot, size_t index, struct error *e)
{
    const struct way *w = way;
    struct runner *r = w->r;
    struct block_buffer *b = r->slots[slot].buffer = take_buffer(r);
    return fill(r, b, index, w->p->head, w->p->holding, true, e) ? fail(r, 0, e) : 0;
}

static int load(struct runner *r, const struct pass *p, struct block_buffer *b, size_t index,
                struct error *e)
{
    if (!r->held)
        return fill(r, b, index, p->head, false, true, e) ? fail(r, 0, e) : 0;
    bool in_place = p->final || p->last == 1;
    return recall(r, b, index, p->head, in_place, e) ? fail(r, 0, e) : 0;
}

/* The part that may run on any thread. */
static int forward(struct runner *r, const struct pass *p, struct slot *slot, size_t index,
                   struct error *e)
{
    struct block_buffer *b = slot->buffer;
    if (!p->fresh && load(r, p, b, index, e))
        return -1;
    for (size_t s = 1; s < p->last; s++)
        if (transform(r, s, b, e))
            return -1;
    struct job *job = &r->jobs[p->last];
    const struct filter *f = job->stage->filter;
    if (f->raw_payload)
        block_buffers_convert_to_wire_dtype(job->in, b);
    else
        block_buffers_convert_to_f32(b);
    if (check_finite(job->stage, job->in, job->stage->in, b, e))
        return fail(r, p->last, e);
    uint64_t start = process_stats_clock_ns();
    if (p->observes && f->observe(job, &b->block, work_area(slot, job->work_size), e))
        return fail(r, p->last, e);
    if (!p->observes && f->sink.consume_in_any_order && f->sink.consume(job, &b->block, e))
        return fail(r, p->last, e);
    spend(r, p->last, start, block_bytes(&b->block));
    return 0;
}

/* Is a block's payload of no use any more when its turn comes? */
static bool is_used_up(const struct runner *r, const struct pass *p)
{
    return p->observes || r->stages[p->last]->filter->sink.consume_in_any_order;
}

static int forward_slot(void *way, size_t slot, size_t index, struct error *e)
{
    const struct way *w = way;
    struct slot *s = &w->r->slots[slot];
    if (!s->buffer)
        s->buffer = take_buffer(w->r);
    int failed = forward(w->r, w->p, s, index, e);
    s->block = s->buffer->block;
    if (is_used_up(w->r, w->p)) {
        s->block.data = NULL;
        block_buffers_release(&w->r->buffers, s->buffer);
        s->buffer = NULL;
    }
    return failed;
}

/* The part that must come in block order. */
static int in_order(void *way, size_t slot, size_t index, struct error *e)
{
    const struct way *w = way;
    struct runner *r = w->r;
    const struct pass *p = w->p;
    struct slot *s = &r->slots[slot];
    struct job *job = &r->jobs[p->last];
    const struct filter *f = job->stage->filter;
    uint64_t start = process_stats_clock_ns();
    if (p->observes && f->accumulate && f->accumulate(job, &s->block, s->work, e))
        return fail(r, p->last, e);
    if (!p->observes && !f->sink.consume_in_any_order && f->sink.consume(job, &s->block, e))
        return fail(r, p->last, e);
    spend(r, p->last, start, 0);
    if (s->buffer)
        block_buffers_release(&r->buffers, s->buffer);
    s->buffer = NULL;
    if (r->held && p->final)
        tensor_buffer_free_block(r->hold, index);
    size_t first, n;
    tensor_block_range(&r->tensors[0], index, &first, &n);
    if (p->final && p->last == r->n - 1)
        progress_add(r->progress, all_bytes(&r->tensors[0], n));
    else
        progress_tick(r->progress);
    sample_memory(r);
    return 0;
}

static int run_pass(struct runner *r, const struct pass *p, struct error *e)
{
    struct ordered_steps parts = {p->fresh ? fill_in_order : NULL, forward_slot, in_order};
    struct way way = {r, p};
    if (ordered_pool_run(r->pool, tensor_block_count(&r->tensors[0]), r->n_slots, &parts, &way, e))
        return -1;
    prefetch_stop(r->arriving); /* all of it is there */
    r->arriving = NULL;
    r->held |= p->holding;
    r->known_finite |= !p->fresh && !r->held && p->head == 0;
    return 0;
}

/* Begins to read the next tensor of a stream, in the memory that this one, which was held, gives
 * back: most likely it will be held too. */
static void read_ahead(struct runner *r)
{
    struct stage *source = r->stages[0];
    size_t next = r->index + 1;
    struct error none;
    if (source->filter != &stdio_stages_reader || next >= source->out->n_tensors)
        return;
    const struct tensor *t = &source->out->tensors[next];
    uint64_t now = tensor_buffer_chunk_bytes(&r->tensors[0]), then = tensor_buffer_chunk_bytes(t);
    if (tensor_buffer_bytes(t) > source->common.memory ||
        tensor_buffer_reserve(r->spare, t, &none) || stdio_stages_make_stoppable(source))
        return;
    struct prefetch_request plan = {.source = source,
                                    .index = next,
                                    .checks = source_checks(r),
                                    .hold = r->spare,
                                    .limit = (now > then ? now : then) + AHEAD_ROOM,
                                    .spent = &r->spent[0]};
    r->coming = prefetch_start(&plan);
}

/* A pass that ends at stage `last`, from wherever the payload is now. */
static int pass_to(struct runner *r, size_t last, bool observes, bool final, struct error *e)
{
    struct pass p = {.last = last, .observes = observes, .final = final};
    p.head = observes ? r->jobs[last].sample_elements : 0;
    p.fresh = gives_once(r) && !r->held;
    p.holding = p.fresh && !final;
    if (p.holding && tensor_buffer_reserve(r->hold, &r->tensors[0], e))
        return fail(r, 0, e);
    if (r->held && final && !r->arriving)
        read_ahead(r);
    return run_pass(r, &p, e);
}

/* ---- one tensor ---------------------------------------------------------------------------- */

/* The header behind a stage: what the stage's open made of the manifest, with the weights and
 * attributes that the tensor came with, model by model. */
static struct tensor compose(struct runner *r, const struct job *job, const struct tensor *entry)
{
    struct tensor t = tensor_copy(&r->arena, entry);
    for (size_t k = 0; job->in && k < t.n_vectors; k++) {
        struct vector *v = &t.vectors[k];
        const char *name = job->stage->out->models[v->model].name;
        for (size_t j = 0; j < job->in->n_vectors; j++) {
            const struct vector *from = &job->in->vectors[j];
            if (strcmp(job->stage->in->models[from->model].name, name) != 0)
                continue;
            v->n_weights = from->n_weights;
            v->weights = from->weights;
            v->l1_before = from->l1_before;
            v->keep_probability = from->keep_probability;
            v->unknown_payload_keys = from->unknown_payload_keys;
            v->unknown_keys = from->unknown_keys;
        }
    }
    if (job->in)
        t.unknown_keys = job->in->unknown_keys;
    return t;
}

/* The tensor that was being read becomes the one at hand. */
static int welcome(struct runner *r, struct error *e)
{
    struct tensor_buffer *empty = r->hold;
    r->hold = r->spare;
    r->spare = empty;
    r->arriving = r->coming;
    r->coming = NULL;
    r->held = true;
    r->plans[0] = PLAN_TRANSFORM;
    return prefetch_wait_for_tensor(r->arriving, &r->jobs[0], &r->tensors[0], &r->arena, e)
               ? fail(r, 0, e)
               : 0;
}

static int begin(struct runner *r, size_t s, size_t index, struct error *e)
{
    struct stage *stage = r->stages[s];
    struct job *job = &r->jobs[s];
    size_t place = r->place[s][index];
    *job = (struct job){.stage = stage,
                        .index = index,
                        .in = s ? &r->tensors[s - 1] : NULL,
                        .out = &r->tensors[s],
                        .arena = &r->arena};
    r->begun = s + 1;
    if (s == 0 && r->coming)
        return welcome(r, e);
    r->tensors[s] = compose(r, job, &stage->out->tensors[place]);
    if (s && stage->filter->element_wise && !works_on(stage, job->in)) {
        r->plans[s] = PLAN_PASS_THROUGH;
        job->stage = NULL; /* nothing to end */
        return 0;
    }
    uint64_t start = process_stats_clock_ns();
    int plan = stage->filter->begin ? stage->filter->begin(job, e) : PLAN_TRANSFORM;
    if (plan < 0)
        return fail(r, s, e);
    spend(r, s, start, 0);
    r->plans[s] = (enum plan)plan;
    return 0;
}

/* Rounds until stage s has decided. */
static int settle(struct runner *r, size_t s, struct error *e)
{
    struct job *job = &r->jobs[s];
    if (!job->stage)
        return 0;
    int (*decide)(struct job *, struct error *) = job->stage->filter->decide;
    bool decides = decide && !job->stage->in_model_rounds && r->plans[s] != PLAN_PASS_THROUGH;
    bool observes = r->plans[s] == PLAN_OBSERVE;
    int verdict;
    do {
        if (observes && pass_to(r, s, true, false, e))
            return -1;
        uint64_t start = process_stats_clock_ns();
        verdict = decides ? decide(job, e) : VERDICT_DONE;
        if (verdict < 0)
            return fail(r, s, e);
        spend(r, s, start, 0);
    } while (observes && verdict == VERDICT_AGAIN);
    return 0;
}

static int end_jobs(struct runner *r, bool ok, struct error *e)
{
    int failed = 0;
    for (size_t s = 0; s < r->begun; s++) {
        struct job *job = &r->jobs[s];
        struct error later;
        if (!job->stage || !job->stage->filter->end)
            continue;
        uint64_t start = process_stats_clock_ns();
        if (job->stage->filter->end(job, ok && !failed, failed || !ok ? &later : e) && ok &&
            !failed)
            failed = fail(r, s, e);
        spend(r, s, start, 0);
    }
    r->begun = 0;
    return failed;
}

/* Reads a tensor's payload for nobody: off a source that gives it once, and off one that hashes
 * what it reads, in the `final` pass. */
static int drain(struct runner *r, bool final, struct error *e)
{
    const struct tensor *t = &r->tensors[0];
    bool reads = gives_once(r) ? !r->held : final && r->stages[0]->filter->summary;
    struct block_buffer *buffer = take_buffer(r);
    size_t blocks = tensor_block_count(t);
    int failed = r->arriving && blocks ? prefetch_wait_for_block(r->arriving, blocks - 1, e) : 0;
    for (size_t b = 0; reads && !failed && b < blocks; b++)
        failed = fill(r, buffer, b, 0, false, false, e);
    block_buffers_release(&r->buffers, buffer);
    return failed ? fail(r, 0, e) : 0;
}

/* Brings tensor `index` (of the source) to stage `last`: the sink, or a stage of scope model that
 * is having a round. A tensor that a stage before dropped goes nowhere. */
static int tensor_to(struct runner *r, size_t index, size_t last, struct error *e)
{
    bool to_sink = last == r->n - 1;
    for (size_t s = 0; s < last; s++) {
        if (r->place[s][index] == DROPPED)
            return drain(r, to_sink, e);
        if (begin(r, s, index, e) || (s > 0 && settle(r, s, e)))
            return -1;
        index = r->place[s][index];
    }
    if (r->place[last][index] == DROPPED)
        return drain(r, to_sink, e);
    if (begin(r, last, index, e))
        return -1;
    if (r->plans[last] == PLAN_PASS_THROUGH)
        return drain(r, to_sink, e);
    return pass_to(r, last, !to_sink || r->plans[last] == PLAN_REDUCE, true, e);
}

/* What was kept of the tensor at hand goes. */
static void clear(struct runner *r)
{
    prefetch_stop(r->arriving);
    r->arriving = NULL;
    tensor_buffer_clear(r->hold);
    arena_clear(&r->arena);
    r->held = r->known_finite = false;
}

static int one_tensor(struct runner *r, size_t index, size_t last, struct error *e)
{
    r->index = index;
    int failed = tensor_to(r, index, last, e);
    failed = end_jobs(r, !failed && last == r->n - 1, e) || failed ? -1 : 0;
    clear(r);
    return failed;
}

/* ---- the whole stream ---------------------------------------------------------------------- */

static bool has_model_scope(const struct runner *r)
{
    for (size_t s = 1; s < r->n; s++)
        if (scope_of(r->stages[s]) == SCOPE_MODEL)
            return true;
    return false;
}

static int rewind_source(struct runner *r, struct error *e)
{
    const struct filter *f = r->stages[0]->filter;
    return f->source.rewind && f->source.rewind(r->stages[0], e) ? fail(r, 0, e) : 0;
}

/* A reader that has gone ends the work quietly, as a write would have. */
static void stop_if_deserted(const struct runner *r)
{
    const struct stage *last = r->stages[r->n - 1];
    if (last->filter == &stdio_stages_writer && writer_reader_gone(last->data))
        raise(SIGPIPE);
}

static int model_rounds(struct runner *r, size_t s, struct error *e)
{
    struct stage *stage = r->stages[s];
    int verdict;
    stage->in_model_rounds = true;
    do {
        if (rewind_source(r, e))
            return -1;
        for (size_t i = 0; i < r->headers[0]->n_tensors; i++) {
            if (one_tensor(r, i, s, e))
                return -1;
            stop_if_deserted(r);
        }
        struct job job = {.stage = stage};
        uint64_t start = process_stats_clock_ns();
        verdict = stage->filter->decide(&job, e);
        if (verdict < 0)
            return fail(r, s, e);
        spend(r, s, start, 0);
    } while (verdict == VERDICT_AGAIN);
    stage->in_model_rounds = false;
    return 0;
}

/* Where tensor `index` of the source arrives, or DROPPED. */
static size_t destination(const struct runner *r, size_t index)
{
    for (size_t s = 0; s < r->n && index != DROPPED; s++)
        index = r->place[s][index];
    return index;
}

static bool is_wanted(const struct runner *r, size_t index)
{
    const struct stage *sink = r->stages[r->n - 1];
    return !sink->filter->sink.wants_tensor ||
           sink->filter->sink.wants_tensor(sink, destination(r, index));
}

/* A tensor that the sink does not want: one that comes all the same is read for nobody. */
static int pass_by(struct runner *r, size_t index, struct error *e)
{
    if (!gives_once(r))
        return 0;
    int failed = begin(r, 0, index, e) || drain(r, false, e) ? -1 : 0;
    end_jobs(r, false, e);
    clear(r);
    return failed;
}

static int all_tensors(struct runner *r, struct error *e)
{
    bool several_passes = has_model_scope(r);
    for (size_t s = 1; s < r->n; s++)
        if (scope_of(r->stages[s]) == SCOPE_MODEL && model_rounds(r, s, e))
            return -1;
    if (several_passes && rewind_source(r, e))
        return -1;
    for (size_t i = 0; i < r->headers[0]->n_tensors; i++) {
        bool wanted = is_wanted(r, i);
        if (wanted ? one_tensor(r, i, r->n - 1, e) : pass_by(r, i, e))
            return -1;
        if (wanted)
            progress_add_tensor(r->progress);
    }
    return 0;
}

static int close_all(struct runner *r, int failed, struct error *e)
{
    bool enough = !failed && r->stages[r->n - 1]->stop_after_open;
    for (size_t s = 0; s < r->n; s++) {
        const struct filter *f = r->stages[s]->filter;
        struct error later;
        /* A writer that was never opened still has to say why no stream comes. */
        if (!f->close || (s >= r->opened && f != &stdio_stages_writer))
            continue;
        struct error *to = failed && f != &stdio_stages_writer ? &later : e;
        bool ok = !failed && (!enough || s == r->n - 1);
        uint64_t start = process_stats_clock_ns();
        if (f->close(r->stages[s], ok, to) && !failed)
            failed = fail(r, s, e);
        spend(r, s, start, 0);
    }
    return failed;
}

static struct progress *start_progress(const struct runner *r)
{
    const struct header *h = r->headers[0];
    uint64_t bytes = 0;
    size_t tensors = 0;
    for (size_t i = 0; i < h->n_tensors; i++)
        if (is_wanted(r, i)) {
            bytes += all_bytes(&h->tensors[i], tensor_elements(&h->tensors[i]));
            tensors++;
        }
    return progress_new(tensors, bytes);
}

static void add_to_account(struct runner *r, uint64_t start, struct run_report *to)
{
    struct run_report_stage *stages = mem_alloc(r->n, sizeof *stages);
    struct run_report_chain chain = {.threads = r->stages[0]->common.threads,
                                     .peak_resident = process_stats_peak_resident_bytes(),
                                     .peak_anonymous = r->peak_anonymous,
                                     .seconds = 1e-9 * (double)(process_stats_clock_ns() - start),
                                     .n = r->n,
                                     .stages = stages};
    for (size_t s = 0; s < r->n; s++) {
        const struct stage *stage = r->stages[s];
        uint64_t bytes = r->spent[s].bytes;
        stages[s] = (struct run_report_stage){stage->filter->name,
                                              1e-9 * (double)r->spent[s].nanoseconds, bytes};
        chain.bytes_read += s == 0 && !stage->bytes_read ? bytes : stage->bytes_read;
        chain.bytes_written += stage->filter == &stdio_stages_writer ? bytes : stage->bytes_written;
    }
    run_report_add_chain(to, &chain);
    free(stages);
}

/* What stages were told of the run as a whole goes to the source, which fills and holds: the most
 * threads, the least memory, the first folder. */
static void choose_common(struct stage *const *stages, size_t n)
{
    struct common_options *chosen = &stages[0]->common;
    for (size_t s = 1; s < n; s++) {
        const struct common_options *c = &stages[s]->common;
        chosen->threads = c->threads > chosen->threads ? c->threads : chosen->threads;
        chosen->memory = c->memory < chosen->memory ? c->memory : chosen->memory;
        chosen->spool = chosen->spool ? chosen->spool : c->spool;
    }
    if (chosen->threads > THREADS_MAX)
        chosen->threads = THREADS_MAX;
}

static void runner_free(struct runner *r)
{
    thread_pool_free(r->pool);
    for (size_t s = 0; s < r->n; s++) {
        header_free(r->headers[s]);
        free(r->place[s]);
        r->stages[s]->in = r->stages[s]->out = NULL;
        r->stages[s]->runner = NULL;
    }
    for (size_t j = 0; j < r->n_slots; j++)
        free(r->slots[j].work);
    free(r->headers);
    free(r->place);
    free(r->jobs);
    free(r->tensors);
    free(r->plans);
    free(r->slots);
    block_buffers_free(&r->buffers);
    free(r->spent);
    free(r->hash_models);
    free(r->hashes);
    free(r->tensor_hashes);
    tensor_buffer_free(r->hold);
    tensor_buffer_free(r->spare);
    spool_free(r->file);
    chunk_pool_free(r->chunks);
    arena_free(&r->arena);
    arena_free(&r->hash_arena);
}

int runner_run(struct stage *const *stages, size_t n, const struct run_monitor *watch,
               struct error *e)
{
    uint64_t start = process_stats_clock_ns();
    choose_common(stages, n);
    size_t threads = stages[0]->common.threads ? stages[0]->common.threads : 1;
    struct runner r = {.stages = stages, .n = n};
    r.headers = mem_alloc(n, sizeof *r.headers);
    r.place = mem_alloc(n, sizeof *r.place);
    r.jobs = mem_alloc(n, sizeof *r.jobs);
    r.tensors = mem_alloc(n, sizeof *r.tensors);
    r.plans = mem_alloc(n, sizeof *r.plans);
    r.spent = mem_alloc(n, sizeof *r.spent);
    r.chunks = chunk_pool_new();
    r.file = spool_new(0, stages[0]->common.spool);
    r.hold = tensor_buffer_new(r.chunks, r.file, stages[0]->common.memory);
    r.spare = tensor_buffer_new(r.chunks, r.file, stages[0]->common.memory);
    r.n_slots = threads == 1 ? 1 : BLOCKS_PER_THREAD * threads;
    r.pool = threads == 1 ? NULL : thread_pool_new(threads);
    r.slots = mem_alloc(r.n_slots, sizeof *r.slots);
    block_buffers_init(&r.buffers, r.n_slots);
    e->text[0] = e->stage[0] = '\0';
    int failed = open_all(&r, e);
    if (!failed && watch->show_progress)
        r.progress = start_progress(&r);
    if (!failed && !stages[n - 1]->stop_after_open)
        failed = all_tensors(&r, e);
    prefetch_stop(r.coming); /* after a failure */
    progress_free(r.progress);
    sample_memory(&r);
    failed = close_all(&r, failed, e);
    if (!failed && watch->report)
        add_to_account(&r, start, watch->report);
    runner_free(&r);
    return failed;
}

void run_context_add_model_hash(struct stage *s, const char *model, uint64_t hash)
{
    struct runner *r = s->runner;
    r->hash_models = mem_resize(r->hash_models, r->n_hashes + 1, sizeof *r->hash_models);
    r->hashes = mem_resize(r->hashes, r->n_hashes + 1, sizeof *r->hashes);
    r->hash_models[r->n_hashes] = arena_copy_text_n(&r->hash_arena, model, strlen(model));
    r->hashes[r->n_hashes++] = hash;
}

size_t run_context_model_hashes(const struct stage *s, const char *const **models,
                                const uint64_t **hashes)
{
    *models = s->runner->hash_models;
    *hashes = s->runner->hashes;
    return s->runner->n_hashes;
}

void run_context_add_tensor_hash(struct stage *s, const char *model, size_t index, uint64_t hash)
{
    struct runner *r = s->runner;
    size_t n = r->n_tensor_hashes;
    if ((n & (n - 1)) == 0)
        r->tensor_hashes = mem_resize(r->tensor_hashes, n ? 2 * n : 1, sizeof *r->tensor_hashes);
    r->tensor_hashes[r->n_tensor_hashes++] = (struct tensor_hash){
        s->out->models[header_find_model(s->out, model)].name, index, destination(r, index), hash};
}

size_t run_context_tensor_hashes(const struct stage *s, const struct tensor_hash **hashes)
{
    *hashes = s->runner->tensor_hashes;
    return s->runner->n_tensor_hashes;
}

const char *run_context_find_model_scope_stage(const struct stage *s)
{
    const struct runner *r = s->runner;
    for (size_t i = 1; i < r->n; i++)
        if (scope_of(r->stages[i]) == SCOPE_MODEL)
            return r->stages[i]->filter->name;
    return NULL;
}

bool run_context_has_model_fingerprints(const struct stage *s)
{
    bool known = !gives_once(s->runner);
    for (size_t i = 0; known && i < s->runner->headers[0]->n_models; i++)
        known = s->runner->headers[0]->models[i].has_fingerprint;
    return known;
}

void run_context_stop_if_reader_gone(const struct stage *s)
{
    stop_if_deserted(s->runner);
}

bool run_context_lacks_checksums(const struct stage *s)
{
    return s->runner->stages[0]->lacks_checksums;
}
