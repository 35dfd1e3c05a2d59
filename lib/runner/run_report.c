#include "run_report.h"

#include "atomic_file.h"
#include "process_stats.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define CHAINS_MAX    256
#define NAME_CAPACITY 32

/* Copies of a chain and its stages: shared memory holds no pointers. */
struct stage_copy {
    char name[NAME_CAPACITY];
    struct run_report_stage stage; /* `name` is NULL */
};

struct chain_copy {
    atomic_bool is_complete;
    struct run_report_chain chain; /* `stages` is NULL */
    struct stage_copy stages[RUN_REPORT_STAGES_MAX];
};

struct run_report {
    uint64_t start_ns;
    atomic_size_t n_chains; /* that were added, kept or not */
    struct chain_copy chains[CHAINS_MAX];
};

struct run_report *run_report_new(void)
{
    struct run_report *r =
        mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r == MAP_FAILED)
        return NULL;
    r->start_ns = process_stats_monotonic_ns();
    return r;
}

void run_report_free(struct run_report *r)
{
    if (r)
        munmap(r, sizeof *r);
}

void run_report_add_chain(struct run_report *r, const struct run_report_chain *chain)
{
    size_t at = r->n_chains++;
    if (at >= CHAINS_MAX)
        return;
    struct chain_copy *copy = &r->chains[at];
    copy->chain = *chain;
    copy->chain.stages = NULL;
    if (chain->n_stages > RUN_REPORT_STAGES_MAX)
        copy->chain.n_stages = RUN_REPORT_STAGES_MAX;
    for (size_t i = 0; i < copy->chain.n_stages; i++) {
        struct stage_copy *s = &copy->stages[i];
        snprintf(s->name, sizeof s->name, "%s", chain->stages[i].name);
        s->stage = chain->stages[i];
        s->stage.name = NULL;
    }
    copy->is_complete = true;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

struct run_report_chain run_report_sum_chains(const struct run_report *r)
{
    struct run_report_chain sum = {.seconds =
                                       1e-9 * (double)(process_stats_monotonic_ns() - r->start_ns)};
    for (size_t i = 0; i < r->n_chains && i < CHAINS_MAX; i++) {
        const struct run_report_chain *c = &r->chains[i].chain;
        if (!r->chains[i].is_complete)
            continue;
        sum.bytes_read += c->bytes_read;
        sum.bytes_written += c->bytes_written;
        sum.peak_resident = max_u64(sum.peak_resident, c->peak_resident);
        sum.peak_anonymous = max_u64(sum.peak_anonymous, c->peak_anonymous);
    }
    return sum;
}

size_t run_report_count_chains(const struct run_report *r)
{
    return r->n_chains;
}

bool run_report_get_chain(const struct run_report *r, size_t i, struct run_report_chain *chain,
                          struct run_report_stage stages[RUN_REPORT_STAGES_MAX])
{
    if (i >= CHAINS_MAX || !r->chains[i].is_complete)
        return false;
    const struct chain_copy *copy = &r->chains[i];
    *chain = copy->chain;
    chain->stages = stages;
    for (size_t s = 0; s < chain->n_stages; s++) {
        stages[s] = copy->stages[s].stage;
        stages[s].name = copy->stages[s].name;
    }
    return true;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *chain_to_json(const struct chain_copy *copy)
{
    const struct run_report_chain *c = &copy->chain;
    json_t *stages = json_array();
    for (size_t i = 0; i < c->n_stages; i++) {
        const struct stage_copy *s = &copy->stages[i];
        json_array_append_new(stages,
                              json_pack("{s:s, s:f, s:I}", "name", s->name, "seconds",
                                        s->stage.seconds, "bytes", (json_int_t)s->stage.bytes));
    }
    return json_pack("{s:I, s:f, s:I, s:I, s:I, s:I, s:o}", "threads", (json_int_t)c->threads,
                     "seconds", c->seconds, "bytes_read", (json_int_t)c->bytes_read,
                     "bytes_written", (json_int_t)c->bytes_written, "peak_resident",
                     (json_int_t)c->peak_resident, "peak_anonymous", (json_int_t)c->peak_anonymous,
                     "stages", stages);
}

static json_t *report_to_json(const struct run_report *r)
{
    struct run_report_chain sum = run_report_sum_chains(r);
    json_t *chains = json_array();
    for (size_t i = 0; i < r->n_chains && i < CHAINS_MAX; i++)
        if (r->chains[i].is_complete)
            json_array_append_new(chains, chain_to_json(&r->chains[i]));
    return json_pack("{s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:o}", "tvtools", TV_VERSION, "seconds",
                     sum.seconds, "bytes_read", (json_int_t)sum.bytes_read, "bytes_written",
                     (json_int_t)sum.bytes_written, "peak_resident", (json_int_t)sum.peak_resident,
                     "peak_anonymous", (json_int_t)sum.peak_anonymous, "chains_run",
                     (json_int_t)r->n_chains, "chains", chains);
}

bool run_report_is_report(const char *text, size_t size)
{
    static const char start[] = "{\n  \"tvtools\": \"";
    json_t *json =
        strncmp(text, start, sizeof start - 1) == 0 ? json_loadb(text, size, 0, NULL) : NULL;
    int failed = json_unpack_ex(json, NULL, JSON_STRICT | JSON_VALIDATE_ONLY,
                                "{s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:o}", "tvtools", "seconds",
                                "bytes_read", "bytes_written", "peak_resident", "peak_anonymous",
                                "chains_run", "chains");
    json_decref(json);
    return !failed;
}

int run_report_write_json(const struct run_report *r, const char *path, struct error *e)
{
    struct atomic_file file;
    json_t *json = report_to_json(r);
    int failed = atomic_file_open(&file, path, run_report_is_report, e);
    if (!failed) {
        json_dumpf(json, file.out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putc('\n', file.out);
        failed = atomic_file_close(&file, true, e);
    }
    json_decref(json);
    return failed;
}
