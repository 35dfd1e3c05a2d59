/* The pool: every item once, whatever the number of threads and of items. */
#include "thread_pool.h"
#include "unit.h"

#include <stdatomic.h>

#define ITEMS 1000

static void count(void *context, size_t i)
{
    atomic_fetch_add(&((atomic_int *)context)[i], 1);
}

static void test_threads(size_t threads)
{
    static atomic_int seen[ITEMS];
    struct thread_pool *p = threads ? thread_pool_new(threads) : NULL;
    for (size_t n = 0; n <= ITEMS; n = n * 3 + 1) {
        memset(seen, 0, sizeof seen);
        for (int round = 0; round < 50; round++)
            thread_pool_run(p, n, count, seen);
        for (size_t i = 0; i < ITEMS; i++)
            CHECK(seen[i] == (i < n ? 50 : 0));
    }
    thread_pool_free(p);
}

int main(void)
{
    for (size_t threads = 0; threads <= 5; threads++)
        test_threads(threads);
    return unit_end();
}
