#include "ahead.h"

#include "mem.h"

#include <pthread.h>
#include <stdlib.h>

struct ahead {
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
    struct ahead *a = ahead;
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

struct ahead *ahead_start(size_t n, int (*work)(void *context, size_t i, struct error *),
                          void *context)
{
    struct ahead *a = mem_alloc(1, sizeof *a);
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

int ahead_wait(struct ahead *a, size_t i, struct error *e)
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

bool ahead_is_done(struct ahead *a)
{
    pthread_mutex_lock(&a->lock);
    bool is_done = a->done == a->n || a->failed;
    pthread_mutex_unlock(&a->lock);
    return is_done;
}

void ahead_end(struct ahead *a)
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
