/* tv-view: print a stream, or a model, for a person or for another program
 *
 *     tv-view deltas.tvs              header, recipe, one line per tensor, totals
 *     tv-view --header deltas.tvs     the same without reading the tensors
 *     tv-view --json | jq             one line per record: header, tensors, end
 *     tv-view --values | from-text    everything as text, which from-text converts back
 *
 * Except with --header, the stream is read to its end, so that the exit status reports a broken
 * stream. On a terminal, long names are shortened so that the lines of the tables fit. --values
 * prints one vector after another, whereas a stream interleaves the vectors of a tensor; it holds
 * one tensor. share/text.md describes the text form.
 */
#include "element_text.h"
#include "encode.h"
#include "filter.h"
#include "operand_source.h"
#include "record_json.h"
#include "source_sink_services.h"
#include "spool.h"
#include "standard_output.h"
#include "stream_totals.h"
#include "text_form_print.h"
#include "text_print.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)1 << 16) /* elements printed at a time */

struct options {
    bool header, json, values;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"header", OPTION_FLAG, FIELD(header), NULL,
     .help = "stop after the stream header, without reading any tensor"},
    {"json", OPTION_FLAG, FIELD(json), NULL, .help = "print each record as a line of JSON"},
    {"values", OPTION_FLAG, FIELD(values), NULL,
     .help = "print everything, including the numbers, as text that from-text converts back"},
    {0}};
#undef FIELD

static const struct options *options_of(const struct stage *s)
{
    return s->options;
}

/* ---- as a table ---------------------------------------------------------------------------- */

static int compute_shape_width(const struct tensor *t)
{
    int width = t->rank ? (int)t->rank - 1 : 6;
    for (size_t i = 0; i < t->rank; i++)
        width += snprintf(NULL, 0, "%llu", (unsigned long long)t->shape[i]);
    return width;
}

static bool any_model_has_hub_name(const struct header *h)
{
    bool has = false;
    for (size_t i = 0; i < h->n_models; i++)
        has |= h->models[i].hub != NULL;
    return has;
}

static void print_hub_name(const struct model *m)
{
    if (!m->hub)
        return;
    fputs("  ", stdout);
    text_print_name(stdout, m->hub, 0);
    putchar(' ');
    text_print_name(stdout, m->commit ? m->commit : "", 0);
}

static void print_models(const struct header *h)
{
    int name_width = 5, role_width = 4;
    for (size_t i = 0; i < h->n_models; i++) {
        const char *role = h->models[i].role ? h->models[i].role : "";
        name_width = text_print_max_name_width(name_width, h->models[i].name);
        role_width = text_print_max_name_width(role_width, role);
    }
    text_print_fit_names(&name_width, &role_width, 4 + 16, standard_output_columns());
    printf("\n%-*s  %-*s  fingerprint%s\n", name_width, "model", role_width, "role",
           any_model_has_hub_name(h) ? "       Hub, commit" : "");
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        text_print_fitted_name(stdout, m->name, name_width);
        fputs("  ", stdout);
        text_print_fitted_name(stdout, m->role ? m->role : "-", role_width);
        fputs("  ", stdout);
        if (m->has_fingerprint)
            text_print_hash(stdout, m->fingerprint);
        else
            printf(m->hub ? "%-16s" : "%s", "-");
        print_hub_name(m);
        if (m->quantization) {
            fputs("  ", stdout);
            text_print_name(stdout, m->quantization, 0);
        }
        puts("");
    }
}

static void print_history(const struct history *history, int indent)
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
            print_history(&s->parents[j], indent + 6);
        }
    }
}

/* The widths of the columns of the tensors' table. */
struct table {
    int name, shape;
    int *models; /* [model]; 0: the model has no vectors and no column */
    int *dtypes; /* [model]: of the widest dtype in that column */
};

/* Narrows the columns of names so that a line fits into the terminal, if that is possible: first
 * those of models to a few characters, then that of tensors, then those of models to their dtypes.
 */
static void fit_into_terminal(struct table *table, size_t n_models)
{
    int columns = standard_output_columns(), excess = table->name + 2 + table->shape + 8 - columns;
    for (size_t i = 0; i < n_models; i++)
        excess += table->models[i] ? 2 + table->models[i] : 0;
    for (size_t i = 0; i < n_models && columns; i++)
        text_print_narrow_column(&table->models[i], TEXT_PRINT_LEAST_MODEL_WIDTH, &excess);
    if (columns)
        text_print_narrow_column(&table->name, TEXT_PRINT_LEAST_TENSOR_WIDTH, &excess);
    for (size_t i = 0; i < n_models && columns; i++)
        text_print_narrow_column(&table->models[i], table->dtypes[i], &excess);
}

static struct table *table_new(const struct header *h)
{
    struct table *table = mem_alloc(1, sizeof *table);
    *table = (struct table){6, 5, mem_alloc(h->n_models, sizeof(int)),
                            mem_alloc(h->n_models, sizeof(int))};
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        table->name = text_print_max_name_width(table->name, t->name);
        table->shape =
            compute_shape_width(t) > table->shape ? compute_shape_width(t) : table->shape;
        for (size_t k = 0; k < t->n_vectors; k++) {
            const struct vector *v = &t->vectors[k];
            int width =
                text_print_max_name_width(table->models[v->model], h->models[v->model].name);
            table->models[v->model] = text_print_max_name_width(width, dtype_name(v->dtype));
            table->dtypes[v->model] =
                text_print_max_name_width(table->dtypes[v->model], dtype_name(v->dtype));
        }
    }
    fit_into_terminal(table, h->n_models);
    return table;
}

static void table_free(struct table *table)
{
    if (table) {
        free(table->models);
        free(table->dtypes);
    }
    free(table);
}

static void print_titles(const struct table *table, const struct header *h)
{
    printf("\n%-*s  %-*s  layer ", table->name, "tensor", table->shape, "shape");
    for (size_t i = 0; i < h->n_models; i++)
        if (table->models[i]) {
            fputs("  ", stdout);
            text_print_fitted_name(stdout, h->models[i].name, table->models[i]);
        }
    puts("");
}

/* Prints the vectors that a join merged, with their weights: " joined math 0.6 code 0.4". */
static void print_joined_vectors(size_t n, const struct joined_vector *joined)
{
    char number[32];
    fputs(" joined", stdout);
    for (size_t i = 0; i < n; i++) {
        const struct joined_vector *v = &joined[i];
        putchar(' ');
        text_print_name(stdout, v->name, 0);
        if (v->n_weights == 1)
            printf(" %s", number_format(v->weights[0], number));
        else
            printf(" (%zu weights)", v->n_weights);
    }
}

/* Prints a weight other than 1, payload attributes, and what a join merged: "  math: weight 0.5
 * keep 0.2". */
static void print_attributes(const struct vector *v, const char *model)
{
    char number[32];
    bool weighted = vector_is_weighted(v), before = !isnan(v->l1_before), l1 = !isnan(v->l1),
         keep = !isnan(v->keep_probability);
    if (!weighted && !before && !l1 && !keep && !v->n_joined)
        return;
    fputs("  ", stdout);
    text_print_name(stdout, model, 0);
    putchar(':');
    if (weighted && v->n_weights == 1)
        printf(" weight %s", number_format(v->weights[0], number));
    else if (weighted)
        printf(" %zu weights", v->n_weights);
    if (v->n_joined)
        print_joined_vectors(v->n_joined, v->joined);
    if (before)
        printf(" l1_before %.4g", v->l1_before);
    if (l1)
        printf(" l1 %.4g", v->l1);
    if (keep)
        printf(" keep %s", number_format(v->keep_probability, number));
}

static void print_tensor_line(const struct table *table, const struct header *h,
                              const struct tensor *t)
{
    text_print_fitted_name(stdout, t->name, table->name);
    fputs("  ", stdout);
    text_form_print_shape(t);
    printf("%*s  ", table->shape - compute_shape_width(t), "");
    if (t->layer >= 0)
        printf("%3ld/%-2ld", t->layer, t->layers);
    else
        fputs("   -  ", stdout);
    size_t k = 0;
    for (size_t i = 0; i < h->n_models; i++) {
        bool has_vector = k < t->n_vectors && t->vectors[k].model == i;
        if (table->models[i])
            printf("  %-*s", table->models[i], has_vector ? dtype_name(t->vectors[k].dtype) : "-");
        k += has_vector;
    }
    for (k = 0; k < t->n_vectors; k++)
        print_attributes(&t->vectors[k], h->models[t->vectors[k].model].name);
    puts("");
}

static void print_totals(const struct header *h)
{
    struct stream_totals totals = stream_totals_count(h);
    puts("");
    stream_totals_print(&totals, true);
    puts("");
}

static void print_hashes(const struct stage *s)
{
    const char *const *models;
    const uint64_t *hashes;
    size_t n = source_sink_services_get_model_hashes(s, &models, &hashes);
    for (size_t i = 0; i < n; i++) {
        fputs("full hash of ", stdout);
        text_print_name(stdout, models[i], 0);
        fputs(": ", stdout);
        text_print_hash(stdout, hashes[i]);
        puts("");
    }
}

static struct table *print_header(const struct header *h)
{
    struct table *table = table_new(h);
    printf("kind      %s\n", stream_kind_name(h->kind));
    if (h->input_rounding)
        printf("rounding  %s\n", dtype_name(h->input_rounding));
    print_models(h);
    if (h->history.n) {
        puts("\nrecipe");
        print_history(&h->history, 2);
    }
    print_titles(table, h);
    return table;
}

/* ---- as JSON ------------------------------------------------------------------------------- */

/* Prints an encoded record, and frees it. */
static void print_json(struct bytes *b)
{
    record_json_print(stdout, b->data, b->size);
    puts("");
    bytes_free(b);
}

static void print_json_header(const struct header *h)
{
    struct bytes b = {0};
    encode_header(&b, h);
    print_json(&b);
}

static void print_json_end(const struct stage *s)
{
    struct stream_totals totals = stream_totals_count(s->in);
    struct end_record end = {
        .tensors = totals.tensors, .payload_bytes = totals.payload_bytes, .has_hash = true};
    struct bytes b = {0};
    const char *const *models;
    end.n_hashes = source_sink_services_get_model_hashes(s, &models, &end.hashes);
    end.hashed_models = (const char **)models;
    encode_end_record(&b, &end);
    print_json(&b);
}

/* ---- as text for from-text ----------------------------------------------------------------- */

/* Prints the rows of a vector, which starts at `offset` in the spool. */
static int print_vector_rows(const struct spool *spool, uint64_t offset, const struct tensor *t,
                             enum dtype d, struct error *e)
{
    size_t all = tensor_elements(t), chunk = dtype_bits(d) % 8 ? all : CHUNK;
    void *bytes = mem_alloc(dtype_bytes(d, chunk < all ? chunk : all) + 1, 1);
    int failed = 0;
    for (size_t first = 0; first < all && !failed; first += chunk) {
        size_t n = all - first < chunk ? all - first : chunk;
        failed = spool_read_at(spool, offset + dtype_bytes(d, first), bytes, dtype_bytes(d, n), e);
        if (!failed)
            element_text_print_rows(stdout, d, tensor_columns(t), first, n, bytes);
    }
    free(bytes);
    return failed;
}

/* Prints a tensor, whose vectors are in the spool one after another. */
static int print_values(const struct job *job, const struct spool *spool, struct error *e)
{
    const struct tensor *t = job->in, *entry = &job->stage->in->tensors[job->index];
    uint64_t offset = 0;
    text_form_print_tensor(t, entry);
    for (size_t k = 0; k < t->n_vectors; k++) {
        enum dtype d = t->vectors[k].dtype;
        text_form_print_vector(job->stage->in, t, entry, k);
        if (print_vector_rows(spool, offset, t, d, e))
            return -1;
        offset += dtype_bytes(d, tensor_elements(t));
    }
    return ferror(stdout) ? standard_output_flush(e) : 0;
}

/* ---- the functions of the descriptor ------------------------------------------------------- */

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = options_of(s);
    return o->values && (o->json || o->header)
               ? error_set(e, "--values cannot be combined with --json or --header")
               : 0;
}

static int open(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = options_of(s);
    s->stop_after_open = o->header;
    if (o->json)
        print_json_header(s->in);
    else if (o->values)
        text_form_print_header(s->in);
    else
        s->data = print_header(s->in);
    for (size_t i = 0; o->header && s->data && i < s->in->n_tensors; i++)
        print_tensor_line(s->data, s->in, &s->in->tensors[i]);
    return 0;
}

static int begin_tensor(struct job *job, struct error *e)
{
    struct stage *s = job->stage;
    struct bytes b = {0};
    if (options_of(s)->values) {
        job->state = spool_new(s->common.memory, s->common.spool);
        uint64_t size = stream_totals_tensor_bytes(job->in);
        return spool_reserve(job->state, size, e) ? -1 : PLAN_TRANSFORM;
    }
    if (options_of(s)->json) {
        encode_tensor_record(&b, job->in);
        print_json(&b);
    } else {
        print_tensor_line(s->data, s->in, job->in);
    }
    return ferror(stdout) ? standard_output_flush(e) : PLAN_PASS_THROUGH;
}

static int consume_block(struct job *job, const struct block *b, struct error *e)
{
    uint64_t vector = 0; /* offset of the vector's first byte */
    for (size_t k = 0; k < b->n_vectors; k++) {
        enum dtype d = b->dtypes[k];
        uint64_t offset = vector + dtype_bytes(d, b->first);
        if (spool_write_at(job->state, offset, b->data[k], dtype_bytes(d, b->n), e))
            return -1;
        vector += dtype_bytes(d, tensor_elements(job->in));
    }
    return 0;
}

static int end_tensor(struct job *job, bool ok, struct error *e)
{
    int failed = ok && job->state ? print_values(job, job->state, e) : 0;
    spool_free(job->state);
    return failed;
}

static int close(struct stage *s, bool ok, struct error *e)
{
    const struct options *o = options_of(s);
    table_free(s->data);
    if (ok && o->values)
        text_form_print_hashes(s);
    if (ok && o->json && !o->header)
        print_json_end(s);
    if (ok && !o->json && !o->values) {
        print_totals(s->in);
        print_hashes(s);
    }
    return ok ? standard_output_flush(e) : 0;
}

const struct filter filter_tv_view = {
    .name = "tv-view",
    .summary = "Print the contents of a stream or a model",
    .step = STEP_LOOK,
    .operands = "[FILE|MODEL]",
    .notes = "Without an operand, reads standard input.\n\n"
             "  tv-extract base math | trim --density 0.2 | tv-view",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = 1,
    .role = ROLE_SINK,
    .sink.source_for_operand = operand_source_choose_filter,
    .sink.prints_while_running = true,
    .raw_payload = true,
    .accepts_nonfinite = true,
    .check_options = check_options,
    .open = open,
    .begin_tensor = begin_tensor,
    .sink.consume_block = consume_block,
    .end_tensor = end_tensor,
    .close = close,
};
