#include "runner.h"

#include "block_layout.h"
#include "printable.h"
#include "runner_state.h"
#include "stage.h"
#include "stage_rules.h"
#include "step_order.h"
#include "tensor_lanes.h"
#include "tensor_run.h"

#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 1024

/* ---- opening --------------------------------------------------------------------------------- */

static int check_row_lengths(const struct stage *s, const struct header *h, struct error *e)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        if (tensor_columns(t) > HELD_ROWS_MAX && runner_state_stage_works_on(s, t))
            return error_set(e,
                             "tensor %s has rows of %zu elements; at most 2^31 - 1 are supported",
                             t->name, tensor_columns(t));
    }
    return 0;
}

static int check_stream_kind(const struct filter *f, const struct header *h, struct error *e)
{
    if (!f->kinds || h->kind & f->kinds)
        return 0;
    char kinds[64] = "";
    for (int kind = KIND_WEIGHTS; kind <= KIND_ACTIVATIONS; kind *= 2)
        if (f->kinds & kind) {
            strcat(kinds, kinds[0] ? " or " : "");
            strcat(kinds, stream_kind_name((enum stream_kind)kind));
        }
    const char *advice =
        h->kind == KIND_WEIGHTS && f->kinds == KIND_TASK_VECTORS ? " (use tv-extract)" : "";
    return error_set(e, "the stream contains %s; this filter requires %s%s",
                     stream_kind_name(h->kind), kinds, advice);
}

static int check_stage_input(struct stage *s, const struct header *in, struct error *e)
{
    if (check_stream_kind(s->filter, in, e))
        return -1;
    if (runner_state_stage_scope(s) == SCOPE_ROW && check_row_lengths(s, in, e))
        return -1;
    return stage_rules_check_all(s, in, e);
}

/* Adds the stage's step to the history. The reader and the writer of a stream are no steps. What
 * the step borrows lives until close; the headers after this one hold copies. */
static void add_stage_to_history(struct stage *s, struct header *h)
{
    if (s->filter->summary && !s->filter->no_history_step)
        stage_add_history_step(s, h);
}

/* Where the tensors before a stage are after it. */
static size_t *map_input_to_output_tensors(const struct header *in, const struct header *out)
{
    size_t n = in ? in->n_tensors : out->n_tensors;
    size_t *map = mem_alloc(n, sizeof *map);
    for (size_t i = 0; i < n; i++)
        map[i] = in ? DROPPED : i;
    for (size_t i = 0; in && i < out->n_tensors; i++)
        map[out->tensors[i].input_index] = i;
    return map;
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
    if (in && check_stage_input(stage, in, e))
        return -1;
    r->n_opened = s + 1;
    if (stage->filter->open && stage->filter->open(stage, out, e))
        return -1;
    r->manifest_map[s] = map_input_to_output_tensors(in, out);
    add_stage_to_history(stage, out);
    return 0;
}

static int open_stages(struct runner *r, bool warn_of_order, struct error *e)
{
    for (size_t s = 0; s < r->n_stages; s++) {
        uint64_t start = process_stats_monotonic_ns();
        if (open_stage(r, s, e))
            return runner_state_set_failed_stage(r, s, e);
        if (warn_of_order && s > 0)
            step_order_warn(r->stages[s], r->headers[s - 1]);
        stage_cost_add(&r->costs[s], start, 0);
        for (size_t i = 0; i < r->headers[s]->n_tensors; i++)
            if (r->headers[s]->tensors[i].n_vectors > r->max_vectors)
                r->max_vectors = r->headers[s]->tensors[i].n_vectors;
    }
    return 0;
}

/* ---- all tensors ----------------------------------------------------------------------------- */

static int rewind_source(struct runner *r, struct error *e)
{
    const struct filter *f = r->stages[0]->filter;
    return f->source.rewind && f->source.rewind(r->stages[0], e)
               ? runner_state_set_failed_stage(r, 0, e)
               : 0;
}

/* A round of stage s over all tensors: the verdict, or -1. */
static int run_model_round(struct runner *r, size_t s, struct error *e)
{
    if (rewind_source(r, e))
        return -1;
    for (size_t i = 0; i < r->headers[0]->n_tensors; i++) {
        if (tensor_run_to_stage(r, i, s, e))
            return -1;
        runner_state_exit_if_reader_gone(r);
    }
    struct job job = {.stage = r->stages[s]};
    uint64_t start = process_stats_monotonic_ns();
    int verdict = r->stages[s]->filter->end_round(&job, e);
    if (verdict < 0)
        return runner_state_set_failed_stage(r, s, e);
    stage_cost_add(&r->costs[s], start, 0);
    return verdict;
}

/* The rounds of all stages of scope model, one stage after another, until each has decided. */
static int run_model_rounds(struct runner *r, struct error *e)
{
    bool source_was_read = false;
    for (size_t s = 1; s < r->n_stages; s++) {
        if (runner_state_stage_scope(r->stages[s]) != SCOPE_MODEL)
            continue;
        source_was_read = true;
        r->stages[s]->in_model_rounds = true;
        int verdict = VERDICT_AGAIN;
        while (verdict == VERDICT_AGAIN)
            verdict = run_model_round(r, s, e);
        if (verdict < 0)
            return -1;
        r->stages[s]->in_model_rounds = false;
    }
    return source_was_read ? rewind_source(r, e) : 0;
}

static bool sink_wants_tensor(const struct runner *r, size_t index)
{
    const struct stage *sink = r->stages[r->n_stages - 1];
    return !sink->filter->sink.wants_tensor ||
           sink->filter->sink.wants_tensor(sink, runner_state_find_sink_index(r, index));
}

static int run_all_tensors(struct runner *r, struct error *e)
{
    if (run_model_rounds(r, e))
        return -1;
    size_t lanes = tensor_lanes_count(r);
    if (lanes > 1)
        return tensor_lanes_run(r, lanes, sink_wants_tensor, e);
    for (size_t i = 0; i < r->headers[0]->n_tensors; i++) {
        if (!sink_wants_tensor(r, i)) {
            if (tensor_run_skip_tensor(r, i, e))
                return -1;
            continue;
        }
        if (tensor_run_to_stage(r, i, r->n_stages - 1, e))
            return -1;
        progress_add_tensor(r->progress);
    }
    return 0;
}

static struct progress *start_progress(const struct runner *r, bool wants_lines)
{
    const struct header *h = r->headers[0];
    uint64_t bytes = 0;
    size_t tensors = 0;
    for (size_t i = 0; i < h->n_tensors; i++)
        if (sink_wants_tensor(r, i)) {
            bytes += block_layout_payload_bytes(&h->tensors[i], tensor_elements(&h->tensors[i]));
            tensors++;
        }
    return progress_new(tensors, bytes, wants_lines);
}

/* ---- closing --------------------------------------------------------------------------------- */

/* Closes the stages that were opened. A sink that reports failures is closed in any case, and gets
 * the error of the run. If the sink wanted no payload, the other stages have not finished their
 * work. */
static int close_stages(struct runner *r, int failed, struct error *e)
{
    size_t sink = r->n_stages - 1;
    bool stopped = !failed && r->stages[sink]->stop_after_open;
    for (size_t s = 0; s < r->n_stages; s++) {
        const struct filter *f = r->stages[s]->filter;
        struct error ignored;
        if (!f->close || (s >= r->n_opened && !f->sink.reports_failed_run))
            continue;
        bool ok = !failed && (!stopped || s == sink);
        uint64_t start = process_stats_monotonic_ns();
        if (f->close(r->stages[s], ok, failed && !f->sink.reports_failed_run ? &ignored : e) &&
            !failed)
            failed = runner_state_set_failed_stage(r, s, e);
        stage_cost_add(&r->costs[s], start, 0);
    }
    return failed;
}

/* Fills `stages` in, one for each stage. */
static void add_chain_to_report(struct runner *r, uint64_t start, struct run_report_stage *stages,
                                struct run_report *report)
{
    struct run_report_chain chain = {
        .threads = r->stages[0]->common.threads,
        .peak_resident = process_stats_peak_resident_bytes(),
        .peak_anonymous = r->peak_anonymous,
        .seconds = 1e-9 * (double)(process_stats_monotonic_ns() - start),
        .n_stages = r->n_stages,
        .stages = stages,
    };
    for (size_t s = 0; s < r->n_stages; s++) {
        const struct stage *stage = r->stages[s];
        uint64_t bytes = r->costs[s].bytes;
        stages[s] = (struct run_report_stage){
            .name = stage->filter->name,
            .seconds = 1e-9 * (double)r->costs[s].nanoseconds,
            .bytes = bytes,
        };
        if (r->changes)
            stages[s].dropped = change_counts_of_step(r->changes, s);
        chain.bytes_read += s == 0 && !stage->bytes_read ? bytes : stage->bytes_read;
        chain.bytes_written += stage->bytes_written;
    }
    for (size_t kind = 0; r->changes && kind < CHANGE_COUNTS_KINDS; kind++)
        chain.changes[kind] = change_counts_of_kind(r->changes, kind);
    run_report_add_chain(report, &chain);
}

/* Sets the source's common options to those of the whole run: the most threads, the least memory
 * and the first spool folder given to any stage. The memory and the folder are those of all stages.
 */
static void combine_common_options(struct stage *const *stages, size_t n)
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
    for (size_t s = 1; s < n; s++) {
        stages[s]->common.memory = chosen->memory;
        stages[s]->common.spool = chosen->spool;
    }
}

int runner_run(struct stage *const *stages, size_t n, const struct run_monitor *monitor,
               struct error *e)
{
    uint64_t start = process_stats_monotonic_ns();
    struct runner r;
    struct run_report_stage *reported = mem_alloc(n, sizeof *reported); /* not after publishing */
    combine_common_options(stages, n);
    runner_state_init(&r, stages, n);
    if (monitor->report && monitor->kind_of_tensor)
        r.changes = change_counts_new(n, monitor->kind_of_tensor);
    e->text[0] = e->stage[0] = '\0';
    int failed = open_stages(&r, monitor->warn_of_order, e);
    if (!failed && (monitor->report_progress || (monitor->show_progress && !printable_is_quiet())))
        r.progress = start_progress(&r, monitor->report_progress);
    if (!failed && !stages[n - 1]->stop_after_open)
        failed = run_all_tensors(&r, e);
    prefetch_stop(r.next_prefetch); /* after a failure */
    progress_free(r.progress);
    runner_state_record_memory_use(&r);
    failed = close_stages(&r, failed, e);
    if (!failed && monitor->report)
        add_chain_to_report(&r, start, reported, monitor->report);
    runner_state_free(&r);
    free(reported);
    return failed;
}
