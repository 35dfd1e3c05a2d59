#include "prefetch.h"

#include "background_queue.h"
#include "finite_check.h"
#include "runner.h"

#include <stdlib.h>

struct prefetch {
    struct prefetch_request plan;
    struct background_queue *ahead;
    struct job job;
    struct tensor tensor;
    struct arena arena;
    void **data; /* of the block at hand: (n_vectors) each */
    enum dtype *dtypes;
    size_t *home;
};

static int begin(struct prefetch *c, struct error *e)
{
    struct stage *s = c->plan.source;
    c->tensor = tensor_copy(&c->arena, &s->out->tensors[c->plan.index]);
    c->job =
        (struct job){.stage = s, .index = c->plan.index, .out = &c->tensor, .arena = &c->arena};
    return s->filter->begin(&c->job, e) < 0 ? -1 : 0;
}

static int fill(struct prefetch *c, size_t index, struct error *e)
{
    const struct stage *s = c->plan.source;
    const struct tensor *t = &c->tensor;
    struct block b = {.index = index,
                      .columns = tensor_columns(t),
                      .n_vectors = t->n_vectors,
                      .data = c->data,
                      .dtypes = c->dtypes,
                      .buffer_of = c->home};
    tensor_block_range(t, index, &b.first, &b.n);
    tensor_buffer_allocate_block(c->plan.hold, t, index, c->plan.limit);
    uint64_t bytes = 0, start = process_stats_clock_ns();
    for (size_t k = 0; k < t->n_vectors; k++) {
        b.data[k] = tensor_buffer_block_data(c->plan.hold, t, index, k);
        b.dtypes[k] = t->vectors[k].dtype;
        b.buffer_of[k] = k;
        bytes += dtype_bytes(b.dtypes[k], b.n);
    }
    if (s->filter->source.fill(&c->job, &b, e))
        return -1;
    c->plan.spent->nanoseconds += process_stats_clock_ns() - start;
    c->plan.spent->bytes += bytes;
    return c->plan.checks ? finite_check_block(t, s->out, &b, e) : 0;
}

/* Piece 0 is the tensor's header, piece i + 1 its block i. */
static int piece(void *coming, size_t i, struct error *e)
{
    struct prefetch *c = coming;
    return i == 0 ? begin(c, e) : fill(c, i - 1, e);
}

struct prefetch *prefetch_start(const struct prefetch_request *plan)
{
    const struct tensor *t = &plan->source->out->tensors[plan->index];
    struct prefetch *c = mem_alloc(1, sizeof *c);
    c->plan = *plan;
    c->data = mem_alloc(t->n_vectors, sizeof *c->data);
    c->dtypes = mem_alloc(t->n_vectors, sizeof *c->dtypes);
    c->home = mem_alloc(t->n_vectors, sizeof *c->home);
    c->ahead = background_queue_start(1 + tensor_block_count(t), piece, c);
    if (c->ahead)
        return c;
    prefetch_stop(c);
    return NULL;
}

int prefetch_wait_for_tensor(struct prefetch *c, struct job *job, struct tensor *t, struct arena *a,
                             struct error *e)
{
    if (background_queue_wait(c->ahead, 0, e))
        return -1;
    *t = c->tensor;
    job->state = c->job.state;
    arena_free(a);
    *a = c->arena;
    c->arena = (struct arena){0};
    return 0;
}

int prefetch_wait_for_block(struct prefetch *c, size_t block, struct error *e)
{
    return background_queue_wait(c->ahead, block + 1, e);
}

void prefetch_stop(struct prefetch *c)
{
    if (!c)
        return;
    if (c->ahead && !background_queue_is_done(c->ahead))
        stdio_stages_stop_reading(c->plan.source);
    background_queue_stop(c->ahead);
    arena_free(&c->arena);
    free(c->data);
    free(c->dtypes);
    free(c->home);
    free(c);
}
