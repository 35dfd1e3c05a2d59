#include "progress.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL 0.2 /* seconds between updates */

struct progress {
    size_t tensors, all_tensors;
    uint64_t done, total;
    double start, last; /* times in seconds: of the start, of the last update (0: none) */
    unsigned ticks;
};

static double read_monotonic_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct progress *progress_new(size_t tensors, uint64_t bytes)
{
    if (!isatty(STDERR_FILENO))
        return NULL;
    struct progress *p = mem_alloc(1, sizeof *p);
    p->all_tensors = tensors;
    p->total = bytes;
    p->start = read_monotonic_seconds();
    return p;
}

static void redraw_progress_line(struct progress *p)
{
    double t = read_monotonic_seconds(), seconds = t - p->start;
    if (t - p->last < INTERVAL)
        return;
    p->last = t;
    if (p->done == 0) {
        fprintf(stderr, "\r\033[Kworking %.*s", (int)(p->ticks++ % 3 + 1), "...");
    } else {
        double rate = (double)p->done / (seconds > 0 ? seconds : INTERVAL);
        fprintf(stderr, "\r\033[K%zu of %zu tensors  %.0f %%  %.2f GB/s  %.0f s left", p->tensors,
                p->all_tensors, 100 * (double)p->done / (double)p->total, rate / 1e9,
                (double)(p->total - p->done) / rate);
    }
    fflush(stderr);
}

void progress_add_bytes(struct progress *p, uint64_t bytes)
{
    if (!p)
        return;
    if (p->done == 0)
        p->last = 0; /* show the first numbers immediately */
    p->done += bytes;
    redraw_progress_line(p);
}

void progress_add_tensor(struct progress *p)
{
    if (!p)
        return;
    p->tensors++;
    redraw_progress_line(p);
}

void progress_redraw(struct progress *p)
{
    if (p)
        redraw_progress_line(p);
}

void progress_free(struct progress *p)
{
    if (p)
        fputs("\r\033[K", stderr);
    free(p);
}
