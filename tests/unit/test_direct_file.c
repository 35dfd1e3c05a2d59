/* What arrives in any order, from several threads, in pieces that fill no page, is what the file
 * contains; a write that fails later is an error of the close. */
#include "direct_file.h"
#include "fs.h"
#include "mem.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define BEGIN   ((size_t)1234) /* written before */
#define PIECES  24
#define PIECE   ((size_t)99991)
#define SIZE    (BEGIN + PIECES * PIECE)
#define THREADS 3

static char folder_name[] = "/var/tmp/tv-direct-XXXXXX";

static struct direct_file *create_file(int folder, const unsigned char *bytes)
{
    int fd = openat(folder, "file", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    CHECK(fd >= 0 && fs_preallocate(fd, SIZE) == 0 && fs_write_at(fd, 0, bytes, BEGIN) == 0);
    return direct_file_open(fd, folder, "file", BEGIN, SIZE);
}

struct writer {
    struct direct_file *file;
    const unsigned char *bytes;
    size_t first, step; /* of its pieces, in the order first, first + step, ... modulo PIECES */
    bool is_reversed;
};

static void *write_pieces(void *writer)
{
    const struct writer *w = writer;
    for (size_t i = 0; i < PIECES / THREADS; i++) {
        size_t n = w->is_reversed ? PIECES / THREADS - 1 - i : i;
        size_t at = BEGIN + (w->first + n * w->step) % PIECES * PIECE;
        CHECK(direct_file_write(w->file, at, w->bytes + at, PIECE) == 0);
    }
    return NULL;
}

/* Pieces side by side, and pieces far apart, which begin more chunks than there are buffers. */
static void test_orders(int folder, const unsigned char *bytes)
{
    size_t size;
    for (int far = 0; far < 2; far++) {
        struct direct_file *f = create_file(folder, bytes);
        struct writer writers[THREADS];
        pthread_t threads[THREADS];
        for (size_t i = 0; i < THREADS; i++) {
            writers[i] = (struct writer){f, bytes, far ? i * (PIECES / THREADS) : i,
                                         far ? 1 : THREADS, i == 1};
            CHECK(pthread_create(&threads[i], NULL, write_pieces, &writers[i]) == 0);
        }
        for (size_t i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        CHECK(direct_file_close(f) == 0);
        char *found = fs_read_file(folder, "file", &size);
        CHECK(found && size == SIZE && memcmp(found, bytes, SIZE) == 0);
        free(found);
    }
}

static void test_failure(int folder, const unsigned char *bytes)
{
    struct direct_file *f = create_file(folder, bytes);
    struct rlimit all, limit;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(getrlimit(RLIMIT_FSIZE, &all) == 0);
    limit = all;
    limit.rlim_cur = 4096;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    if (direct_file_write(f, BEGIN, bytes + BEGIN, SIZE - BEGIN)) /* the threads were fast enough */
        CHECK(errno == EFBIG);
    CHECK(direct_file_close(f) == -1 && errno == EFBIG);
    CHECK(setrlimit(RLIMIT_FSIZE, &all) == 0);
}

/* A run that fails elsewhere drops what it has. */
static void test_incomplete(int folder, const unsigned char *bytes)
{
    struct direct_file *f = create_file(folder, bytes);
    CHECK(direct_file_write(f, BEGIN + PIECE, bytes, PIECE) == 0);
    CHECK(direct_file_close(f) == 0);
    CHECK(direct_file_close(NULL) == 0);
}

int main(void)
{
    unsigned char *bytes = mem_alloc(SIZE, 1);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    CHECK(mkdtemp(folder_name) != NULL);
    int folder = open(folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(folder >= 0);
    test_orders(folder, bytes);
    test_failure(folder, bytes);
    test_incomplete(folder, bytes);
    CHECK(unlinkat(folder, "file", 0) == 0 && rmdir(folder_name) == 0);
    close(folder);
    free(bytes);
    return unit_end();
}
