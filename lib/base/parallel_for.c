#include "parallel_for.h"

#include "thread_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#define MAX_THREADS       1024
#define MIN_SHARED_COST   (1 << 16) /* elements below which waking threads takes longer */
#define CHUNKS_PER_THREAD 64        /* so that threads that finish early can take more */
#define TILE              4096      /* elements of a loop over single elements */

static pthread_mutex_t pool_in_use = PTHREAD_MUTEX_INITIALIZER;
static struct thread_pool *pool;
static size_t thread_count = 1;

void parallel_set_threads(size_t n)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (n == 0)
        n = processors > 0 ? (size_t)processors : 1;
    n = n < MAX_THREADS ? n : MAX_THREADS;
    pthread_mutex_lock(&pool_in_use);
    if (n != thread_count) {
        thread_pool_free(pool);
        pool = n > 1 ? thread_pool_new(n) : NULL;
        thread_count = n;
    }
    pthread_mutex_unlock(&pool_in_use);
}

size_t parallel_thread_count(void)
{
    return thread_count;
}

struct loop {
    size_t n, chunk;
    atomic_size_t next; /* the first item that no thread has claimed */
    void (*work)(void *, size_t, size_t);
    void *context;
};

/* Claims and does chunks of items until none is left. */
static void run_loop_chunks(void *context, size_t thread)
{
    struct loop *l = context;
    for (;;) {
        size_t i = atomic_fetch_add(&l->next, l->chunk);
        if (i >= l->n)
            return;
        size_t end = l->n - i < l->chunk ? l->n : i + l->chunk;
        for (; i < end; i++)
            l->work(l->context, i, thread);
    }
}

void parallel_for(size_t n, size_t cost, void (*work)(void *context, size_t i, size_t thread),
                  void *context)
{
    struct loop l = {.n = n,
                     .chunk = n / (CHUNKS_PER_THREAD * thread_count) + 1,
                     .work = work,
                     .context = context};
    if (n < 2 || n * cost < MIN_SHARED_COST || thread_count == 1 ||
        pthread_mutex_trylock(&pool_in_use)) {
        run_loop_chunks(&l, 0);
        return;
    }
    thread_pool_run(pool, n < thread_count ? n : thread_count, run_loop_chunks, &l);
    pthread_mutex_unlock(&pool_in_use);
}

/* ---- elements -------------------------------------------------------------------------------- */

struct tiled_loop {
    size_t n;
    void (*work)(void *, size_t, size_t);
    void *context;
};

static void run_loop_tile(void *context, size_t tile, size_t thread)
{
    const struct tiled_loop *l = context;
    size_t first = tile * TILE;
    l->work(l->context, first, l->n - first < TILE ? l->n - first : TILE);
}

void parallel_for_tiles(size_t n, void (*work)(void *context, size_t first, size_t count),
                        void *context)
{
    struct tiled_loop l = {n, work, context};
    parallel_for((n + TILE - 1) / TILE, TILE, run_loop_tile, &l);
}

/* ---- work that can fail ---------------------------------------------------------------------- */

struct checked_loop {
    int (*work)(void *, size_t, size_t, struct error *);
    void *context;
    pthread_mutex_t lock;
    bool failed;
    struct error error;
};

static void run_checked_item(void *context, size_t i, size_t thread)
{
    struct checked_loop *l = context;
    struct error e;
    if (!l->work(l->context, i, thread, &e))
        return;
    pthread_mutex_lock(&l->lock);
    l->failed = true;
    l->error = e;
    pthread_mutex_unlock(&l->lock);
}

int parallel_for_checked(size_t n, size_t cost,
                         int (*work)(void *context, size_t i, size_t thread, struct error *e),
                         void *context, struct error *e)
{
    struct checked_loop l = {.work = work, .context = context, .lock = PTHREAD_MUTEX_INITIALIZER};
    parallel_for(n, cost, run_checked_item, &l);
    if (l.failed)
        *e = l.error;
    return l.failed ? -1 : 0;
}
