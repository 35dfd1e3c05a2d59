/* Ordered work: first and last parts in order, middle parts once each, never two pieces in a slot;
 * the first failure wins, whatever the number of threads. */
#include "ordered_pool.h"
#include "unit.h"

#include <stdatomic.h>
#include <stdint.h>

#define ITEMS 500
#define SLOTS 7

struct seen {
    size_t begun, ended, fails, fails_at_end;
    atomic_int worked[ITEMS], holds[SLOTS];
    atomic_bool crowded;
};

static int begin(void *context, size_t slot, size_t i, struct error *e)
{
    struct seen *s = context;
    CHECK(s->begun == i);
    s->begun++;
    return 0;
}

static int work(void *context, size_t slot, size_t i, struct error *e)
{
    struct seen *s = context;
    if (atomic_fetch_add(&s->holds[slot], 1) > 0)
        s->crowded = true;
    atomic_fetch_add(&s->worked[i], 1);
    return i >= s->fails && i % 3 == s->fails % 3 ? error_set(e, "piece %zu", i) : 0;
}

static int end(void *context, size_t slot, size_t i, struct error *e)
{
    struct seen *s = context;
    CHECK(s->ended == i);
    s->ended++;
    atomic_fetch_sub(&s->holds[slot], 1);
    return i == s->fails_at_end ? error_set(e, "end of %zu", i) : 0;
}

static void test_all(struct thread_pool *p, bool begins)
{
    struct ordered_steps parts = {begins ? begin : NULL, work, end};
    for (size_t n = 0; n <= ITEMS; n = n * 3 + 1) {
        struct seen s = {.fails = SIZE_MAX, .fails_at_end = SIZE_MAX};
        struct error e;
        CHECK(ordered_pool_run(p, n, SLOTS, &parts, &s, &e) == 0);
        CHECK(s.begun == (begins ? n : 0) && s.ended == n && !s.crowded);
        for (size_t i = 0; i < ITEMS; i++)
            CHECK(s.worked[i] == (i < n));
    }
}

static void test_failures(struct thread_pool *p, bool begins)
{
    struct ordered_steps parts = {begins ? begin : NULL, work, end};
    for (size_t fails = 0; fails < ITEMS; fails += 83) {
        struct seen s = {.fails = fails, .fails_at_end = SIZE_MAX};
        struct error e;
        char want[64];
        snprintf(want, sizeof want, "piece %zu", fails);
        CHECK(ordered_pool_run(p, ITEMS, SLOTS, &parts, &s, &e) == -1);
        CHECK(strcmp(e.text, want) == 0 && s.ended == fails);
        struct seen late = {.fails = fails + 1, .fails_at_end = fails};
        snprintf(want, sizeof want, "end of %zu", fails);
        CHECK(ordered_pool_run(p, ITEMS, SLOTS, &parts, &late, &e) == -1);
        CHECK(strcmp(e.text, want) == 0 && late.ended == fails + 1);
    }
}

int main(void)
{
    for (size_t threads = 0; threads <= 5; threads++) {
        struct thread_pool *p = threads ? thread_pool_new(threads) : NULL;
        test_all(p, false);
        test_all(p, true);
        test_failures(p, false);
        test_failures(p, true);
        thread_pool_free(p);
    }
    return unit_end();
}
