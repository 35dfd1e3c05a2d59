/* Parallel loops: every item is done once, no two calls at once have the same thread number, nested
 * loops, loops of two threads at once, errors. */
#include "parallel_for.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>

#define ITEMS       1000
#define MAX_THREADS 8
#define COST        (1 << 20) /* enough for several threads */

/* How often each item was done; which threads are at work; how often two had the same number. */
struct counts {
    atomic_int items[ITEMS], running[MAX_THREADS], clashes;
};

static void count(void *context, size_t i, size_t thread)
{
    struct counts *s = context;
    if (thread >= parallel_thread_count() || atomic_fetch_add(&s->running[thread], 1))
        atomic_fetch_add(&s->clashes, 1);
    atomic_fetch_add(&s->items[i], 1);
    atomic_fetch_sub(&s->running[thread], 1);
}

static bool each_item_done(const struct counts *s, size_t n, int times)
{
    bool good = s->clashes == 0;
    for (size_t i = 0; i < ITEMS; i++)
        good &= s->items[i] == (i < n ? times : 0);
    return good;
}

static void check_items(size_t threads)
{
    parallel_set_threads(threads);
    CHECK(parallel_thread_count() == threads);
    for (size_t n = 0; n <= ITEMS; n = n * 3 + 1) {
        struct counts s = {0};
        for (int round = 0; round < 20; round++)
            parallel_for(n, round % 2 ? COST : 1, count, &s);
        CHECK(each_item_done(&s, n, 20));
    }
}

/* Each item of the outer loop runs a whole loop of its own. */
static void loop_of_item(void *context, size_t i, size_t thread)
{
    struct counts *s = (struct counts *)context + i;
    parallel_for(ITEMS, COST, count, s);
}

static void check_nested(void)
{
    static struct counts s[4];
    parallel_set_threads(3);
    parallel_for(4, COST, loop_of_item, s);
    for (size_t i = 0; i < 4; i++)
        CHECK(each_item_done(&s[i], ITEMS, 1));
}

static void *loops_of_thread(void *seen)
{
    for (int round = 0; round < 100; round++)
        parallel_for(ITEMS, COST, count, seen);
    return NULL;
}

static void check_two_at_once(void)
{
    static struct counts s[2];
    pthread_t other;
    parallel_set_threads(2);
    CHECK(pthread_create(&other, NULL, loops_of_thread, &s[0]) == 0);
    loops_of_thread(&s[1]);
    pthread_join(other, NULL);
    CHECK(each_item_done(&s[0], ITEMS, 100) && each_item_done(&s[1], ITEMS, 100));
}

static int fail_at(void *context, size_t i, size_t member, struct error *e)
{
    return i == *(size_t *)context ? error_set(e, "item %zu failed", i) : 0;
}

static void check_errors(void)
{
    struct error e;
    for (size_t threads = 1; threads <= 2; threads++) {
        size_t bad = 77;
        parallel_set_threads(threads);
        CHECK(parallel_for_checked(ITEMS, COST, fail_at, &bad, &e) == -1);
        CHECK(strcmp(e.text, "item 77 failed") == 0);
        bad = ITEMS;
        CHECK(parallel_for_checked(ITEMS, COST, fail_at, &bad, &e) == 0);
    }
}

int main(void)
{
    for (size_t threads = 1; threads <= MAX_THREADS; threads++)
        check_items(threads);
    check_nested();
    check_two_at_once();
    check_errors();
    return unit_end();
}
