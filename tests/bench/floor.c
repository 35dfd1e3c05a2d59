/* The hardware floor of a merge: reads every input byte once, writes every output byte once and
 * syncs it, and computes nothing.
 *
 *     floor OUTPUT INPUT...
 *
 * The inputs are mapped, and one thread per processor touches every cache line; the kernel reads
 * ahead. Meanwhile other threads write the output, of the size of the first input, to preallocated
 * blocks and past the page cache (O_DIRECT), or through it where the file system does not support
 * that. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE       ((size_t)256 << 10) /* bytes that a thread touches at a time */
#define CHUNK       ((size_t)4 << 20)   /* bytes that it writes at a time */
#define PAGE        ((size_t)4096)      /* alignment of O_DIRECT */
#define CACHE_LINE  64
#define WRITERS     2
#define MAX_THREADS 1024

struct input {
    unsigned char *bytes;
    size_t size;
    atomic_size_t next; /* the first byte that no thread touches yet */
};

struct floor {
    size_t n_inputs;
    struct input *inputs;
    int output;
    size_t output_size;
    atomic_size_t next; /* the first byte that no thread writes yet */
};

static _Noreturn void fail(const char *what, const char *path)
{
    fprintf(stderr, "floor: cannot %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void map_input(struct input *in, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st))
        fail("open", path);
    in->size = (size_t)st.st_size;
    in->bytes = mmap(NULL, in->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (in->bytes == MAP_FAILED)
        fail("map", path);
    close(fd);
}

/* The inputs advance side by side, as those of a merge do. */
static void *touch_inputs(void *floor)
{
    struct floor *f = floor;
    for (size_t left = 1; left > 0;) {
        left = 0;
        for (size_t i = 0; i < f->n_inputs; i++) {
            struct input *in = &f->inputs[i];
            size_t at = atomic_fetch_add(&in->next, PIECE);
            if (at >= in->size)
                continue;
            left++;
            size_t end = in->size - at < PIECE ? in->size : at + PIECE;
            for (; at < end; at += CACHE_LINE)
                (void)*(volatile unsigned char *)(in->bytes + at);
        }
    }
    return NULL;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void open_output(struct floor *f, const char *path)
{
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
    f->output = open(path, flags | O_DIRECT, 0666);
    if (f->output < 0)
        f->output = open(path, flags, 0666);
    if (f->output < 0)
        fail("create", path);
    if (fallocate(f->output, 0, 0, (off_t)f->output_size) && errno != EOPNOTSUPP)
        fail("allocate", path);
}

/* Whole pages: the last one is cut at the end. */
static void *write_output(void *floor)
{
    struct floor *f = floor;
    unsigned char *bytes = aligned_alloc(PAGE, CHUNK);
    if (!bytes)
        fail("write", "the output");
    memset(bytes, 1, CHUNK);
    for (size_t at; (at = atomic_fetch_add(&f->next, CHUNK)) < f->output_size;) {
        size_t left = f->output_size - at,
               n = left < CHUNK ? (left + PAGE - 1) / PAGE * PAGE : CHUNK;
        if (pwrite(f->output, bytes, n, (off_t)at) != (ssize_t)n)
            fail("write", "the output");
        sync_file_range(f->output, (off_t)at, (off_t)n, SYNC_FILE_RANGE_WRITE);
    }
    free(bytes);
    return NULL;
}

static void finish_output(const struct floor *f)
{
    if (ftruncate(f->output, (off_t)f->output_size) || fsync(f->output) || close(f->output))
        fail("sync", "the output");
}

/* ---- both ------------------------------------------------------------------------------------ */

static void start_thread(pthread_t *thread, void *(*work)(void *), struct floor *f)
{
    errno = pthread_create(thread, NULL, work, f);
    if (errno)
        fail("start", "a thread");
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "Usage: floor OUTPUT INPUT...\n");
        return 2;
    }
    struct floor f = {.n_inputs = (size_t)argc - 2};
    f.inputs = calloc(f.n_inputs, sizeof *f.inputs);
    if (!f.inputs)
        fail("open", "the inputs");
    for (size_t i = 0; i < f.n_inputs; i++)
        map_input(&f.inputs[i], argv[2 + i]);
    f.output_size = f.inputs[0].size;
    open_output(&f, argv[1]);
    pthread_t threads[MAX_THREADS + WRITERS];
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = 0, readers = processors > MAX_THREADS ? MAX_THREADS : (size_t)processors;
    for (; n < WRITERS; n++)
        start_thread(&threads[n], write_output, &f);
    for (; n < WRITERS + readers; n++)
        start_thread(&threads[n], touch_inputs, &f);
    while (n > 0)
        pthread_join(threads[--n], NULL);
    finish_output(&f);
    free(f.inputs);
    return 0;
}
