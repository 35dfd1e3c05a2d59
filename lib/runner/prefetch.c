#include "prefetch.h"

#include "background_queue.h"
#include "block_layout.h"
#include "finite_check.h"

#include <stdlib.h>

struct prefetch {
    struct prefetch_request request;
    struct background_queue *queue;
    struct job job;
    struct tensor tensor;
    struct arena arena;
    struct block block; /* that is being read */
};

static int read_prefetched_tensor_header(struct prefetch *p, struct error *e)
{
    struct stage *s = p->request.source;
    size_t index = p->request.index;
    p->tensor = tensor_copy(&p->arena, &s->out->tensors[index]);
    p->job = (struct job){.stage = s, .index = index, .out = &p->tensor, .arena = &p->arena};
    return s->filter->begin_tensor(&p->job, e) < 0 ? -1 : 0;
}

static int read_prefetched_block(struct prefetch *p, size_t index, struct error *e)
{
    const struct prefetch_request *request = &p->request;
    const struct stage *s = request->source;
    const struct tensor *t = &p->tensor;
    block_layout_set_to_block(&p->block, t, index);
    tensor_buffer_allocate_block(request->buffer, t, &p->block, request->max_chunk_bytes);
    tensor_buffer_point_block_at_memory(request->buffer, t, &p->block);
    uint64_t start = process_stats_monotonic_ns();
    if (s->filter->source.fill_block(&p->job, &p->block, e))
        return -1;
    stage_cost_add(request->cost, start, block_layout_bytes(&p->block));
    return request->checks_finite ? finite_check_block(t, s->out, &p->block, e) : 0;
}

/* Work item 0 is the tensor's header, item i + 1 its block i. */
static int read_tensor_header_or_block(void *prefetch, size_t i, struct error *e)
{
    struct prefetch *p = prefetch;
    return i == 0 ? read_prefetched_tensor_header(p, e) : read_prefetched_block(p, i - 1, e);
}

struct prefetch *prefetch_start(const struct prefetch_request *request)
{
    const struct tensor *t = &request->source->out->tensors[request->index];
    struct prefetch *p = mem_alloc(1, sizeof *p);
    p->request = *request;
    block_layout_allocate_arrays(&p->block, t->n_vectors);
    p->queue = background_queue_start(1 + tensor_block_count(t), read_tensor_header_or_block, p);
    if (p->queue)
        return p;
    prefetch_stop(p);
    return NULL;
}

int prefetch_wait_for_tensor(struct prefetch *p, struct job *job, struct tensor *t, struct arena *a,
                             struct error *e)
{
    if (background_queue_wait_for_item(p->queue, 0, e))
        return -1;
    *t = p->tensor;
    job->state = p->job.state;
    arena_free(a);
    *a = p->arena;
    p->arena = (struct arena){0};
    return 0;
}

int prefetch_wait_for_block(struct prefetch *p, size_t index, struct error *e)
{
    return background_queue_wait_for_item(p->queue, index + 1, e);
}

void prefetch_stop(struct prefetch *p)
{
    if (!p)
        return;
    if (p->queue && !background_queue_is_done(p->queue))
        p->request.source->filter->source.stop_reading(p->request.source);
    background_queue_stop(p->queue);
    arena_free(&p->arena);
    block_layout_free(&p->block);
    free(p);
}
