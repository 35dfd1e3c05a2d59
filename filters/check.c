/* check: verify a stream or a model
 *
 *     check deltas.tvs && publish deltas.tvs
 *     tv-extract base math | trim --density 0.2 | check
 *
 * Reads everything: the structure, checksums and hash of a stream, or the files of a checkpoint,
 * are verified when they are read. NaN and infinity are counted; they make the stream invalid
 * unless --allow-nonfinite is given. Prints a line for each finding and one at the end; warns if
 * the writer omitted checksums. Exit status: 0 valid, 1 not.
 */
#include "filter.h"
#include "json_print.h"
#include "operand_source.h"
#include "printable.h"
#include "source_sink_services.h"
#include "standard_output.h"
#include "stream_totals.h"
#include "text_print.h"

#include <stdlib.h>

struct options {
    bool json;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"json", OPTION_FLAG, FIELD(json), NULL, .help = "print lines of JSON instead of text"}, {0}};
#undef FIELD

/* The non-finite numbers of a vector. */
struct nonfinite {
    uint64_t n;
    uint64_t first; /* flat index of the first */
};

/* The whole run. */
struct result {
    uint64_t findings, faults;
};

/* ---- one block ----------------------------------------------------------------------------- */

static struct nonfinite count_nonfinite(enum dtype d, const char *x, uint64_t first, size_t n)
{
    struct nonfinite found = {0};
    for (size_t i = 0; dtype_is_float(d) && i < n; i++) {
        i += dtype_find_nonfinite(d, x + i * dtype_bits(d) / 8, n - i);
        if (i < n && found.n++ == 0)
            found.first = first + i;
    }
    return found;
}

static int observe_block(const struct job *job, const struct block *b, void *work, struct error *e)
{
    struct nonfinite *found = work;
    for (size_t k = 0; k < b->n_vectors; k++)
        found[k] = count_nonfinite(b->dtypes[k], b->data[k], b->first, b->n);
    return 0;
}

static int accumulate_block(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct nonfinite *sum = job->state;
    const struct nonfinite *found = work;
    for (size_t k = 0; k < b->n_vectors; k++) {
        if (sum[k].n == 0)
            sum[k].first = found[k].first;
        sum[k].n += found[k].n;
    }
    return 0;
}

/* ---- the functions of the descriptor ------------------------------------------------------- */

static int open(struct stage *s, struct header *h, struct error *e)
{
    s->data = mem_alloc(1, sizeof(struct result));
    return 0;
}

static int begin_tensor(struct job *job, struct error *e)
{
    job->state = arena_alloc(job->arena, job->in->n_vectors, sizeof(struct nonfinite));
    job->work_size = job->in->n_vectors * sizeof(struct nonfinite);
    return PLAN_REDUCE;
}

static void print_nonfinite_finding(const struct job *job, size_t k, const struct nonfinite *found)
{
    const struct options *o = job->stage->options;
    const char *model = job->stage->in->models[job->in->vectors[k].model].name;
    const char *sentence = arena_printf(
        job->arena, "%llu non-finite number%s, the first at flat index %llu",
        (unsigned long long)found->n, found->n == 1 ? "" : "s", (unsigned long long)found->first);
    if (o->json) {
        json_print_text("{\"tensor\": ", job->in->name);
        json_print_text(", \"model\": ", model);
        json_print_text(", \"finding\": ", sentence);
        json_print_count(", \"nonfinite\": ", found->n);
        json_print_count(", \"first_index\": ", found->first);
        puts("}");
        return;
    }
    fputs("tensor ", stdout);
    text_print_name(stdout, job->in->name, 0);
    fputs(" of ", stdout);
    text_print_name(stdout, model, 0);
    printf(": %s\n", sentence);
}

static int end_tensor(struct job *job, bool ok, struct error *e)
{
    struct result *result = job->stage->data;
    const struct nonfinite *found = job->state;
    for (size_t k = 0; ok && k < job->in->n_vectors; k++) {
        if (found[k].n == 0)
            continue;
        print_nonfinite_finding(job, k, &found[k]);
        result->findings++;
        result->faults += !job->stage->common.allow_nonfinite;
    }
    return 0;
}

static void print_summary(const struct stage *s, bool valid)
{
    struct stream_totals totals = stream_totals_count(s->in);
    fputs(valid ? "OK: " : "readable but invalid: ", stdout);
    stream_totals_print(&totals, false);
    printf(" (%s)\n", stream_kind_name(s->in->kind));
}

static void print_summary_as_json(const struct stage *s, bool valid)
{
    const struct result *result = s->data;
    struct stream_totals totals = stream_totals_count(s->in);
    json_print_bool("{\"valid\": ", valid);
    json_print_text(", \"kind\": ", stream_kind_name(s->in->kind));
    json_print_count(", \"tensors\": ", totals.tensors);
    json_print_count(", \"vectors\": ", totals.vectors);
    json_print_count(", \"elements\": ", totals.elements);
    json_print_count(", \"bytes\": ", totals.payload_bytes);
    json_print_count(", \"findings\": ", result->findings);
    json_print_bool(", \"checksums\": ", !source_sink_services_lacks_checksums(s));
    puts("}");
}

static int close(struct stage *s, bool ok, struct error *e)
{
    const struct options *o = s->options;
    struct result *result = s->data;
    bool valid = result->faults == 0;
    if (ok && source_sink_services_lacks_checksums(s))
        printable_warning(s->name, "the stream lacks checksums, so corruption may go "
                                   "undetected");
    if (ok && !s->common.quiet)
        o->json ? print_summary_as_json(s, valid) : print_summary(s, valid);
    s->exit_status = !valid;
    free(result);
    return ok ? standard_output_flush(e) : 0;
}

const struct filter filter_check = {
    .name = "check",
    .summary = "Verify a stream or a model",
    .step = STEP_LOOK,
    .operands = "[FILE|MODEL]",
    .notes = "Without an operand, reads standard input. With --quiet, prints findings only. Exit "
             "status: 0 valid, 1 not.\n\n"
             "  tv-extract base math | check",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = 1,
    .role = ROLE_SINK,
    .sink.source_for_operand = operand_source_choose_filter,
    .raw_payload = true,
    .accepts_nonfinite = true,
    .open = open,
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .accumulate_block = accumulate_block,
    .end_tensor = end_tensor,
    .close = close,
};
