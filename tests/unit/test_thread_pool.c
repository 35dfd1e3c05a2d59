/* Every item is processed once, for any number of threads and items. */
#include "thread_pool.h"
#include "unit.h"

#include <stdatomic.h>

#define ITEMS 1000

static void count_call(void *context, size_t i)
{
    atomic_fetch_add(&((atomic_int *)context)[i], 1);
}

static void test_threads(size_t threads)
{
    static atomic_int calls[ITEMS];
    struct thread_pool *p = threads ? thread_pool_new(threads) : NULL;
    for (size_t n = 0; n <= ITEMS; n = n * 3 + 1) {
        memset(calls, 0, sizeof calls);
        for (int round = 0; round < 50; round++)
            thread_pool_run(p, n, count_call, calls);
        for (size_t i = 0; i < ITEMS; i++)
            CHECK(calls[i] == (i < n ? 50 : 0));
    }
    thread_pool_free(p);
}

int main(void)
{
    for (size_t threads = 0; threads <= 5; threads++)
        test_threads(threads);
    return unit_end();
}
