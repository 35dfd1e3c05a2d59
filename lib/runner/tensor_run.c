#include "tensor_run.h"

#include "block_pass.h"
#include "row_pass.h"

#include <stdlib.h>
#include <string.h>

#define PREFETCH_BYTES ((size_t)4 << 20) /* of the next tensor, besides the whole current one */

/* ---- prefetch of the next tensor ------------------------------------------------------------- */

/* Reserves the buffer for the next tensor, in memory, and makes the source stoppable. False if
 * either is impossible. */
static bool prepare_prefetch(struct runner *r, const struct tensor *next)
{
    struct stage *source = r->stages[0];
    struct error ignored;
    return tensor_buffer_bytes(next) <= source->common.memory &&
           !tensor_buffer_reserve(r->next_payload, next, &ignored) &&
           !source->filter->source.make_stoppable(source);
}

/* Starts to read the next tensor of a stream into the memory that the current one releases. As the
 * current tensor needed the buffer, the next one most likely needs it too. */
static void prefetch_next_tensor(struct runner *r)
{
    struct stage *source = r->stages[0];
    size_t index = r->index + 1;
    if (!source->filter->source.stop_reading || index >= source->out->n_tensors)
        return;
    const struct tensor *next = &source->out->tensors[index];
    if (!prepare_prefetch(r, next))
        return;
    uint64_t bytes = tensor_buffer_max_chunk_bytes(&r->tensors[0]);
    uint64_t next_bytes = tensor_buffer_max_chunk_bytes(next);
    const struct prefetch_request request = {
        .source = source,
        .index = index,
        .checks_finite = runner_state_must_check_source(r),
        .buffer = r->next_payload,
        .max_chunk_bytes = (bytes > next_bytes ? bytes : next_bytes) + PREFETCH_BYTES,
        .cost = &r->costs[0],
    };
    r->next_prefetch = prefetch_start(&request);
}

/* The prefetched tensor becomes the current one. Its payload may still be arriving. */
static int make_prefetched_tensor_current(struct runner *r, struct error *e)
{
    struct tensor_buffer *empty = r->payload;
    r->payload = r->next_payload;
    r->next_payload = empty;
    r->prefetch = r->next_prefetch;
    r->next_prefetch = NULL;
    r->is_buffered = true;
    r->plans[0] = PLAN_TRANSFORM;
    int failed = prefetch_wait_for_tensor(r->prefetch, &r->jobs[0], &r->tensors[0], &r->arena, e);
    return failed ? runner_state_set_failed_stage(r, 0, e) : 0;
}

/* ---- a stage begins -------------------------------------------------------------------------- */

/* The values that are only in the tensor header, not in the manifest. */
static void copy_vector_attributes(struct vector *to, const struct vector *from)
{
    to->n_weights = from->n_weights;
    to->weights = from->weights;
    to->n_joined = from->n_joined;
    to->joined = from->joined;
    to->l1_before = from->l1_before;
    to->l1 = from->l1;
    to->keep_probability = from->keep_probability;
    to->unknown_payload_keys = from->unknown_payload_keys;
    to->unknown_keys = from->unknown_keys;
}

static int compare_models(const void *a, const void *b)
{
    size_t x = ((const struct vector *)a)->model, y = ((const struct vector *)b)->model;
    return x < y ? -1 : x > y;
}

/* The vector of a model, by its index in the header; NULL if there is none. Vectors are in the
 * order of their models. */
static const struct vector *find_vector(const struct tensor *t, long model)
{
    const struct vector key = {.model = (size_t)model};
    return model < 0 ? NULL : bsearch(&key, t->vectors, t->n_vectors, sizeof key, compare_models);
}

/* The tensor as a stage sends it: the entry of the manifest that the stage's open made, with the
 * weights and attributes that the tensor arrived with, model by model. */
static struct tensor make_tensor_after_stage(struct runner *r, const struct job *job,
                                             const struct tensor *entry)
{
    struct tensor t = tensor_copy(&r->arena, entry);
    if (!job->in)
        return t;
    for (size_t k = 0; k < t.n_vectors; k++) {
        const char *name = job->stage->out->models[t.vectors[k].model].name;
        const struct vector *from = find_vector(job->in, header_find_model(job->stage->in, name));
        if (from)
            copy_vector_attributes(&t.vectors[k], from);
    }
    t.unknown_keys = job->in->unknown_keys;
    return t;
}

static int begin_tensor_in_stage(struct runner *r, size_t s, size_t index, struct error *e)
{
    struct stage *stage = r->stages[s];
    const struct filter *f = stage->filter;
    struct job *job = &r->jobs[s];
    *job = (struct job){.stage = stage,
                        .index = index,
                        .in = s ? &r->tensors[s - 1] : NULL,
                        .out = &r->tensors[s],
                        .arena = &r->arena};
    if (job->in)
        job->block_elements =
            row_pass_is_needed(r, s) ? tensor_columns(job->in) : tensor_block_elements(job->in);
    r->n_begun = s + 1;
    if (s == 0 && r->next_prefetch)
        return make_prefetched_tensor_current(r, e);
    r->tensors[s] =
        make_tensor_after_stage(r, job, &stage->out->tensors[r->manifest_map[s][index]]);
    if (s && f->element_wise && !runner_state_stage_works_on(stage, job->in)) {
        r->plans[s] = PLAN_PASS_THROUGH;
        job->stage = NULL; /* nothing to decide, nothing to end */
        return 0;
    }
    uint64_t start = process_stats_monotonic_ns();
    int plan = f->begin_tensor ? f->begin_tensor(job, e) : PLAN_TRANSFORM;
    if (plan < 0)
        return runner_state_set_failed_stage(r, s, e);
    stage_cost_add(&r->costs[s], start, 0);
    r->plans[s] = (enum plan)plan;
    return 0;
}

/* ---- rounds ---------------------------------------------------------------------------------- */

/* Runs a pass over the blocks that ends at stage `last`, from wherever the payload is now. */
static int run_block_pass(struct runner *r, size_t last, bool observes, bool is_final,
                          struct error *e)
{
    struct block_pass p = {.last_stage = last, .observes = observes, .is_final = is_final};
    p.sample_elements = observes ? r->jobs[last].sample_elements : 0;
    p.reads_stream = runner_state_source_is_one_pass(r) && !r->is_buffered && !r->held.stage;
    p.fills_buffer = p.reads_stream && !is_final;
    if (p.fills_buffer && tensor_buffer_reserve(r->payload, &r->tensors[0], e))
        return runner_state_set_failed_stage(r, 0, e);
    if (r->is_buffered && is_final && !r->prefetch)
        prefetch_next_tensor(r);
    return block_pass_run(r, &p, e);
}

/* Rounds until stage s has decided: observe, if it asked for that, and decide. In the rounds of a
 * scope model, the stage decides after all tensors (runner.c). */
static int run_observe_rounds(struct runner *r, size_t s, struct error *e)
{
    struct job *job = &r->jobs[s];
    if (!job->stage)
        return 0;
    int (*decide)(struct job *, struct error *) = job->stage->filter->end_round;
    bool decides = decide && !job->stage->in_model_rounds && r->plans[s] != PLAN_PASS_THROUGH;
    bool observes = r->plans[s] == PLAN_OBSERVE;
    int verdict;
    do {
        if (observes && run_block_pass(r, s, true, false, e))
            return -1;
        uint64_t start = process_stats_monotonic_ns();
        verdict = decides ? decide(job, e) : VERDICT_DONE;
        if (verdict < 0)
            return runner_state_set_failed_stage(r, s, e);
        stage_cost_add(&r->costs[s], start, 0);
    } while (observes && verdict == VERDICT_AGAIN);
    return 0;
}

static int run_rounds(struct runner *r, size_t s, struct error *e)
{
    return row_pass_is_needed(r, s) ? row_pass_run(r, s, e) : run_observe_rounds(r, s, e);
}

/* Runs the rounds of the stages before `last`. Sets r->index_at_last. */
static int run_stages_before(struct runner *r, size_t last, struct error *e)
{
    size_t index = r->index;
    r->index_at_last = DROPPED;
    for (size_t s = 0; s < last; s++) {
        if (r->manifest_map[s][index] == DROPPED)
            return 0;
        if (begin_tensor_in_stage(r, s, index, e) || (s > 0 && run_rounds(r, s, e)))
            return -1;
        index = r->manifest_map[s][index];
    }
    if (r->manifest_map[last][index] != DROPPED)
        r->index_at_last = index;
    return 0;
}

/* Brings the tensor to stage `last`. One that a stage before it has dropped, or that it passes
 * through, is not computed. */
static int run_last_stage(struct runner *r, size_t last, struct error *e)
{
    bool is_sink = last == r->n_stages - 1;
    if (r->index_at_last == DROPPED)
        return block_pass_discard_payload(r, is_sink, e);
    if (begin_tensor_in_stage(r, last, r->index_at_last, e))
        return -1;
    if (r->plans[last] == PLAN_PASS_THROUGH)
        return block_pass_discard_payload(r, is_sink, e);
    return run_block_pass(r, last, !is_sink || r->plans[last] == PLAN_REDUCE, true, e);
}

/* ---- the end of a tensor --------------------------------------------------------------------- */

/* Ends all jobs that have begun. A failure of one is not the error of a run that failed before. */
static int end_jobs(struct runner *r, bool ok, struct error *e)
{
    int failed = 0;
    for (size_t s = 0; s < r->n_begun; s++) {
        struct job *job = &r->jobs[s];
        struct error ignored;
        if (!job->stage || !job->stage->filter->end_tensor)
            continue;
        bool job_ok = ok && !failed;
        uint64_t start = process_stats_monotonic_ns();
        if (job->stage->filter->end_tensor(job, job_ok, job_ok ? e : &ignored) && job_ok)
            failed = runner_state_set_failed_stage(r, s, e);
        stage_cost_add(&r->costs[s], start, 0);
    }
    r->n_begun = 0;
    return failed;
}

static void release_current_tensor(struct runner *r)
{
    prefetch_stop(r->prefetch);
    r->prefetch = NULL;
    tensor_buffer_clear(r->payload);
    held_rows_release(&r->held);
    arena_clear(&r->arena);
    r->is_buffered = r->is_known_finite = false;
}

int tensor_run_before_stage(struct runner *r, size_t index, size_t last, struct error *e)
{
    r->index = index;
    return run_stages_before(r, last, e);
}

int tensor_run_last_stage(struct runner *r, size_t last, bool ok, struct error *e)
{
    int failed = ok ? run_last_stage(r, last, e) : -1;
    if (end_jobs(r, !failed && last == r->n_stages - 1, e))
        failed = -1;
    release_current_tensor(r);
    return failed;
}

int tensor_run_to_stage(struct runner *r, size_t index, size_t last, struct error *e)
{
    bool ok = tensor_run_before_stage(r, index, last, e) == 0;
    return tensor_run_last_stage(r, last, ok, e);
}

int tensor_run_skip_tensor(struct runner *r, size_t index, struct error *e)
{
    if (!runner_state_source_is_one_pass(r))
        return 0;
    int failed =
        begin_tensor_in_stage(r, 0, index, e) || block_pass_discard_payload(r, false, e) ? -1 : 0;
    end_jobs(r, false, e);
    release_current_tensor(r);
    return failed;
}
