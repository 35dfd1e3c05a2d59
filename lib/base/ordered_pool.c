#include "ordered_pool.h"

#include "mem.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

/* The thread pool gets so many items at a time: it cannot be stopped, and after a failure the rest
 * of them pass without a step. A hostile stream may announce 2^43 blocks, and end. */
#define ITEMS_AT_A_TIME 65536

struct run {
    const struct ordered_steps *steps;
    void *context;
    size_t slots;
    size_t first; /* of the items that the thread pool has */
    pthread_mutex_t lock;
    pthread_cond_t progress;
    size_t begun, ended; /* how many items have begun and ended */
    bool *worked;        /* [slot]: worked on, but not yet ended */
    bool ending;         /* a thread is in run_end_steps_in_order */
    size_t failed;       /* the first item that failed; SIZE_MAX: none */
    struct error error;  /* of that item */
};

/* Called with the lock held. */
static void record_earliest_failure(struct run *r, size_t i, const struct error *e)
{
    if (i >= r->failed)
        return;
    r->failed = i;
    r->error = *e;
}

/* Ends all items whose turn it is, unless another thread is doing so. Called with the lock held;
 * releases it during each end step. */
static void run_end_steps_in_order(struct run *r)
{
    struct error e = {0};
    if (r->ending)
        return;
    r->ending = true;
    while (r->worked[r->ended % r->slots]) {
        size_t i = r->ended, slot = i % r->slots;
        if (r->steps->end && i < r->failed) {
            pthread_mutex_unlock(&r->lock);
            int failed = r->steps->end(r->context, slot, i, &e);
            pthread_mutex_lock(&r->lock);
            if (failed)
                record_earliest_failure(r, i, &e);
        }
        r->worked[slot] = false;
        r->ended++;
        pthread_cond_broadcast(&r->progress);
    }
    r->ending = false;
}

static void run_item(void *run, size_t index)
{
    struct run *r = run;
    struct error e = {0};
    size_t i = r->first + index, slot = i % r->slots;
    int failed = 0;
    pthread_mutex_lock(&r->lock);
    while (i >= r->ended + r->slots || (r->steps->begin && r->begun < i))
        pthread_cond_wait(&r->progress, &r->lock);
    bool may_run = i < r->failed;
    pthread_mutex_unlock(&r->lock);

    if (may_run && r->steps->begin)
        failed = r->steps->begin(r->context, slot, i, &e);
    if (r->steps->begin) {
        pthread_mutex_lock(&r->lock);
        r->begun++;
        if (failed)
            record_earliest_failure(r, i, &e);
        pthread_cond_broadcast(&r->progress);
        pthread_mutex_unlock(&r->lock);
    }
    if (may_run && !failed)
        failed = r->steps->work(r->context, slot, i, &e);

    pthread_mutex_lock(&r->lock);
    if (failed)
        record_earliest_failure(r, i, &e);
    r->worked[slot] = true;
    run_end_steps_in_order(r);
    pthread_mutex_unlock(&r->lock);
}

int ordered_pool_run(struct thread_pool *p, size_t n, size_t slots,
                     const struct ordered_steps *steps, void *context, struct error *e)
{
    struct run r = {.steps = steps, .context = context, .slots = slots, .failed = SIZE_MAX};
    r.worked = mem_alloc(slots, sizeof *r.worked);
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.progress, NULL);
    for (; r.first < n && r.failed == SIZE_MAX; r.first += ITEMS_AT_A_TIME) {
        size_t left = n - r.first;
        thread_pool_run(p, left < ITEMS_AT_A_TIME ? left : ITEMS_AT_A_TIME, run_item, &r);
    }
    pthread_mutex_destroy(&r.lock);
    pthread_cond_destroy(&r.progress);
    free(r.worked);
    if (r.failed < SIZE_MAX)
        *e = r.error;
    return r.failed < SIZE_MAX ? -1 : 0;
}
