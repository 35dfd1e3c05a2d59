#include "progress.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_INTERVAL 0.2 /* seconds */
#define LINE_INTERVAL   1.0

/* An estimate of the time left needs some seconds and some part of the whole. */
#define ESTIMATE_SECONDS 2.0
#define ESTIMATE_PART    0.01

struct progress {
    bool is_terminal;
    size_t tensors, all_tensors;
    uint64_t done, total, done_at_first;
    double start, last; /* times in seconds: of the start, of the last update (0: none) */
    double first;       /* of the first bytes: what comes before them says nothing about the rate */
    unsigned ticks;
};

static double read_monotonic_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Bytes per second since the first bytes; before there is a second measurement, since the start. */
static double compute_rate(const struct progress *p, double now)
{
    bool is_first = p->done == p->done_at_first;
    double seconds = now - (is_first ? p->start : p->first);
    uint64_t bytes = is_first ? p->done : p->done - p->done_at_first;
    return (double)bytes / (seconds > 0 ? seconds : REDRAW_INTERVAL);
}

/* Seconds left; -1 before an estimate means something. */
static double estimate_seconds_left(const struct progress *p, double now)
{
    bool means_something = p->done > p->done_at_first && now - p->first >= ESTIMATE_SECONDS &&
                           (double)p->done >= ESTIMATE_PART * (double)p->total;
    if (p->done == p->total)
        return 0;
    return means_something ? (double)(p->total - p->done) / compute_rate(p, now) : -1;
}

static void redraw_line(struct progress *p, double now)
{
    double left = estimate_seconds_left(p, now);
    if (p->done == 0) {
        fprintf(stderr, "\r\033[Kworking %.*s", (int)(p->ticks++ % 3 + 1), "...");
        return;
    }
    fprintf(stderr, "\r\033[K%zu of %zu tensors  %.0f %%  %.2f GB/s", p->tensors, p->all_tensors,
            100 * (double)p->done / (double)p->total, compute_rate(p, now) / 1e9);
    if (left >= 0)
        fprintf(stderr, "  %.0f s left", left);
}

static void print_line(const struct progress *p, double now)
{
    char left[32] = "-";
    double seconds = estimate_seconds_left(p, now);
    if (seconds >= 0)
        snprintf(left, sizeof left, "%.1f", seconds);
    fprintf(stderr, "progress tensors=%zu/%zu bytes=%llu/%llu seconds=%.1f left=%s\n", p->tensors,
            p->all_tensors, (unsigned long long)p->done, (unsigned long long)p->total,
            now - p->start, left);
}

static void update(struct progress *p)
{
    double now = read_monotonic_seconds();
    if (now - p->last < (p->is_terminal ? REDRAW_INTERVAL : LINE_INTERVAL))
        return;
    p->last = now;
    if (p->is_terminal)
        redraw_line(p, now);
    else
        print_line(p, now);
    fflush(stderr);
}

struct progress *progress_new(size_t tensors, uint64_t bytes, bool wants_lines)
{
    bool is_terminal = isatty(STDERR_FILENO);
    if (!is_terminal && !wants_lines)
        return NULL;
    struct progress *p = mem_alloc(1, sizeof *p);
    p->is_terminal = is_terminal;
    p->all_tensors = tensors;
    p->total = bytes;
    p->start = read_monotonic_seconds();
    if (!is_terminal)
        update(p);
    return p;
}

void progress_add_bytes(struct progress *p, uint64_t bytes)
{
    if (!p)
        return;
    p->done += bytes;
    if (p->first == 0) {
        p->first = read_monotonic_seconds();
        p->done_at_first = p->done;
        if (p->is_terminal)
            p->last = 0; /* show the first numbers immediately */
    }
    update(p);
}

void progress_add_tensor(struct progress *p)
{
    if (!p)
        return;
    p->tensors++;
    update(p);
}

void progress_redraw(struct progress *p)
{
    if (p)
        update(p);
}

void progress_free(struct progress *p)
{
    if (p && p->is_terminal)
        fputs("\r\033[K", stderr);
    else if (p)
        print_line(p, read_monotonic_seconds());
    free(p);
}
