#include "parallel_for.h"

#include "thread_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#define MOST   1024
#define WORTH  (1 << 16) /* elements from which on waking a thread costs less than it brings */
#define SHARES 64        /* into which a thread's part is cut, for parts take unequal times */

static pthread_mutex_t taken = PTHREAD_MUTEX_INITIALIZER; /* while a loop has the pool */
static struct thread_pool *pool;
static size_t count = 1;

void parallel_set_threads(size_t n)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (n == 0)
        n = processors > 0 ? (size_t)processors : 1;
    n = n < MOST ? n : MOST;
    pthread_mutex_lock(&taken);
    if (n != count) {
        thread_pool_free(pool);
        pool = n > 1 ? thread_pool_new(n) : NULL;
        count = n;
    }
    pthread_mutex_unlock(&taken);
}

size_t parallel_threads(void)
{
    return count;
}

/* A loop that several threads share. */
struct loop {
    size_t n, step;
    atomic_size_t next; /* the first item that nobody has taken */
    void (*work)(void *, size_t, size_t);
    void *context;
};

static void take_items(void *context, size_t member)
{
    struct loop *l = context;
    for (;;) {
        size_t i = atomic_fetch_add(&l->next, l->step);
        if (i >= l->n)
            return;
        size_t end = l->n - i < l->step ? l->n : i + l->step;
        for (; i < end; i++)
            l->work(l->context, i, member);
    }
}

void parallel_for(size_t n, size_t cost, void (*work)(void *context, size_t i, size_t member),
                  void *context)
{
    struct loop l = {.n = n, .step = n / (SHARES * count) + 1, .work = work, .context = context};
    if (n < 2 || n * cost < WORTH || count == 1 || pthread_mutex_trylock(&taken)) {
        take_items(&l, 0);
        return;
    }
    thread_pool_run(pool, n < count ? n : count, take_items, &l);
    pthread_mutex_unlock(&taken);
}

struct attempt {
    int (*work)(void *, size_t, size_t, struct error *);
    void *context;
    pthread_mutex_t lock;
    bool failed;
    struct error error;
};

static void attempt(void *context, size_t i, size_t member)
{
    struct attempt *a = context;
    struct error e;
    if (!a->work(a->context, i, member, &e))
        return;
    pthread_mutex_lock(&a->lock);
    a->failed = true;
    a->error = e;
    pthread_mutex_unlock(&a->lock);
}

int parallel_for_checked(size_t n, size_t cost,
                         int (*work)(void *context, size_t i, size_t member, struct error *e),
                         void *context, struct error *e)
{
    struct attempt a = {.work = work, .context = context, .lock = PTHREAD_MUTEX_INITIALIZER};
    parallel_for(n, cost, attempt, &a);
    if (a.failed)
        *e = a.error;
    return a.failed ? -1 : 0;
}
