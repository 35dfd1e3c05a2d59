/* check: is a stream, or a model, whole and right?
 *
 *     check deltas.tvs && publish deltas.tvs
 *     tv-extract base math | trim --density 0.2 | check
 *
 * Reads everything: a stream's structure, checksums and hash are verified on the way, a
 * checkpoint's files when it is opened. Numbers that are not finite are found and counted, not
 * stumbled over; they are a fault unless --allow-nonfinite is given. Prints a line for each finding
 * and one at the end. Checksums that the writer left out are worth a warning. Exit status: 0 right,
 * 1 not.
 */
#include "filter.h"
#include "operand_source.h"
#include "run_context.h"
#include "standard_output.h"
#include "text_scanner.h"

#include <stdlib.h>

struct options {
    bool quiet;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"quiet", OPTION_FLAG, FIELD(quiet), NULL, .help = "print findings only"}, {0}};
#undef FIELD

/* Numbers that are not finite: how many, and where the first of them is. */
struct finding {
    uint64_t n, first;
};

/* What came in all. */
struct sums {
    uint64_t tensors, vectors, elements, bytes, faults;
};

/* ---- one block ----------------------------------------------------------------------------- */

static struct finding look(enum dtype d, const char *x, uint64_t first, size_t n)
{
    struct finding found = {0};
    for (size_t i = 0; dtype_is_float(d) && i < n; i++) {
        i += dtype_find_nonfinite(d, x + i * dtype_bits(d) / 8, n - i);
        if (i < n && found.n++ == 0)
            found.first = first + i;
    }
    return found;
}

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    struct finding *found = work;
    for (size_t k = 0; k < b->n_vectors; k++)
        found[k] = look(b->dtypes[k], b->data[k], b->first, b->n);
    return 0;
}

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct finding *sum = job->state;
    const struct finding *found = work;
    for (size_t k = 0; k < b->n_vectors; k++) {
        if (sum[k].n == 0)
            sum[k].first = found[k].first;
        sum[k].n += found[k].n;
    }
    return 0;
}

/* ---- the filter's life --------------------------------------------------------------------- */

static int open(struct stage *s, struct header *h, struct error *e)
{
    s->data = mem_alloc(1, sizeof(struct sums));
    return 0;
}

static int begin(struct job *job, struct error *e)
{
    job->state = arena_alloc(job->arena, job->in->n_vectors, sizeof(struct finding));
    job->work_size = job->in->n_vectors * sizeof(struct finding);
    return PLAN_REDUCE;
}

static void report(const struct job *job, const struct vector *v, const struct finding *found)
{
    const char *model = job->stage->in->models[v->model].name;
    fputs("tensor ", stdout);
    text_print_name(stdout, job->in->name, 0);
    fputs(" of ", stdout);
    text_print_name(stdout, model, 0);
    printf(": %llu number%s not finite, the first at flat index %llu\n",
           (unsigned long long)found->n, found->n == 1 ? "" : "s",
           (unsigned long long)found->first);
}

static int end(struct job *job, bool ok, struct error *e)
{
    struct sums *sums = job->stage->data;
    const struct finding *found = job->state;
    size_t n = tensor_elements(job->in);
    sums->tensors++;
    for (size_t k = 0; ok && k < job->in->n_vectors; k++) {
        const struct vector *v = &job->in->vectors[k];
        sums->vectors++;
        sums->elements += n;
        sums->bytes += n / 8 * dtype_bits(v->dtype) + n % 8 * dtype_bits(v->dtype) / 8;
        if (found[k].n == 0)
            continue;
        report(job, v, &found[k]);
        sums->faults += !job->stage->common.allow_nonfinite;
    }
    return 0;
}

static void report_sums(const struct stage *s, const struct sums *sums)
{
    fputs(sums->faults ? "complete, but with faults: " : "complete and right: ", stdout);
    text_print_count(stdout, sums->tensors, "tensor");
    fputs(", ", stdout);
    text_print_count(stdout, sums->vectors, "vector");
    fputs(", ", stdout);
    text_print_count(stdout, sums->elements, "element");
    printf(", %llu bytes of payload", (unsigned long long)sums->bytes);
    printf(" (%s)\n", stream_kind_name(s->in->kind));
}

static int close(struct stage *s, bool ok, struct error *e)
{
    struct sums *sums = s->data;
    if (ok && run_context_lacks_checksums(s))
        puts("warning: the writer left checksums out, so that not every changed byte would show");
    if (ok && !((struct options *)s->options)->quiet)
        report_sums(s, sums);
    s->exit_status = sums->faults > 0;
    free(sums);
    return ok ? standard_output_flush(e) : 0;
}

const struct filter filter_check = {
    .name = "check",
    .summary = "Read a stream or a model to its end and say whether it is whole and right",
    .operands = "[FILE|MODEL]",
    .notes = "Reads standard input without an operand. Exit status: 0 right, 1 not.\n"
             "Example: tv-extract base math | check",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = 1,
    .role = ROLE_SINK,
    .sink.source_for_operand = operand_source_filter,
    .raw_payload = true,
    .accepts_nonfinite = true,
    .open = open,
    .begin = begin,
    .observe = observe,
    .accumulate = merge,
    .end = end,
    .close = close,
};
