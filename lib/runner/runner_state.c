#include "runner_state.h"

#include "finite_check.h"
#include "stage.h"

#include <signal.h>
#include <stdlib.h>

#define BLOCKS_PER_THREAD  4        /* in flight at once, when there are several threads */
#define SAMPLE_INTERVAL_NS 20000000 /* between two samples of the memory in use */

void runner_state_init(struct runner *r, struct stage *const *stages, size_t n)
{
    const struct common_options *options = &stages[0]->common;
    size_t threads = options->threads ? options->threads : 1;
    *r = (struct runner){.stages = stages, .n_stages = n};
    r->headers = mem_alloc(n, sizeof *r->headers);
    r->manifest_map = mem_alloc(n, sizeof *r->manifest_map);
    r->costs = mem_alloc(n, sizeof *r->costs);
    r->jobs = mem_alloc(n, sizeof *r->jobs);
    r->tensors = mem_alloc(n, sizeof *r->tensors);
    r->plans = mem_alloc(n, sizeof *r->plans);
    r->chunks = chunk_pool_new();
    r->file = spool_new(0, options->spool);
    r->payload = tensor_buffer_new(r->chunks, r->file, options->memory);
    r->next_payload = tensor_buffer_new(r->chunks, r->file, options->memory);
    r->threads = threads == 1 ? NULL : thread_pool_new(threads);
    r->n_slots = threads == 1 ? 1 : BLOCKS_PER_THREAD * threads;
    r->slots = mem_alloc(r->n_slots, sizeof *r->slots);
    block_buffers_init(&r->buffers, r->n_slots);
}

void runner_state_free(struct runner *r)
{
    thread_pool_free(r->threads);
    for (size_t s = 0; s < r->n_stages; s++) {
        header_free(r->headers[s]);
        free(r->manifest_map[s]);
        r->stages[s]->in = r->stages[s]->out = NULL;
        r->stages[s]->runner = NULL;
    }
    free(r->headers);
    free(r->manifest_map);
    free(r->costs);
    change_counts_free(r->changes);
    free(r->jobs);
    free(r->tensors);
    free(r->plans);
    for (size_t j = 0; j < r->n_slots; j++)
        free(r->slots[j].work);
    free(r->slots);
    block_buffers_free(&r->buffers);
    tensor_buffer_free(r->payload);
    tensor_buffer_free(r->next_payload);
    spool_free(r->file);
    chunk_pool_free(r->chunks);
    collected_hashes_free(&r->hashes);
    arena_free(&r->arena);
}

int runner_state_set_failed_stage(const struct runner *r, size_t s, struct error *e)
{
    if (!e->stage[0])
        snprintf(e->stage, sizeof e->stage, "%s", r->stages[s]->name);
    return -1;
}

enum scope runner_state_stage_scope(const struct stage *s)
{
    return s->filter->choose_scope ? s->filter->choose_scope(s) : s->filter->scope;
}

bool runner_state_stage_works_on(const struct stage *s, const struct tensor *t)
{
    return tensor_is_float(t) && !stage_excludes_tensor(s, t);
}

bool runner_state_source_is_one_pass(const struct runner *r)
{
    const struct source_functions *source = &r->stages[0]->filter->source;
    return source->rewind && (!source->is_one_pass || source->is_one_pass(r->stages[0]));
}

bool runner_state_must_check_source(const struct runner *r)
{
    return !finite_check_is_off(r->stages[0]) && !r->stages[1]->filter->accepts_nonfinite;
}

size_t runner_state_find_sink_index(const struct runner *r, size_t index)
{
    for (size_t s = 0; s < r->n_stages && index != DROPPED; s++)
        index = r->manifest_map[s][index];
    return index;
}

void runner_state_exit_if_reader_gone(const struct runner *r)
{
    const struct stage *sink = r->stages[r->n_stages - 1];
    if (sink->filter->sink.reader_gone && sink->filter->sink.reader_gone(sink))
        raise(SIGPIPE);
}

void runner_state_record_memory_use(struct runner *r)
{
    uint64_t now = process_stats_monotonic_ns();
    if (now - r->memory_sampled_at < SAMPLE_INTERVAL_NS)
        return;
    r->memory_sampled_at = now;
    uint64_t anonymous = process_stats_anonymous_bytes();
    r->peak_anonymous = anonymous > r->peak_anonymous ? anonymous : r->peak_anonymous;
}

struct block_buffer *runner_state_acquire_buffer(struct runner *r)
{
    return block_buffers_acquire(&r->buffers, r->max_vectors,
                                 tensor_block_elements(&r->tensors[0]));
}
