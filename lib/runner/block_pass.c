#include "block_pass.h"

#include "block_layout.h"
#include "finite_check.h"
#include "ordered_pool.h"

#include <stdlib.h>

/* ---- reading a block ------------------------------------------------------------------------- */

/* Makes the buffer's block block `index` of the tensor. Its data is the buffer's own memory or,
 * with `in_tensor_buffer`, that of the tensor buffer if the tensor is in memory. */
static void point_block_at_memory(struct runner *r, struct block_buffer *b, size_t index,
                                  bool in_tensor_buffer)
{
    const struct tensor *t = &r->tensors[0];
    block_layout_set_to_block(&b->block, t, index);
    for (size_t k = 0; k < t->n_vectors; k++)
        b->block.data[k] = b->wire[k];
    if (in_tensor_buffer)
        tensor_buffer_point_block_at_memory(r->payload, t, &b->block);
}

/* Rejects non-finite numbers, unless the block is known to have none. */
static int check_block_is_finite(const struct stage *stage, const struct tensor *t,
                                 const struct header *h, struct block_buffer *b, struct error *e)
{
    if (b->is_finite || finite_check_is_off(stage))
        return 0;
    if (finite_check_block(t, h, &b->block, e))
        return -1;
    b->is_finite = true;
    return 0;
}

static int fill_block_from_source(struct runner *r, struct block *b, struct error *e)
{
    const struct job *job = &r->jobs[0];
    uint64_t start = process_stats_monotonic_ns();
    if (job->stage->filter->source.fill_block(job, b, e))
        return -1;
    stage_cost_add(&r->costs[0], start, block_layout_bytes(b));
    return 0;
}

static int check_source_block_is_finite(struct runner *r, struct block_buffer *b, struct error *e)
{
    const struct stage *source = r->stages[0];
    bool checks = runner_state_must_check_source(r);
    b->is_finite = checks && r->is_known_finite;
    return checks ? check_block_is_finite(source, &r->tensors[0], source->out, b, e) : 0;
}

/* Did the source point some payload of the block at memory of its own, instead of filling the
 * buffer? */
static bool is_borrowed_from_source(const struct block_buffer *b)
{
    for (size_t k = 0; k < b->block.n_vectors; k++)
        if (b->block.data[k] != b->wire[k])
            return true;
    return false;
}

/* Reads the block, or the sample of it, from the source. A stream delivers whole blocks. */
static int read_block_from_source(struct runner *r, const struct block_pass *p,
                                  struct block_buffer *b, size_t index, struct error *e)
{
    const struct tensor *t = &r->tensors[0];
    point_block_at_memory(r, b, index, false);
    if (p->fills_buffer) {
        tensor_buffer_allocate_block(r->payload, t, &b->block, SIZE_MAX);
        tensor_buffer_point_block_at_memory(r->payload, t, &b->block);
    }
    if (!runner_state_source_is_one_pass(r))
        b->block.n = block_layout_sample_length(&b->block, p->sample_elements);
    if (fill_block_from_source(r, &b->block, e) || check_source_block_is_finite(r, b, e))
        return -1;
    b->is_borrowed = !p->fills_buffer && is_borrowed_from_source(b);
    if (p->fills_buffer && tensor_buffer_write_block(r->payload, t, &b->block, e))
        return -1;
    b->block.n = block_layout_sample_length(&b->block, p->sample_elements);
    return 0;
}

/* Reads the block, or the sample of it, from the tensor buffer. Stages may work directly on the
 * buffer's memory in the final pass, or if there is no transform in between. */
static int read_block_from_tensor_buffer(struct runner *r, const struct block_pass *p,
                                         struct block_buffer *b, size_t index, struct error *e)
{
    bool in_place = p->is_final || p->last_stage == 1;
    if (r->prefetch && prefetch_wait_for_block(r->prefetch, index, e))
        return -1;
    point_block_at_memory(r, b, index, in_place);
    b->is_finite = !r->stages[0]->common.allow_nonfinite; /* checked when it was read */
    size_t n = block_layout_sample_length(&b->block, p->sample_elements);
    if (tensor_buffer_read_block(r->payload, &r->tensors[0], &b->block, n, e))
        return -1;
    b->block.n = n;
    return 0;
}

/* ---- a block through the stages -------------------------------------------------------------- */

/* Converts the block to the dtypes in which stage s wants tensor `in`, and checks it. */
static int convert_block_for_stage(struct runner *r, size_t s, struct block_buffer *b,
                                   struct error *e)
{
    const struct stage *stage = r->stages[s];
    const struct tensor *in = &r->tensors[s - 1];
    if (stage->filter->raw_payload)
        block_buffers_convert_to_wire_dtype(in, b);
    else
        block_buffers_convert_to_f32(b);
    return check_block_is_finite(stage, in, stage->in, b, e)
               ? runner_state_set_failed_stage(r, s, e)
               : 0;
}

/* Rounds the result of stage s to the dtype of the stream after it, and checks it. */
static int round_result_to_wire_dtype(struct runner *r, size_t s, struct block_buffer *b,
                                      struct error *e)
{
    const struct stage *stage = r->stages[s];
    const struct tensor *out = &r->tensors[s];
    b->block.n_vectors = out->n_vectors;
    for (size_t k = 0; !stage->filter->raw_payload && k < out->n_vectors; k++)
        if (b->block.dtypes[k] == DTYPE_F32)
            dtype_round_f32_to_precision(out->vectors[k].dtype, b->block.data[k], b->block.n);
    b->is_finite &= stage->filter->only_drops_elements;
    return check_block_is_finite(stage, out, stage->out, b, e)
               ? runner_state_set_failed_stage(r, s, e)
               : 0;
}

static bool transforms_blocks(const struct runner *r, size_t s)
{
    return r->plans[s] != PLAN_PASS_THROUGH && r->stages[s]->filter->transform_block;
}

static int transform_block(struct runner *r, size_t s, struct block_buffer *b, struct error *e)
{
    const struct filter *f = r->stages[s]->filter;
    if (!transforms_blocks(r, s))
        return 0;
    if (convert_block_for_stage(r, s, b, e))
        return -1;
    if (!f->raw_payload)
        block_buffers_copy_borrowed_payload(b);
    uint64_t start = process_stats_monotonic_ns(), bytes = block_layout_bytes(&b->block);
    if (f->transform_block(&r->jobs[s], &b->block, e))
        return runner_state_set_failed_stage(r, s, e);
    stage_cost_add(&r->costs[s], start, bytes);
    return round_result_to_wire_dtype(r, s, b, e);
}

/* The slot's work area, of at least `size` bytes. */
static void *get_slot_work_area(struct block_slot *slot, size_t size)
{
    if (slot->work_capacity < size) {
        free(slot->work);
        slot->work = mem_alloc(size, 1);
        slot->work_capacity = size;
    }
    return slot->work;
}

/* Are the blocks of this pass counted? Each is, once. */
static bool counts_changes(const struct runner *r, const struct block_pass *p)
{
    return r->changes && p->is_final && p->last_stage == r->n_stages - 1;
}

/* The part of the last stage that may run on any thread. */
static int observe_or_consume_block(struct runner *r, const struct block_pass *p,
                                    struct block_slot *slot, struct error *e)
{
    struct job *job = &r->jobs[p->last_stage];
    const struct filter *f = job->stage->filter;
    struct block *b = &slot->buffer->block;
    if (convert_block_for_stage(r, p->last_stage, slot->buffer, e))
        return -1;
    if (p->holds) {
        held_rows_store_block(p->holds, b);
        return 0;
    }
    uint64_t start = process_stats_monotonic_ns();
    if (p->observes && f->observe_block(job, b, get_slot_work_area(slot, job->work_size), e))
        return runner_state_set_failed_stage(r, p->last_stage, e);
    if (!p->observes && f->sink.consume_in_any_order && f->sink.consume_block(job, b, e))
        return runner_state_set_failed_stage(r, p->last_stage, e);
    stage_cost_add(&r->costs[p->last_stage], start, block_layout_bytes(b));
    return 0;
}

/* ---- the steps of a pass --------------------------------------------------------------------- */

struct pass_context {
    struct runner *r;
    const struct block_pass *pass;
};

/* In block order, before process_block: reads the block from a one-pass source. */
static int read_stream_block(void *context, size_t slot, size_t index, struct error *e)
{
    const struct pass_context *c = context;
    struct runner *r = c->r;
    struct block_buffer *b = r->slots[slot].buffer = runner_state_acquire_buffer(r);
    return read_block_from_source(r, c->pass, b, index, e) ? runner_state_set_failed_stage(r, 0, e)
                                                           : 0;
}

static int read_block(struct runner *r, const struct block_pass *p, struct block_buffer *b,
                      size_t index, struct error *e)
{
    if (r->held.stage) {
        held_rows_load_block(&r->held, &r->tensors[r->held.stage], index, p->sample_elements, b);
        return 0;
    }
    int failed = r->is_buffered ? read_block_from_tensor_buffer(r, p, b, index, e)
                                : read_block_from_source(r, p, b, index, e);
    return failed ? runner_state_set_failed_stage(r, 0, e) : 0;
}

static int run_block_through_stages(struct runner *r, const struct block_pass *p,
                                    struct block_slot *slot, size_t index, struct error *e)
{
    if (!p->reads_stream && read_block(r, p, slot->buffer, index, e))
        return -1;
    struct block_buffer *b = slot->buffer;
    b->nonzero = CHANGE_COUNTS_UNKNOWN;
    for (size_t s = r->held.stage + 1; s < p->last_stage; s++) {
        if (transform_block(r, s, b, e))
            return -1;
        if (counts_changes(r, p) && transforms_blocks(r, s))
            change_counts_add_step(r->changes, r->stages[s]->filter, s, &b->block, &b->nonzero);
    }
    if (counts_changes(r, p))
        change_counts_add_result(r->changes, r->stages[p->last_stage]->in,
                                 &r->tensors[p->last_stage - 1], &b->block);
    return observe_or_consume_block(r, p, slot, e);
}

static void release_slot_buffer(struct runner *r, struct block_slot *slot)
{
    if (slot->buffer)
        block_buffers_release(&r->buffers, slot->buffer);
    slot->buffer = NULL;
}

/* On any thread. Releases the buffer early if finish_block does not need the payload. */
static int run_stages_on_block_in_slot(void *context, size_t slot_index, size_t index,
                                       struct error *e)
{
    const struct pass_context *c = context;
    struct runner *r = c->r;
    const struct block_pass *p = c->pass;
    struct block_slot *slot = &r->slots[slot_index];
    if (!slot->buffer)
        slot->buffer = runner_state_acquire_buffer(r);
    int failed = run_block_through_stages(r, p, slot, index, e);
    slot->block = slot->buffer->block;
    if (p->observes || p->holds || r->stages[p->last_stage]->filter->sink.consume_in_any_order) {
        slot->block.data = NULL;
        release_slot_buffer(r, slot);
    }
    return failed;
}

static void add_block_to_progress(struct runner *r, const struct block_pass *p, size_t index)
{
    size_t first, n;
    tensor_block_range(&r->tensors[0], index, &first, &n);
    if (p->is_final && p->last_stage == r->n_stages - 1)
        progress_add_bytes(r->progress, block_layout_payload_bytes(&r->tensors[0], n));
    else
        progress_redraw(r->progress);
}

/* In block order: accumulates what was observed, or consumes the block. */
static int accumulate_or_consume_in_order(void *context, size_t slot_index, size_t index,
                                          struct error *e)
{
    const struct pass_context *c = context;
    struct runner *r = c->r;
    const struct block_pass *p = c->pass;
    struct block_slot *slot = &r->slots[slot_index];
    struct job *job = &r->jobs[p->last_stage];
    const struct filter *f = job->stage->filter;
    uint64_t start = process_stats_monotonic_ns();
    if (p->observes && f->accumulate_block && f->accumulate_block(job, &slot->block, slot->work, e))
        return runner_state_set_failed_stage(r, p->last_stage, e);
    if (!p->observes && !p->holds && !f->sink.consume_in_any_order &&
        f->sink.consume_block(job, &slot->block, e))
        return runner_state_set_failed_stage(r, p->last_stage, e);
    stage_cost_add(&r->costs[p->last_stage], start, 0);
    release_slot_buffer(r, slot);
    if (r->is_buffered && p->is_final)
        tensor_buffer_free_block(r->payload, index);
    add_block_to_progress(r, p, index);
    runner_state_record_memory_use(r);
    return 0;
}

int block_pass_run(struct runner *r, const struct block_pass *p, struct error *e)
{
    const struct ordered_steps steps = {p->reads_stream ? read_stream_block : NULL,
                                        run_stages_on_block_in_slot,
                                        accumulate_or_consume_in_order};
    struct pass_context context = {r, p};
    if (ordered_pool_run(r->threads, tensor_block_count(&r->tensors[0]), r->n_slots, &steps,
                         &context, e))
        return -1;
    prefetch_stop(r->prefetch); /* all of it has arrived */
    r->prefetch = NULL;
    r->is_buffered |= p->fills_buffer;
    r->is_known_finite |=
        !p->reads_stream && !r->is_buffered && !r->held.stage && p->sample_elements == 0;
    return 0;
}

/* ---- payload that no stage needs ------------------------------------------------------------- */

/* Lets the source hash it, or only moves on. */
static int discard_block(struct runner *r, struct block_buffer *b, size_t index, struct error *e)
{
    const struct job *job = &r->jobs[0];
    point_block_at_memory(r, b, index, false);
    if (!job->stage->filter->source.hash_block)
        return fill_block_from_source(r, &b->block, e);
    uint64_t start = process_stats_monotonic_ns();
    if (job->stage->filter->source.hash_block(job, &b->block, e))
        return -1;
    stage_cost_add(&r->costs[0], start, block_layout_bytes(&b->block));
    return 0;
}

/* On any thread. */
static int discard_block_in_slot(void *runner, size_t slot, size_t index, struct error *e)
{
    struct runner *r = runner;
    struct block_buffer *b = runner_state_acquire_buffer(r);
    int failed = discard_block(r, b, index, e);
    block_buffers_release(&r->buffers, b);
    return failed;
}

/* Blocks of a one-pass source come in order. */
static int discard_blocks(struct runner *r, size_t n, struct error *e)
{
    const struct ordered_steps steps = {.work = discard_block_in_slot};
    struct thread_pool *threads = runner_state_source_is_one_pass(r) ? NULL : r->threads;
    return ordered_pool_run(threads, n, r->n_slots, &steps, r, e);
}

int block_pass_discard_payload(struct runner *r, bool for_hash, struct error *e)
{
    size_t n_blocks = tensor_block_count(&r->tensors[0]);
    bool reads = runner_state_source_is_one_pass(r)
                     ? !r->is_buffered && !r->held.stage
                     : for_hash && r->stages[0]->filter->source.hash_block;
    int failed =
        r->prefetch && n_blocks ? prefetch_wait_for_block(r->prefetch, n_blocks - 1, e) : 0;
    if (!failed && reads)
        failed = discard_blocks(r, n_blocks, e);
    return failed ? runner_state_set_failed_stage(r, 0, e) : 0;
}
