#include "thread_pool.h"

#include "mem.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct thread_pool {
    size_t n; /* threads without the caller's */
    pthread_t *threads;
    pthread_mutex_t lock;
    pthread_cond_t work_available, all_done;
    void (*work)(void *, size_t);
    void *context;
    size_t next, end; /* items not yet started */
    size_t busy;      /* items started and not done */
    bool stopping;
};

/* Processes items until none is left. Called with the lock held; releases it during an item. */
static void run_items_until_none_left(struct thread_pool *p)
{
    while (p->next < p->end) {
        size_t i = p->next++;
        p->busy++;
        pthread_mutex_unlock(&p->lock);
        p->work(p->context, i);
        pthread_mutex_lock(&p->lock);
        p->busy--;
    }
}

static void *wait_for_and_run_items(void *pool)
{
    struct thread_pool *p = pool;
    pthread_mutex_lock(&p->lock);
    while (!p->stopping) {
        run_items_until_none_left(p);
        if (p->busy == 0)
            pthread_cond_signal(&p->all_done);
        if (!p->stopping)
            pthread_cond_wait(&p->work_available, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct thread_pool *thread_pool_new(size_t threads)
{
    struct thread_pool *p = mem_alloc(1, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work_available, NULL);
    pthread_cond_init(&p->all_done, NULL);
    p->threads = mem_alloc(threads, sizeof *p->threads);
    /* If not all threads can be created, the pool is slower but correct. */
    while (p->n + 1 < threads &&
           pthread_create(&p->threads[p->n], NULL, wait_for_and_run_items, p) == 0)
        p->n++;
    return p;
}

void thread_pool_free(struct thread_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->work_available);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < p->n; i++)
        pthread_join(p->threads[i], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->work_available);
    pthread_cond_destroy(&p->all_done);
    free(p->threads);
    free(p);
}

void thread_pool_run(struct thread_pool *p, size_t n, void (*work)(void *context, size_t i),
                     void *context)
{
    if (!p || n == 1) {
        for (size_t i = 0; i < n; i++)
            work(context, i);
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->work = work;
    p->context = context;
    p->next = 0;
    p->end = n;
    pthread_cond_broadcast(&p->work_available);
    run_items_until_none_left(p);
    while (p->busy > 0)
        pthread_cond_wait(&p->all_done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
