#include "tensor_lanes.h"

#include "ordered_pool.h"
#include "tensor_run.h"

#include <stdlib.h>

#define LANES_PER_THREAD 2 /* so that tensors which wait for their turn stop no thread */

/* ---- how many -------------------------------------------------------------------------------- */

/* Bytes that all stages hold for tensor `index` of the source. */
static uint64_t memory_of_tensor(const struct runner *r, size_t index)
{
    uint64_t bytes = 0;
    for (size_t s = 1; s < r->n_stages; s++) {
        index = r->manifest_map[s - 1][index];
        if (index == DROPPED)
            break;
        const struct stage *stage = r->stages[s];
        if (stage->filter->tensor_memory)
            bytes += stage->filter->tensor_memory(stage, &stage->in->tensors[index]);
    }
    return bytes;
}

size_t tensor_lanes_count(const struct runner *r)
{
    const struct common_options *o = &r->stages[0]->common;
    uint64_t largest = 0;
    if (!r->threads || runner_state_source_is_one_pass(r))
        return 1;
    for (size_t i = 0; i < r->headers[0]->n_tensors; i++) {
        uint64_t bytes = memory_of_tensor(r, i);
        largest = bytes > largest ? bytes : largest;
    }
    if (largest == 0)
        return 1;
    uint64_t fitting = o->memory / largest, lanes = LANES_PER_THREAD * o->threads;
    return fitting < 1 ? 1 : (size_t)(fitting < lanes ? fitting : lanes);
}

/* ---- a lane ---------------------------------------------------------------------------------- */

/* A runner with a tensor of its own, on one thread. It shares the chain with `r`. */
static void init_lane(struct runner *lane, const struct runner *r)
{
    *lane = *r;
    lane->hashes = (struct collected_hashes){0};
    lane->progress = NULL;
    lane->arena = (struct arena){0};
    lane->n_begun = 0;
    lane->jobs = mem_alloc(r->n_stages, sizeof *lane->jobs);
    lane->tensors = mem_alloc(r->n_stages, sizeof *lane->tensors);
    lane->plans = mem_alloc(r->n_stages, sizeof *lane->plans);
    lane->payload = tensor_buffer_new(r->chunks, r->file, 0);
    lane->threads = NULL;
    lane->n_slots = 1;
    lane->slots = mem_alloc(1, sizeof *lane->slots);
    block_buffers_init(&lane->buffers, 1);
}

static void free_lane(struct runner *lane)
{
    free(lane->jobs);
    free(lane->tensors);
    free(lane->plans);
    tensor_buffer_free(lane->payload);
    free(lane->slots[0].work);
    free(lane->slots);
    block_buffers_free(&lane->buffers);
    arena_free(&lane->arena);
}

/* ---- all tensors ----------------------------------------------------------------------------- */

struct lanes {
    struct runner *r;
    struct runner *lanes; /* [slot] */
    bool (*wants_tensor)(const struct runner *, size_t);
};

/* On any thread. */
static int run_rounds(void *context, size_t slot, size_t index, struct error *e)
{
    const struct lanes *l = context;
    struct runner *lane = &l->lanes[slot];
    return l->wants_tensor(l->r, index)
               ? tensor_run_before_stage(lane, index, l->r->n_stages - 1, e)
               : 0;
}

/* In the order of the tensors. */
static int bring_to_sink(void *context, size_t slot, size_t index, struct error *e)
{
    const struct lanes *l = context;
    struct runner *lane = &l->lanes[slot];
    if (!l->wants_tensor(l->r, index))
        return 0;
    lane->progress = l->r->progress;
    int failed = tensor_run_last_stage(lane, l->r->n_stages - 1, true, e);
    lane->progress = NULL;
    if (!failed)
        progress_add_tensor(l->r->progress);
    if (lane->peak_anonymous > l->r->peak_anonymous)
        l->r->peak_anonymous = lane->peak_anonymous;
    return failed;
}

int tensor_lanes_run(struct runner *r, size_t n,
                     bool (*wants_tensor)(const struct runner *, size_t), struct error *e)
{
    const struct ordered_steps steps = {NULL, run_rounds, bring_to_sink};
    struct lanes l = {r, mem_alloc(n, sizeof *l.lanes), wants_tensor};
    for (size_t i = 0; i < n; i++)
        init_lane(&l.lanes[i], r);
    int failed = ordered_pool_run(r->threads, r->headers[0]->n_tensors, n, &steps, &l, e);
    for (size_t i = 0; i < n; i++) {
        struct error ignored;
        if (l.lanes[i].n_begun > 0) /* after a failure */
            tensor_run_last_stage(&l.lanes[i], r->n_stages - 1, false, &ignored);
        free_lane(&l.lanes[i]);
    }
    free(l.lanes);
    return failed;
}
