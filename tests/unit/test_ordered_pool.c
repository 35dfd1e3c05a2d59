/* Items begin and end in order, are worked on once each, and never share a slot; the error of the
 * first failed item is returned, for any number of threads. */
#include "ordered_pool.h"
#include "unit.h"

#include <stdatomic.h>
#include <stdint.h>

#define ITEMS 500
#define SLOTS 7

struct log {
    size_t begun, ended, fails, fails_at_end;
    atomic_int worked[ITEMS], in_slot[SLOTS];
    atomic_bool slot_shared;
};

static int begin(void *context, size_t slot, size_t i, struct error *e)
{
    struct log *s = context;
    CHECK(s->begun == i);
    s->begun++;
    return 0;
}

static int work(void *context, size_t slot, size_t i, struct error *e)
{
    struct log *s = context;
    if (atomic_fetch_add(&s->in_slot[slot], 1) > 0)
        s->slot_shared = true;
    atomic_fetch_add(&s->worked[i], 1);
    return i >= s->fails && i % 3 == s->fails % 3 ? error_set(e, "item %zu", i) : 0;
}

static int end(void *context, size_t slot, size_t i, struct error *e)
{
    struct log *s = context;
    CHECK(s->ended == i);
    s->ended++;
    atomic_fetch_sub(&s->in_slot[slot], 1);
    return i == s->fails_at_end ? error_set(e, "end of %zu", i) : 0;
}

static void test_all(struct thread_pool *p, bool begins)
{
    struct ordered_steps steps = {begins ? begin : NULL, work, end};
    for (size_t n = 0; n <= ITEMS; n = n * 3 + 1) {
        struct log s = {.fails = SIZE_MAX, .fails_at_end = SIZE_MAX};
        struct error e;
        CHECK(ordered_pool_run(p, n, SLOTS, &steps, &s, &e) == 0);
        CHECK(s.begun == (begins ? n : 0) && s.ended == n && !s.slot_shared);
        for (size_t i = 0; i < ITEMS; i++)
            CHECK(s.worked[i] == (i < n));
    }
}

static void test_failures(struct thread_pool *p, bool begins)
{
    struct ordered_steps steps = {begins ? begin : NULL, work, end};
    for (size_t fails = 0; fails < ITEMS; fails += 83) {
        struct log s = {.fails = fails, .fails_at_end = SIZE_MAX};
        struct error e;
        char want[64];
        snprintf(want, sizeof want, "item %zu", fails);
        CHECK(ordered_pool_run(p, ITEMS, SLOTS, &steps, &s, &e) == -1);
        CHECK(strcmp(e.text, want) == 0 && s.ended == fails);
        struct log late = {.fails = fails + 1, .fails_at_end = fails};
        snprintf(want, sizeof want, "end of %zu", fails);
        CHECK(ordered_pool_run(p, ITEMS, SLOTS, &steps, &late, &e) == -1);
        CHECK(strcmp(e.text, want) == 0 && late.ended == fails + 1);
    }
}

/* 2^43 items, as a stream may announce: the run ends at the first failure, in a later round of the
 * thread pool too. */
static int fail_at(void *context, size_t slot, size_t i, struct error *e)
{
    return i == *(size_t *)context ? error_set(e, "item %zu", i) : 0;
}

static void test_many_items(struct thread_pool *p)
{
    struct ordered_steps steps = {.work = fail_at};
    struct error e;
    size_t fails = 3;
    CHECK(ordered_pool_run(p, (size_t)1 << 43, SLOTS, &steps, &fails, &e) == -1);
    CHECK(strcmp(e.text, "item 3") == 0);
    fails = 70000;
    CHECK(ordered_pool_run(p, (size_t)1 << 43, SLOTS, &steps, &fails, &e) == -1);
    CHECK(strcmp(e.text, "item 70000") == 0);
    fails = SIZE_MAX;
    CHECK(ordered_pool_run(p, 140000, SLOTS, &steps, &fails, &e) == 0);
}

int main(void)
{
    for (size_t threads = 0; threads <= 5; threads++) {
        struct thread_pool *p = threads ? thread_pool_new(threads) : NULL;
        test_all(p, false);
        test_all(p, true);
        test_failures(p, false);
        test_failures(p, true);
        test_many_items(p);
        thread_pool_free(p);
    }
    return unit_end();
}
