#include "progress.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL 0.2 /* seconds between updates */

struct progress {
    uint64_t done, total;
    double start, last;
    unsigned ticks;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct progress *progress_new(uint64_t total)
{
    if (!isatty(STDERR_FILENO))
        return NULL;
    struct progress *p = mem_alloc(1, sizeof *p);
    p->total = total;
    p->start = p->last = now();
    return p;
}

static void show(struct progress *p)
{
    double t = now();
    if (t - p->last < INTERVAL)
        return;
    p->last = t;
    double seconds = t - p->start, rate = (double)p->done / seconds;
    if (p->done == 0)
        fprintf(stderr, "\r\033[Klooking %.*s", (int)(p->ticks++ % 3 + 1), "...");
    else
        fprintf(stderr, "\r\033[K%3.0f %%  %.2f of %.2f GB  %.2f GB/s  %.0f s left",
                100 * (double)p->done / (double)p->total, (double)p->done / 1e9,
                (double)p->total / 1e9, rate / 1e9, (double)(p->total - p->done) / rate);
    fflush(stderr);
}

void progress_add(struct progress *p, uint64_t bytes)
{
    if (!p)
        return;
    p->done += bytes;
    show(p);
}

void progress_tick(struct progress *p)
{
    if (p)
        show(p);
}

void progress_free(struct progress *p)
{
    if (p)
        fputs("\r\033[K", stderr);
    free(p);
}
