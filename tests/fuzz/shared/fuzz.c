/* The budget of an input, and what targets and mutators share. libFuzzer passes no context to its
 * functions; hence the static variables. */
#include "fuzz.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/* ---- the budget ------------------------------------------------------------------------------ */

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int fuzz_log;
long fuzz_fixed_memory;

static void print_cpu_seconds(void)
{
    dprintf(fuzz_log, "stat::cpu_seconds: %.2f\n", seconds_of(CLOCK_PROCESS_CPUTIME_ID));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_log = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (!fuzz_count_allocations() || atexit(print_cpu_seconds))
        abort();
    return 0;
}

static void fail(const char *what, double found, double most)
{
    dprintf(fuzz_log, "==fuzz== ERROR: %s: %.15g, allowed are %.15g\n", what, found, most);
    abort();
}

/* Runs the input; the seconds that it took. */
static double run_once(const uint8_t *bytes, size_t size, clockid_t clock)
{
    double start = seconds_of(clock);
    fuzz_live = fuzz_peak = 0;
    fuzz_fixed_memory = FUZZ_FIXED_MEMORY;
    fuzz_one(bytes, size);
    fuzz_remove_files();
    return seconds_of(clock) - start;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    double seconds = FUZZ_FIXED_SECONDS + FUZZ_SECONDS_PER_BYTE * (double)size;
    /* Reading the clock of CPU time is a system call, so it is read only where the other clock says
     * that the input may have taken too long. */
    double taken = run_once(bytes, size, CLOCK_MONOTONIC);
    if (taken > seconds)
        taken = run_once(bytes, size, CLOCK_PROCESS_CPUTIME_ID);
    long memory = fuzz_fixed_memory + FUZZ_MEMORY_PER_BYTE * (long)size;
    if (fuzz_peak > memory)
        fail("bytes of memory", (double)fuzz_peak, (double)memory);
    if (taken > seconds)
        fail("seconds of CPU", taken, seconds);
    /* Libraries allocate what they keep when they are used first. */
    for (int again = 0; fuzz_live > 0 && again < 2; again++)
        run_once(bytes, size, CLOCK_MONOTONIC);
    if (fuzz_live > 0)
        fail("bytes not freed", (double)fuzz_live, 0);
    return 0;
}

/* ---- inputs and their mutation --------------------------------------------------------------- */

uint8_t *fuzz_copy(const void *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (size)
        memcpy(copy, bytes, size);
    return copy;
}

char *fuzz_text(const void *bytes, size_t size)
{
    char *text = malloc(size + 1);
    if (size)
        memcpy(text, bytes, size);
    text[size] = '\0';
    return text;
}

size_t fuzz_mutate_part(uint8_t *bytes, size_t *size, size_t max, size_t at, size_t n)
{
    size_t rest = *size - at - n;
    uint8_t *after = fuzz_copy(bytes + at + n, rest);
    size_t now = LLVMFuzzerMutate(bytes + at, n, max - at - rest);
    memcpy(bytes + at + now, after, rest);
    free(after);
    *size = at + now + rest;
    return now;
}

size_t fuzz_mutate_safetensors(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    uint64_t n;
    if (size < 8 || seed % 16 == 0)
        return LLVMFuzzerMutate(bytes, size, max);
    memcpy(&n, bytes, 8);
    if (n > size - 8)
        n = size - 8;
    if (seed % 4 == 0) {
        fuzz_mutate_part(bytes, &size, max, 8 + n, size - 8 - n);
        return size;
    }
    n = fuzz_mutate_part(bytes, &size, max, 8, n);
    memcpy(bytes, &n, 8);
    return size;
}
