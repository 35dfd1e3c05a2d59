#include "ordered_pool.h"

#include "mem.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

struct run {
    const struct ordered_steps *parts;
    void *context;
    size_t slots;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t begun, ended; /* pieces whose first, whose last part is behind them, in order */
    bool *worked;        /* by slot: is it waiting for its last part? */
    bool ending;         /* a thread is at the last parts */
    size_t failed;       /* the first piece that failed; SIZE_MAX: none */
    struct error error;  /* of that one */
};

/* With the lock. */
static void note_failure(struct run *r, size_t i, const struct error *e)
{
    if (i >= r->failed)
        return;
    r->failed = i;
    r->error = *e;
}

/* The last parts of all pieces that are ready for it, unless a thread is at it. With the lock,
 * which is open meanwhile. */
static void end_ready(struct run *r)
{
    struct error e = {0};
    if (r->ending)
        return;
    r->ending = true;
    while (r->worked[r->ended % r->slots]) {
        size_t i = r->ended, slot = i % r->slots;
        if (i < r->failed) {
            pthread_mutex_unlock(&r->lock);
            int failed = r->parts->end(r->context, slot, i, &e);
            pthread_mutex_lock(&r->lock);
            if (failed)
                note_failure(r, i, &e);
        }
        r->worked[slot] = false;
        r->ended++;
        pthread_cond_broadcast(&r->moved);
    }
    r->ending = false;
}

static void one(void *run, size_t i)
{
    struct run *r = run;
    struct error e = {0};
    size_t slot = i % r->slots;
    int failed = 0;
    pthread_mutex_lock(&r->lock);
    while (i >= r->ended + r->slots || (r->parts->begin && r->begun < i))
        pthread_cond_wait(&r->moved, &r->lock);
    bool goes_on = i < r->failed;
    pthread_mutex_unlock(&r->lock);

    if (goes_on && r->parts->begin)
        failed = r->parts->begin(r->context, slot, i, &e);
    if (r->parts->begin) {
        pthread_mutex_lock(&r->lock);
        r->begun++;
        if (failed)
            note_failure(r, i, &e);
        pthread_cond_broadcast(&r->moved);
        pthread_mutex_unlock(&r->lock);
    }
    if (goes_on && !failed)
        failed = r->parts->work(r->context, slot, i, &e);

    pthread_mutex_lock(&r->lock);
    if (failed)
        note_failure(r, i, &e);
    r->worked[slot] = true;
    end_ready(r);
    pthread_mutex_unlock(&r->lock);
}

int ordered_pool_run(struct thread_pool *p, size_t n, size_t slots,
                     const struct ordered_steps *parts, void *context, struct error *e)
{
    struct run r = {.parts = parts, .context = context, .slots = slots, .failed = SIZE_MAX};
    r.worked = mem_alloc(slots, sizeof *r.worked);
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.moved, NULL);
    thread_pool_run(p, n, one, &r);
    pthread_mutex_destroy(&r.lock);
    pthread_cond_destroy(&r.moved);
    free(r.worked);
    if (r.failed < SIZE_MAX)
        *e = r.error;
    return r.failed < SIZE_MAX ? -1 : 0;
}
