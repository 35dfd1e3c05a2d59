/* Work that is done ahead: in order, up to the first piece that fails; what is
 * left undone when nobody waits for it. */
#include "background_queue.h"
#include "chunk_pool.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#define PIECES 300

struct seen {
    atomic_size_t done;
    size_t fails;
    int input; /* -1: none */
};

static int work(void *context, size_t i, struct error *e)
{
    struct seen *s = context;
    char byte;
    CHECK(s->done == i);
    if (i == s->fails)
        return error_set(e, "piece %zu", i);
    if (s->input >= 0 && read(s->input, &byte, 1) != 1)
        return error_set(e, "no byte for piece %zu", i);
    s->done++;
    return 0;
}

static void test_order(void)
{
    struct seen s = {.fails = SIZE_MAX, .input = -1};
    struct error e;
    struct background_queue *a = background_queue_start(PIECES, work, &s);
    for (size_t i = 0; i < PIECES; i += 7) {
        CHECK(background_queue_wait(a, i, &e) == 0);
        CHECK(s.done > i);
    }
    CHECK(background_queue_wait(a, PIECES - 1, &e) == 0 && s.done == PIECES);
    background_queue_stop(a);
    background_queue_stop(NULL);
}

static void test_failure(void)
{
    for (size_t fails = 0; fails < PIECES; fails += 61) {
        struct seen s = {.fails = fails, .input = -1};
        struct error e = {0};
        char want[64];
        snprintf(want, sizeof want, "piece %zu", fails);
        struct background_queue *a = background_queue_start(PIECES, work, &s);
        CHECK(background_queue_wait(a, PIECES - 1, &e) == -1);
        CHECK(strcmp(e.text, want) == 0);
        CHECK(fails == 0 || background_queue_wait(a, fails - 1, &e) == 0);
        background_queue_stop(a);
    }
}

/* Three bytes come, the fourth never does. */
static void test_waiting(void)
{
    int ends[2];
    struct error e;
    CHECK(pipe(ends) == 0 && write(ends[1], "abc", 3) == 3);
    struct seen s = {.fails = SIZE_MAX, .input = ends[0]};
    struct background_queue *a = background_queue_start(PIECES, work, &s);
    CHECK(background_queue_wait(a, 2, &e) == 0);
    CHECK(!background_queue_is_done(a));
    close(ends[1]);
    CHECK(background_queue_wait(a, PIECES - 1, &e) == -1 && s.done == 3);
    CHECK(background_queue_is_done(a));
    background_queue_stop(a);
    close(ends[0]);
}

/* The piece at hand is the last. */
static void test_leaving(void)
{
    struct seen s = {.fails = SIZE_MAX, .input = -1};
    struct error e;
    struct background_queue *a = background_queue_start(SIZE_MAX, work, &s);
    CHECK(background_queue_wait(a, 10, &e) == 0);
    background_queue_stop(a);
    CHECK(s.done > 10);
}

struct taker {
    struct chunk_pool *chunks;
    void *bytes;
    size_t size;
    atomic_bool has;
};

static void *take(void *taker)
{
    struct taker *t = taker;
    t->bytes = chunk_pool_acquire(t->chunks, t->size, 1000);
    t->has = true;
    return NULL;
}

static void test_chunks(void)
{
    struct chunk_pool *c = chunk_pool_new();
    unsigned char *x = chunk_pool_acquire(c, 600, 1000), *y = chunk_pool_acquire(c, 400, 1000);
    struct taker t = {.chunks = c, .size = 500};
    pthread_t thread;
    CHECK((uintptr_t)x % 64 == 0 && (uintptr_t)y % 64 == 0);
    memset(x, 1, 600);
    memset(y, 2, 400);
    CHECK(x[599] == 1);
    CHECK(pthread_create(&thread, NULL, take, &t) == 0);
    chunk_pool_release(c, y); /* not enough */
    usleep(1000);
    CHECK(!t.has);
    chunk_pool_release(c, x);
    pthread_join(thread, NULL);
    CHECK(t.has && t.bytes == x); /* the one with room */
    chunk_pool_release(c, t.bytes);
    void *large = chunk_pool_acquire(c, 5000, 1000); /* nothing else is taken */
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
    test_leaving();
    test_chunks();
    return unit_end();
}
