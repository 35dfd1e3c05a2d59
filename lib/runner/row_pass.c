#include "row_pass.h"

#include "block_layout.h"
#include "block_pass.h"
#include "finite_check.h"

#include <stdlib.h>
#include <string.h>

bool row_pass_is_needed(const struct runner *r, size_t s)
{
    const struct tensor *in = &r->tensors[s - 1];
    return runner_state_stage_scope(r->stages[s]) == SCOPE_ROW &&
           tensor_columns(in) > HELD_ROWS_BLOCK_MAX &&
           runner_state_stage_works_on(r->stages[s], in) && tensor_elements(in) > 0;
}

/* ---- holding the input ----------------------------------------------------------------------- */

/* Brings the blocks from wherever the payload is now to the stage, and holds them. */
static int hold_stage_input(struct runner *r, size_t s, struct error *e)
{
    struct held_rows input;
    if (held_rows_reserve(&input, s, &r->tensors[s - 1], &r->stages[0]->common, e)) {
        held_rows_release(&input);
        return runner_state_set_failed_stage(r, s, e);
    }
    struct block_pass p = {.last_stage = s, .holds = &input};
    p.reads_stream = runner_state_source_is_one_pass(r) && !r->is_buffered && !r->held.stage;
    int failed = block_pass_run(r, &p, e);
    held_rows_release(&r->held);
    r->held = input;
    return failed;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Makes `b` a row, in place. */
static void set_to_row(const struct held_rows *h, const struct tensor *t, size_t row,
                       struct block *b)
{
    b->index = row;
    b->first = row * h->columns;
    b->n = b->columns = h->columns;
    b->n_vectors = t->n_vectors;
    for (size_t k = 0; k < t->n_vectors; k++) {
        b->data[k] = held_rows_at(h, k, b->first);
        b->dtypes[k] = DTYPE_F32;
        b->buffer_of[k] = k;
    }
}

static int observe_rows(struct runner *r, size_t s, struct block *b, struct error *e)
{
    struct job *job = &r->jobs[s];
    const struct filter *f = job->stage->filter;
    const struct common_options *o = &r->stages[0]->common;
    struct scratch work;
    if (scratch_alloc(&work, job->work_size, o->memory, o->spool, e))
        return -1;
    int failed = 0;
    for (size_t row = 0; !failed && row < r->held.elements / r->held.columns; row++) {
        set_to_row(&r->held, job->in, row, b);
        failed = f->observe_block(job, b, work.bytes, e) ||
                 (f->accumulate_block && f->accumulate_block(job, b, work.bytes, e));
    }
    scratch_free(&work);
    return failed ? -1 : 0;
}

static int run_rounds(struct runner *r, size_t s, struct block *b, struct error *e)
{
    struct job *job = &r->jobs[s];
    const struct filter *f = job->stage->filter;
    bool observes = r->plans[s] == PLAN_OBSERVE;
    int verdict;
    do {
        if (observes && observe_rows(r, s, b, e))
            return -1;
        verdict = f->end_round ? f->end_round(job, e) : VERDICT_DONE;
    } while (observes && verdict == VERDICT_AGAIN);
    return verdict < 0 ? -1 : 0;
}

/* Rounds the result to the dtype of the stream after the stage, checks it, and moves the vectors
 * that are left together. */
static int finish_row(struct runner *r, size_t s, struct block *b, struct error *e)
{
    const struct stage *stage = r->stages[s];
    const struct tensor *out = &r->tensors[s];
    b->n_vectors = out->n_vectors;
    for (size_t k = 0; k < out->n_vectors; k++) {
        float *to = held_rows_at(&r->held, k, b->first);
        if (b->data[k] != to)
            memmove(to, b->data[k], b->n * sizeof *to);
        b->data[k] = to;
        dtype_round_f32_to_precision(out->vectors[k].dtype, to, b->n);
    }
    return finite_check_is_off(stage) ? 0 : finite_check_block(out, stage->out, b, e);
}

static int transform_rows(struct runner *r, size_t s, struct block *b, struct error *e)
{
    const struct job *job = &r->jobs[s];
    const struct filter *f = job->stage->filter;
    for (size_t row = 0; f->transform_block && row < r->held.elements / r->held.columns; row++) {
        set_to_row(&r->held, job->in, row, b);
        if (f->transform_block(job, b, e) || finish_row(r, s, b, e))
            return -1;
    }
    return 0;
}

int row_pass_run(struct runner *r, size_t s, struct error *e)
{
    if (r->plans[s] == PLAN_PASS_THROUGH)
        return 0;
    if (hold_stage_input(r, s, e))
        return -1;
    struct block b = {0};
    block_layout_allocate_arrays(&b, r->tensors[s - 1].n_vectors);
    uint64_t start = process_stats_monotonic_ns();
    int failed = run_rounds(r, s, &b, e) || transform_rows(r, s, &b, e);
    stage_cost_add(&r->costs[s], start, r->held.memory.size);
    block_layout_free(&b);
    return failed ? runner_state_set_failed_stage(r, s, e) : 0;
}
