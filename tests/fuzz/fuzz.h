/* What the fuzz targets share: a budget of memory and time in proportion to the input's size, files
 * that are in memory, and the mutation of a part of an input. A target defines fuzz_one, which
 * must not keep anything: memory that two runs of one input do not free is a finding too.
 *
 * libFuzzer passes no context to its functions; hence the static variables. */
#ifndef TV_FUZZ_H
#define TV_FUZZ_H

#include <sanitizer/allocator_interface.h>

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Bytes that an input may hold at a time. A target with a larger constant defines its own. */
#ifndef FUZZ_FIXED_MEMORY
#define FUZZ_FIXED_MEMORY ((long)4 << 20)
#endif
#define FUZZ_MEMORY_PER_BYTE 1000
/* CPU seconds, of a build with sanitizers */
#define FUZZ_FIXED_SECONDS    1.0
#define FUZZ_SECONDS_PER_BYTE 1e-4

static void fuzz_one(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed);

/* ---- the budget ------------------------------------------------------------------------------ */

static long fuzz_live, fuzz_peak; /* bytes allocated since the input's start */

static void fuzz_count_malloc(const volatile void *p, size_t size)
{
    long live = __atomic_add_fetch(&fuzz_live, (long)size, __ATOMIC_RELAXED);
    if (live > __atomic_load_n(&fuzz_peak, __ATOMIC_RELAXED))
        __atomic_store_n(&fuzz_peak, live, __ATOMIC_RELAXED);
}

static void fuzz_count_free(const volatile void *p)
{
    if (p)
        __atomic_sub_fetch(&fuzz_live, (long)__sanitizer_get_allocated_size((const void *)p),
                           __ATOMIC_RELAXED);
}

static double fuzz_cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int fuzz_log; /* standard error, which -close_fd_mask closes to the library */

static void fuzz_print_cpu_seconds(void)
{
    dprintf(fuzz_log, "stat::cpu_seconds: %.2f\n", fuzz_cpu_seconds());
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_log = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (!__sanitizer_install_malloc_and_free_hooks(fuzz_count_malloc, fuzz_count_free) ||
        atexit(fuzz_print_cpu_seconds))
        abort();
    return 0;
}

static void fuzz_fail(const char *what, double found, double most)
{
    dprintf(fuzz_log, "==fuzz== ERROR: %s: %.15g, allowed are %.15g\n", what, found, most);
    abort();
}

/* Runs the input; the bytes that it has not freed. */
static long fuzz_run_once(const uint8_t *bytes, size_t size)
{
    double start = fuzz_cpu_seconds(), most = FUZZ_FIXED_SECONDS + FUZZ_SECONDS_PER_BYTE * size;
    long memory = FUZZ_FIXED_MEMORY + FUZZ_MEMORY_PER_BYTE * (long)size;
    fuzz_live = fuzz_peak = 0;
    fuzz_one(bytes, size);
    if (fuzz_peak > memory)
        fuzz_fail("bytes of memory", (double)fuzz_peak, (double)memory);
    if (fuzz_cpu_seconds() - start > most)
        fuzz_fail("seconds of CPU", fuzz_cpu_seconds() - start, most);
    return fuzz_live;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    /* Libraries allocate what they keep when they are used first. */
    if (fuzz_run_once(bytes, size) > 0 && fuzz_run_once(bytes, size) > 0 &&
        fuzz_run_once(bytes, size) > 0)
        fuzz_fail("bytes not freed", (double)fuzz_live, 0);
    return 0;
}

/* The library remembers all models that the process has opened; the Makefile puts this in its
 * place. */
void __wrap_read_files_add(const struct stat *st);
void __wrap_read_files_add(const struct stat *st)
{
}

/* ---- inputs ---------------------------------------------------------------------------------- */

/* A file in memory with these bytes, at its start; its descriptor. Slots 0 and 1 are two files. */
__attribute__((unused)) static int fuzz_descriptor(int slot, const void *bytes, size_t size)
{
    static int files[2]; /* 0: not made yet */
    if (!files[slot])
        files[slot] = memfd_create("input", MFD_CLOEXEC);
    if (ftruncate(files[slot], 0) || pwrite(files[slot], bytes, size, 0) != (ssize_t)size ||
        lseek(files[slot], 0, SEEK_SET))
        abort();
    return files[slot];
}

/* The path of such a file. */
__attribute__((unused)) static const char *fuzz_file(int slot, const void *bytes, size_t size)
{
    static char paths[2][40];
    snprintf(paths[slot], sizeof paths[slot], "/proc/self/fd/%d",
             fuzz_descriptor(slot, bytes, size));
    return paths[slot];
}

/* A copy that ends where its allocation ends, so that reading past it is detected. */
__attribute__((unused)) static uint8_t *fuzz_copy(const void *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    return copy;
}

/* The bytes as a string. */
__attribute__((unused)) static char *fuzz_text(const void *bytes, size_t size)
{
    char *text = malloc(size + 1);
    memcpy(text, bytes, size);
    text[size] = '\0';
    return text;
}

/* ---- mutation -------------------------------------------------------------------------------- */

/* Mutates the n bytes at `at`, and moves what follows; their new number. */
__attribute__((unused)) static size_t fuzz_mutate_part(uint8_t *bytes, size_t *size, size_t max,
                                                       size_t at, size_t n)
{
    size_t rest = *size - at - n;
    uint8_t *after = fuzz_copy(bytes + at + n, rest);
    size_t now = LLVMFuzzerMutate(bytes + at, n, max - at - rest);
    memcpy(bytes + at + now, after, rest);
    free(after);
    *size = at + now + rest;
    return now;
}

#endif
