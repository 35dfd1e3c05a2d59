/* tv-view: show a stream, or a model, to a person or to another program
 *
 *     tv-view deltas.tvs              header, recipe, a line for each tensor, totals
 *     tv-view --header deltas.tvs     the same without waiting for the tensors
 *     tv-view --json | jq             a line for each record: header, tensors, end
 *     tv-view --values | from-text    everything as text; from-text makes the same bytes of it
 *
 * All but --header read the stream to its end, so that a broken one is told by the exit status.
 * --values writes vector after vector where the stream has them side by side: it holds one tensor.
 * The form of its text is in share/text.md.
 */
#include "decode.h"
#include "encode.h"
#include "filter.h"
#include "operand_source.h"
#include "run_context.h"
#include "standard_output.h"
#include "spool.h"
#include "text_scanner.h"
#include "text_form_print.h"

#include <stdlib.h>
#include <string.h>

#define PIECE ((size_t)1 << 16) /* elements printed at a time */

struct options {
    bool header, json, values;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"header", OPTION_FLAG, FIELD(header), NULL,
     .help = "stop after the stream header, without reading a tensor"},
    {"json", OPTION_FLAG, FIELD(json), NULL, .help = "print each record as a line of JSON"},
    {"values", OPTION_FLAG, FIELD(values), NULL,
     .help = "print everything, numbers included, as text that from-text reads back"},
    {0}};
#undef FIELD

static const struct options *options_of(const struct stage *s)
{
    return s->options;
}

static uint64_t payload_bytes(const struct tensor *t)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < t->n_vectors; k++)
        bytes += dtype_bytes(t->vectors[k].dtype, tensor_elements(t));
    return bytes;
}

/* ---- for a person -------------------------------------------------------------------------- */

static int widest(int width, const char *name)
{
    return text_print_width(name) > width ? text_print_width(name) : width;
}

static int shape_width(const struct tensor *t)
{
    int width = t->rank ? (int)t->rank - 1 : 6;
    for (size_t i = 0; i < t->rank; i++)
        width += snprintf(NULL, 0, "%llu", (unsigned long long)t->shape[i]);
    return width;
}

static void show_models(const struct header *h)
{
    int name = 5, role = 4;
    for (size_t i = 0; i < h->n_models; i++) {
        name = widest(name, h->models[i].name);
        role = widest(role, h->models[i].role ? h->models[i].role : "");
    }
    printf("\n%-*s  %-*s  fingerprint\n", name, "model", role, "role");
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        text_print_name(stdout, m->name, name);
        fputs("  ", stdout);
        text_print_name(stdout, m->role ? m->role : "-", role);
        fputs("  ", stdout);
        if (m->has_fingerprint)
            text_print_hash(stdout, m->fingerprint);
        puts(m->has_fingerprint ? "" : "-");
    }
}

static void show_history(const struct history *history, int indent)
{
    for (size_t i = 0; i < history->n; i++) {
        const struct history_step *s = &history->steps[i];
        printf("%*s%zu. ", indent, "", i + 1);
        text_print_name(stdout, s->tool, 0);
        for (size_t j = 0; j < s->n_arguments; j++) {
            putchar(' ');
            text_print_word(stdout, s->arguments[j]);
        }
        fputs("  (", stdout);
        text_print_name(stdout, s->version, 0);
        puts(")");
        for (size_t j = 0; j < s->n_parents; j++) {
            printf("%*sinput %zu:\n", indent + 3, "", j + 1);
            show_history(&s->parents[j], indent + 6);
        }
    }
}

/* The widths of the table's columns; a model without vectors has none. */
struct table {
    int name, shape;
    int *models; /* [model] */
};

static struct table *table_new(const struct header *h)
{
    struct table *table = mem_alloc(1, sizeof *table);
    *table = (struct table){6, 5, mem_alloc(h->n_models, sizeof(int))};
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        table->name = widest(table->name, t->name);
        table->shape = shape_width(t) > table->shape ? shape_width(t) : table->shape;
        for (size_t k = 0; k < t->n_vectors; k++) {
            int *width = &table->models[t->vectors[k].model];
            *width = widest(widest(*width, h->models[t->vectors[k].model].name),
                            dtype_name(t->vectors[k].dtype));
        }
    }
    printf("\n%-*s  %-*s  layer ", table->name, "tensor", table->shape, "shape");
    for (size_t i = 0; i < h->n_models; i++)
        if (table->models[i]) {
            fputs("  ", stdout);
            text_print_name(stdout, h->models[i].name, table->models[i]);
        }
    puts("");
    return table;
}

/* What is not as usual with a vector: "math: weight 0.5, keep 0.2". */
static void show_attributes(const struct vector *v, const char *model)
{
    char number[32];
    bool weighted = vector_is_weighted(v), l1 = !isnan(v->l1_before),
         keep = !isnan(v->keep_probability);
    if (!weighted && !l1 && !keep)
        return;
    fputs("  ", stdout);
    text_print_name(stdout, model, 0);
    putchar(':');
    if (weighted && v->n_weights == 1)
        printf(" weight %s", number_format(v->weights[0], number));
    else if (weighted)
        printf(" %zu weights", v->n_weights);
    if (l1)
        printf(" l1_before %.4g", v->l1_before);
    if (keep)
        printf(" keep %s", number_format(v->keep_probability, number));
}

static void show_tensor(const struct table *table, const struct header *h, const struct tensor *t)
{
    text_print_name(stdout, t->name, table->name);
    fputs("  ", stdout);
    text_form_print_shape(t);
    printf("%*s  ", table->shape - shape_width(t), "");
    if (t->layer >= 0)
        printf("%3ld/%-2ld", t->layer, t->layers);
    else
        fputs("   -  ", stdout);
    size_t k = 0;
    for (size_t i = 0; i < h->n_models; i++) {
        bool there = k < t->n_vectors && t->vectors[k].model == i;
        if (table->models[i])
            printf("  %-*s", table->models[i], there ? dtype_name(t->vectors[k].dtype) : "-");
        k += there;
    }
    for (k = 0; k < t->n_vectors; k++)
        show_attributes(&t->vectors[k], h->models[t->vectors[k].model].name);
    puts("");
}

static void show_totals(const struct header *h)
{
    uint64_t vectors = 0, elements = 0, bytes = 0;
    for (size_t i = 0; i < h->n_tensors; i++) {
        vectors += h->tensors[i].n_vectors;
        elements += tensor_elements(&h->tensors[i]);
        bytes += payload_bytes(&h->tensors[i]);
    }
    puts("");
    text_print_count(stdout, h->n_tensors, "tensor");
    fputs(", ", stdout);
    text_print_count(stdout, vectors, "vector");
    printf(", %llu elements a model, %llu bytes of payload\n", (unsigned long long)elements,
           (unsigned long long)bytes);
}

static void show_hashes(const struct stage *s)
{
    const char *const *models;
    const uint64_t *hashes;
    size_t n = run_context_model_hashes(s, &models, &hashes);
    for (size_t i = 0; i < n; i++) {
        fputs("full hash of ", stdout);
        text_print_name(stdout, models[i], 0);
        fputs(": ", stdout);
        text_print_hash(stdout, hashes[i]);
        puts("");
    }
}

static struct table *show_header(const struct header *h)
{
    printf("kind      %s\n", stream_kind_name(h->kind));
    if (h->input_rounding)
        printf("rounding  %s\n", dtype_name(h->input_rounding));
    show_models(h);
    if (h->history.n) {
        puts("\nrecipe");
        show_history(&h->history, 2);
    }
    return table_new(h);
}

/* ---- as JSON ------------------------------------------------------------------------------- */

static void put_json(struct bytes *b)
{
    record_json_print(stdout, b->data, b->size);
    puts("");
    bytes_free(b);
}

static void put_json_header(const struct header *h)
{
    struct bytes b = {0};
    encode_header(&b, h);
    put_json(&b);
}

static void put_json_end(const struct stage *s)
{
    struct end_record end = {.tensors = s->in->n_tensors, .has_hash = true};
    struct bytes b = {0};
    const char *const *models;
    for (size_t i = 0; i < s->in->n_tensors; i++)
        end.payload_bytes += payload_bytes(&s->in->tensors[i]);
    end.n_hashes = run_context_model_hashes(s, &models, &end.hashes);
    end.hashed_models = (const char **)models;
    encode_end(&b, &end);
    put_json(&b);
}

/* ---- as text for from-text ----------------------------------------------------------------- */

/* The rows of a vector, out of the spool. */
static int put_rows(const struct spool *spool, uint64_t at, const struct tensor *t, enum dtype d,
                    struct error *e)
{
    size_t all = tensor_elements(t), step = dtype_bits(d) % 8 ? all : PIECE;
    void *bytes = mem_alloc(dtype_bytes(d, step < all ? step : all) + 1, 1);
    int failed = 0;
    for (size_t first = 0; first < all && !failed; first += step) {
        size_t n = all - first < step ? all - first : step;
        failed = spool_read(spool, at + dtype_bytes(d, first), bytes, dtype_bytes(d, n), e);
        if (!failed)
            text_print_elements(stdout, d, tensor_columns(t), first, n, bytes);
    }
    free(bytes);
    return failed;
}

static int put_values(const struct job *job, const struct spool *spool, struct error *e)
{
    const struct tensor *t = job->in, *announced = &job->stage->in->tensors[job->index];
    uint64_t at = 0;
    text_form_print_tensor(t, announced);
    for (size_t k = 0; k < t->n_vectors; k++) {
        const struct vector *v = &t->vectors[k];
        text_form_print_vector(job->stage->in, t, announced, k);
        if (put_rows(spool, at, t, v->dtype, e))
            return -1;
        at += dtype_bytes(v->dtype, tensor_elements(t));
    }
    return ferror(stdout) ? standard_output_flush(e) : 0;
}

/* ---- the filter's life --------------------------------------------------------------------- */

static int open(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = options_of(s);
    if (o->values && (o->json || o->header))
        return error_set(e, "--values goes with neither --json nor --header");
    s->stop_after_open = o->header;
    if (o->json)
        put_json_header(s->in);
    else if (o->values)
        text_form_print_header(s->in);
    else
        s->data = show_header(s->in);
    for (size_t i = 0; o->header && s->data && i < s->in->n_tensors; i++)
        show_tensor(s->data, s->in, &s->in->tensors[i]);
    return 0;
}

static int begin(struct job *job, struct error *e)
{
    struct stage *s = job->stage;
    struct bytes b = {0};
    if (options_of(s)->values) {
        job->state = spool_new(s->common.memory, s->common.spool);
        return spool_reserve(job->state, payload_bytes(job->in), e) ? -1 : PLAN_TRANSFORM;
    }
    if (options_of(s)->json) {
        encode_tensor(&b, job->in);
        put_json(&b);
    } else {
        show_tensor(s->data, s->in, job->in);
    }
    return ferror(stdout) ? standard_output_flush(e) : PLAN_PASS_THROUGH;
}

static int consume(struct job *job, const struct block *b, struct error *e)
{
    uint64_t at = 0;
    for (size_t k = 0; k < b->n_vectors; k++) {
        enum dtype d = b->dtypes[k];
        if (spool_write(job->state, at + dtype_bytes(d, b->first), b->data[k], dtype_bytes(d, b->n),
                        e))
            return -1;
        at += dtype_bytes(d, tensor_elements(job->in));
    }
    return 0;
}

static int end(struct job *job, bool ok, struct error *e)
{
    int failed = ok && job->state ? put_values(job, job->state, e) : 0;
    spool_free(job->state);
    return failed;
}

static int close(struct stage *s, bool ok, struct error *e)
{
    const struct options *o = options_of(s);
    struct table *table = s->data;
    if (table)
        free(table->models);
    free(table);
    if (ok && o->values)
        text_form_print_hashes(s);
    if (ok && o->json && !o->header)
        put_json_end(s);
    if (ok && !o->json && !o->values) {
        show_totals(s->in);
        show_hashes(s);
    }
    return ok ? standard_output_flush(e) : 0;
}

const struct filter filter_tv_view = {
    .name = "tv-view",
    .summary = "Show what a stream or a model holds",
    .operands = "[FILE|MODEL]",
    .notes = "Reads standard input without an operand.\n"
             "Example: tv-extract base math | trim --density 0.2 | tv-view",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = 1,
    .role = ROLE_SINK,
    .sink.source_for_operand = operand_source_filter,
    .raw_payload = true,
    .accepts_nonfinite = true,
    .open = open,
    .begin = begin,
    .sink.consume = consume,
    .end = end,
    .close = close,
};
