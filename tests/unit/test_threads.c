/* Loops on the threads that compute: every item once, no member twice at one time, loops in loops,
 * loops of two threads at once, errors. */
#include "parallel_for.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>

#define ITEMS   1000
#define MEMBERS 8
#define HEAVY   (1 << 20) /* worth several threads */

struct seen {
    atomic_int items[ITEMS], members[MEMBERS], clashes;
};

static void count(void *context, size_t i, size_t member)
{
    struct seen *s = context;
    if (member >= parallel_threads() || atomic_fetch_add(&s->members[member], 1))
        atomic_fetch_add(&s->clashes, 1);
    atomic_fetch_add(&s->items[i], 1);
    atomic_fetch_sub(&s->members[member], 1);
}

static bool all_seen(const struct seen *s, size_t n, int times)
{
    bool good = s->clashes == 0;
    for (size_t i = 0; i < ITEMS; i++)
        good &= s->items[i] == (i < n ? times : 0);
    return good;
}

static void check_items(size_t threads)
{
    parallel_set_threads(threads);
    CHECK(parallel_threads() == threads);
    for (size_t n = 0; n <= ITEMS; n = n * 3 + 1) {
        struct seen s = {0};
        for (int round = 0; round < 20; round++)
            parallel_for(n, round % 2 ? HEAVY : 1, count, &s);
        CHECK(all_seen(&s, n, 20));
    }
}

/* Each item of the outer loop runs a whole loop of its own. */
static void loop_of_item(void *context, size_t i, size_t member)
{
    struct seen *s = (struct seen *)context + i;
    parallel_for(ITEMS, HEAVY, count, s);
}

static void check_nested(void)
{
    static struct seen s[4];
    parallel_set_threads(3);
    parallel_for(4, HEAVY, loop_of_item, s);
    for (size_t i = 0; i < 4; i++)
        CHECK(all_seen(&s[i], ITEMS, 1));
}

static void *loops_of_thread(void *seen)
{
    for (int round = 0; round < 100; round++)
        parallel_for(ITEMS, HEAVY, count, seen);
    return NULL;
}

static void check_two_at_once(void)
{
    static struct seen s[2];
    pthread_t other;
    parallel_set_threads(2);
    CHECK(pthread_create(&other, NULL, loops_of_thread, &s[0]) == 0);
    loops_of_thread(&s[1]);
    pthread_join(other, NULL);
    CHECK(all_seen(&s[0], ITEMS, 100) && all_seen(&s[1], ITEMS, 100));
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
        CHECK(parallel_for_checked(ITEMS, HEAVY, fail_at, &bad, &e) == -1);
        CHECK(strcmp(e.text, "item 77 failed") == 0);
        bad = ITEMS;
        CHECK(parallel_for_checked(ITEMS, HEAVY, fail_at, &bad, &e) == 0);
    }
}

int main(void)
{
    for (size_t threads = 1; threads <= MEMBERS; threads++)
        check_items(threads);
    check_nested();
    check_two_at_once();
    check_errors();
    return unit_end();
}
