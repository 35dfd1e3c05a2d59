#include "background_queue.h"

#include "mem.h"

#include <pthread.h>
#include <stdlib.h>

struct background_queue {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t progress;
    size_t n, done;
    bool failed; /* item number `done` failed, with this error */
    struct error error;
    bool stopping;
    int (*work)(void *, size_t, struct error *);
    void *context;
};

static void *run_work_items_on_thread(void *queue)
{
    struct background_queue *q = queue;
    pthread_mutex_lock(&q->lock);
    while (q->done < q->n && !q->failed && !q->stopping) {
        struct error e = {0};
        pthread_mutex_unlock(&q->lock);
        bool failed = q->work(q->context, q->done, &e) != 0;
        pthread_mutex_lock(&q->lock);
        if (failed)
            q->error = e;
        q->failed = failed;
        q->done += !failed;
        pthread_cond_broadcast(&q->progress);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

struct background_queue *
background_queue_start(size_t n, int (*work)(void *context, size_t i, struct error *),
                       void *context)
{
    struct background_queue *q = mem_alloc(1, sizeof *q);
    q->n = n;
    q->work = work;
    q->context = context;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->progress, NULL);
    if (pthread_create(&q->thread, NULL, run_work_items_on_thread, q) == 0)
        return q;
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->progress);
    free(q);
    return NULL;
}

int background_queue_wait_for_item(struct background_queue *q, size_t i, struct error *e)
{
    pthread_mutex_lock(&q->lock);
    while (q->done <= i && !q->failed)
        pthread_cond_wait(&q->progress, &q->lock);
    int failed = q->done <= i ? -1 : 0;
    if (failed)
        *e = q->error;
    pthread_mutex_unlock(&q->lock);
    return failed;
}

bool background_queue_is_done(struct background_queue *q)
{
    pthread_mutex_lock(&q->lock);
    bool is_done = q->done == q->n || q->failed;
    pthread_mutex_unlock(&q->lock);
    return is_done;
}

void background_queue_stop(struct background_queue *q)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    q->stopping = true;
    pthread_mutex_unlock(&q->lock);
    pthread_join(q->thread, NULL);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->progress);
    free(q);
}
