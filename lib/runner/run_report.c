#include "run_report.h"

#include "mem.h"
#include "atomic_file.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CHAINS_MAX 256
#define STAGES_MAX 32
#define NAME_ROOM  32

struct kept_stage {
    char name[NAME_ROOM];
    double seconds;
    uint64_t bytes;
};

struct kept_chain {
    atomic_bool complete;
    struct run_report_chain chain; /* its `stages` apart */
    struct kept_stage stages[STAGES_MAX];
};

struct run_report {
    uint64_t start;
    atomic_size_t n; /* chains that came, kept or not */
    struct kept_chain chains[CHAINS_MAX];
};

/* ---- measuring ------------------------------------------------------------------------------- */

uint64_t process_stats_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* /proc/self/statm: size, resident, shared with files, ... in pages */
uint64_t process_stats_anonymous_bytes(void)
{
    char text[128];
    unsigned long long resident, shared;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    if (sscanf(text, "%*u %llu %llu", &resident, &shared) != 2 || shared > resident)
        return 0;
    return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t process_stats_peak_resident_bytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_maxrss * 1024;
}

/* ---- keeping --------------------------------------------------------------------------------- */

struct run_report *run_report_new(void)
{
    struct run_report *a =
        mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (a == MAP_FAILED)
        return NULL;
    a->start = process_stats_clock_ns();
    return a;
}

void run_report_free(struct run_report *a)
{
    if (a)
        munmap(a, sizeof *a);
}

void run_report_add_chain(struct run_report *a, const struct run_report_chain *chain)
{
    size_t at = a->n++;
    if (at >= CHAINS_MAX)
        return;
    struct kept_chain *kept = &a->chains[at];
    kept->chain = *chain;
    kept->chain.stages = NULL;
    if (chain->n > STAGES_MAX)
        kept->chain.n = STAGES_MAX;
    for (size_t i = 0; i < kept->chain.n; i++) {
        struct kept_stage *s = &kept->stages[i];
        snprintf(s->name, sizeof s->name, "%s", chain->stages[i].name);
        s->seconds = chain->stages[i].seconds;
        s->bytes = chain->stages[i].bytes;
    }
    kept->complete = true;
}

/* ---- writing --------------------------------------------------------------------------------- */

static json_t *chain_json(const struct kept_chain *kept)
{
    const struct run_report_chain *c = &kept->chain;
    json_t *stages = json_array();
    for (size_t i = 0; i < c->n; i++) {
        const struct kept_stage *s = &kept->stages[i];
        json_array_append_new(stages, json_pack("{s:s, s:f, s:I}", "name", s->name, "seconds",
                                                s->seconds, "bytes", (json_int_t)s->bytes));
    }
    return json_pack("{s:I, s:f, s:I, s:I, s:I, s:I, s:o}", "threads", (json_int_t)c->threads,
                     "seconds", c->seconds, "bytes_read", (json_int_t)c->bytes_read,
                     "bytes_written", (json_int_t)c->bytes_written, "peak_resident",
                     (json_int_t)c->peak_resident, "peak_anonymous", (json_int_t)c->peak_anonymous,
                     "stages", stages);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static json_t *run_report_json(const struct run_report *a)
{
    uint64_t bytes_read = 0, bytes_written = 0, resident = 0, anonymous = 0;
    json_t *chains = json_array();
    for (size_t i = 0; i < a->n && i < CHAINS_MAX; i++) {
        const struct run_report_chain *c = &a->chains[i].chain;
        if (!a->chains[i].complete)
            continue;
        bytes_read += c->bytes_read;
        bytes_written += c->bytes_written;
        resident = larger(resident, c->peak_resident);
        anonymous = larger(anonymous, c->peak_anonymous);
        json_array_append_new(chains, chain_json(&a->chains[i]));
    }
    return json_pack("{s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:o}", "tvtools", TV_VERSION, "seconds",
                     1e-9 * (double)(process_stats_clock_ns() - a->start), "bytes_read",
                     (json_int_t)bytes_read, "bytes_written", (json_int_t)bytes_written,
                     "peak_resident", (json_int_t)resident, "peak_anonymous", (json_int_t)anonymous,
                     "chains_run", (json_int_t)a->n, "chains", chains);
}

int run_report_write_json(const struct run_report *a, const char *path, struct error *e)
{
    struct atomic_file file;
    json_t *json = run_report_json(a);
    int failed = atomic_file_open(&file, path, e);
    if (!failed) {
        json_dumpf(json, file.out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putc('\n', file.out);
        failed = atomic_file_close(&file, true, e);
    }
    json_decref(json);
    return failed;
}
