/* Items are processed in order, up to the first that fails; a stopped queue leaves the rest undone.
 */
#include "background_queue.h"
#include "chunk_pool.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#define ITEMS 300

struct log {
    atomic_size_t done;
    size_t fails;
    int input; /* -1: none */
};

static int work(void *context, size_t i, struct error *e)
{
    struct log *s = context;
    char byte;
    CHECK(s->done == i);
    if (i == s->fails)
        return error_set(e, "item %zu", i);
    if (s->input >= 0 && read(s->input, &byte, 1) != 1)
        return error_set(e, "no byte for item %zu", i);
    s->done++;
    return 0;
}

static void test_order(void)
{
    struct log s = {.fails = SIZE_MAX, .input = -1};
    struct error e;
    struct background_queue *q = background_queue_start(ITEMS, work, &s);
    for (size_t i = 0; i < ITEMS; i += 7) {
        CHECK(background_queue_wait_for_item(q, i, &e) == 0);
        CHECK(s.done > i);
    }
    CHECK(background_queue_wait_for_item(q, ITEMS - 1, &e) == 0 && s.done == ITEMS);
    background_queue_stop(q);
    background_queue_stop(NULL);
}

static void test_failure(void)
{
    for (size_t fails = 0; fails < ITEMS; fails += 61) {
        struct log s = {.fails = fails, .input = -1};
        struct error e = {0};
        char want[64];
        snprintf(want, sizeof want, "item %zu", fails);
        struct background_queue *q = background_queue_start(ITEMS, work, &s);
        CHECK(background_queue_wait_for_item(q, ITEMS - 1, &e) == -1);
        CHECK(strcmp(e.text, want) == 0);
        CHECK(fails == 0 || background_queue_wait_for_item(q, fails - 1, &e) == 0);
        background_queue_stop(q);
    }
}

/* The input has three bytes; the item that reads the fourth waits. */
static void test_waiting(void)
{
    int ends[2];
    struct error e;
    CHECK(pipe(ends) == 0 && write(ends[1], "abc", 3) == 3);
    struct log s = {.fails = SIZE_MAX, .input = ends[0]};
    struct background_queue *q = background_queue_start(ITEMS, work, &s);
    CHECK(background_queue_wait_for_item(q, 2, &e) == 0);
    CHECK(!background_queue_is_done(q));
    close(ends[1]);
    CHECK(background_queue_wait_for_item(q, ITEMS - 1, &e) == -1 && s.done == 3);
    CHECK(background_queue_is_done(q));
    background_queue_stop(q);
    close(ends[0]);
}

/* After a stop no further item is started. */
static void test_stop(void)
{
    struct log s = {.fails = SIZE_MAX, .input = -1};
    struct error e;
    struct background_queue *q = background_queue_start(SIZE_MAX, work, &s);
    CHECK(background_queue_wait_for_item(q, 10, &e) == 0);
    background_queue_stop(q);
    CHECK(s.done > 10);
}

struct request {
    struct chunk_pool *chunks;
    void *bytes;
    size_t size;
    atomic_bool acquired;
};

static void *acquire_chunk(void *request)
{
    struct request *r = request;
    r->bytes = chunk_pool_acquire(r->chunks, r->size, 1000);
    r->acquired = true;
    return NULL;
}

static void test_chunks(void)
{
    struct chunk_pool *c = chunk_pool_new();
    unsigned char *x = chunk_pool_acquire(c, 600, 1000), *y = chunk_pool_acquire(c, 400, 1000);
    struct request r = {.chunks = c, .size = 500};
    pthread_t thread;
    CHECK((uintptr_t)x % 64 == 0 && (uintptr_t)y % 64 == 0);
    memset(x, 1, 600);
    memset(y, 2, 400);
    CHECK(x[599] == 1);
    CHECK(pthread_create(&thread, NULL, acquire_chunk, &r) == 0);
    chunk_pool_release(c, y); /* 600 bytes are still acquired: too many */
    usleep(1000);
    CHECK(!r.acquired);
    chunk_pool_release(c, x);
    pthread_join(thread, NULL);
    CHECK(r.acquired && r.bytes == x); /* the chunk that is large enough */
    chunk_pool_release(c, r.bytes);
    void *large = chunk_pool_acquire(c, 5000, 1000); /* allowed: no other chunk is acquired */
    CHECK(large != NULL);
    chunk_pool_release(c, large);
    chunk_pool_release(c, NULL);
    chunk_pool_free(c);
    chunk_pool_free(NULL);
}

int main(void)
{
    test_order();
    test_failure();
    test_waiting();
    test_stop();
    test_chunks();
    return unit_end();
}
