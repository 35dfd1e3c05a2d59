#include "background_queue.h"

#include "mem.h"

#include <pthread.h>
#include <stdlib.h>

struct background_queue {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t n, done;
    bool failed; /* piece `done` has, with this sentence */
    struct error error;
    bool leaving;
    int (*work)(void *, size_t, struct error *);
    void *context;
};

static void *live(void *ahead)
{
    struct background_queue *a = ahead;
    pthread_mutex_lock(&a->lock);
    while (a->done < a->n && !a->failed && !a->leaving) {
        struct error e = {0};
        pthread_mutex_unlock(&a->lock);
        bool failed = a->work(a->context, a->done, &e) != 0;
        pthread_mutex_lock(&a->lock);
        if (failed)
            a->error = e;
        a->failed = failed;
        a->done += !failed;
        pthread_cond_broadcast(&a->moved);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

struct background_queue *
background_queue_start(size_t n, int (*work)(void *context, size_t i, struct error *),
                       void *context)
{
    struct background_queue *a = mem_alloc(1, sizeof *a);
    a->n = n;
    a->work = work;
    a->context = context;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->moved, NULL);
    if (pthread_create(&a->thread, NULL, live, a) == 0)
        return a;
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->moved);
    free(a);
    return NULL;
}

int background_queue_wait(struct background_queue *a, size_t i, struct error *e)
{
    pthread_mutex_lock(&a->lock);
    while (a->done <= i && !a->failed)
        pthread_cond_wait(&a->moved, &a->lock);
    int failed = a->done <= i ? -1 : 0;
    if (failed)
        *e = a->error;
    pthread_mutex_unlock(&a->lock);
    return failed;
}

bool background_queue_is_done(struct background_queue *a)
{
    pthread_mutex_lock(&a->lock);
    bool is_done = a->done == a->n || a->failed;
    pthread_mutex_unlock(&a->lock);
    return is_done;
}

void background_queue_stop(struct background_queue *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->leaving = true;
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->moved);
    free(a);
}
