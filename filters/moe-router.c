/* moe-router: make the routers of a mixture of experts from hidden states
 *
 * Each expert has a few prompts that are typical of it. Its row of the router of layer l is the
 * direction in which they enter that layer:
 *
 *     r = v(positive) - v(negative),  row = r / max(|r|, 1e-8)
 *
 *     hidden       v = mean over prompts of h_l at the last token; h_l enters layer l
 *     hidden_avg   v = mean over prompts of the mean of h_l over the prompt's tokens
 *     cheap_embed  v = u / max(|u|, 1e-8), u = sum of the embeddings of all tokens of all prompts;
 *                  the same in every layer
 *
 *     states() { forward base --only hidden "$@"; }
 *     moe-router <(states --tokens 1,17,4 --tokens 1,22) <(states --tokens 1,80,9) |
 *         tv-view --values
 *
 * One stream of hidden states for each expert, in order; with --negative further streams have the
 * prompts that should not go to an expert. random and uniform_random need no streams: numbers from
 * N(0, 1), or from the uniform distribution on +-sqrt(1 / d).
 * These are the gate modes of mergekit-moe (mergekit 0.1.5), except that hidden_avg there also
 * averages over the padding of shorter prompts.
 */
#include "filter.h"
#include "matrix.h"
#include "printable.h"
#include "random.h"
#include "stage.h"
#include "stream_inputs.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIN_NORM      1e-8
#define MAX_CONDITION 5 /* of the rows of a router; beyond it a warning */
#define MAX_EXPERTS   4096

struct options {
    int mode;
    const char *negative;
    uint64_t layers, experts, hidden, seed;
};

enum { MODE_HIDDEN, MODE_HIDDEN_AVG, MODE_CHEAP_EMBED, MODE_RANDOM, MODE_UNIFORM_RANDOM };

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"gate-mode", OPTION_CHOICE, FIELD(mode), "MODE", .help = "what a row is made of",
     .choices = "hidden|hidden_avg|cheap_embed|random|uniform_random", .default_value = "hidden"},
    {"negative", OPTION_STRING, FIELD(negative), "I[,I...]",
     .help = "the last streams have the negative prompts of these experts, "
             "counted from 0"},
    {"layers", OPTION_COUNT, FIELD(layers), "N",
     .help = "cheap_embed and the random modes: number of layers",
     .range = {.low = 1, .high = 100000}},
    {"experts", OPTION_COUNT, FIELD(experts), "N", .help = "random modes: number of experts",
     .range = {.low = 1, .high = MAX_EXPERTS}},
    {"hidden-size", OPTION_COUNT, FIELD(hidden), "D", .help = "random modes: hidden size",
     .range = {.low = 1, .high = 1 << 24}},
    {"seed", OPTION_COUNT, FIELD(seed), "S", .help = "random modes: seed (default 0)",
     .default_value = "0"},
    {0}};
#undef FIELD

struct routers {
    struct stream_inputs streams;
    size_t experts, layers, hidden;
    long *negative;  /* [expert]: the stream with its negative prompts; -1: none */
    size_t *prompts; /* [stream]: how many it has */
    bool computed;
    float *rows; /* (layers, experts, hidden) */
};

static bool is_random(const struct stage *s)
{
    const struct options *o = s->options;
    return o->mode == MODE_RANDOM || o->mode == MODE_UNIFORM_RANDOM;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* x / max(|x|, 1e-8) */
static void normalize(double *x, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    double norm = fmax(sqrt(squares), MIN_NORM);
    for (size_t i = 0; i < n; i++)
        x[i] /= norm;
}

/* row = r / max(|r|, 1e-8) with r = v - negative;  v, negative (d), which is NULL without negative
 * prompts */
static void compute_row(double *v, double *negative, bool cheap_embed, size_t d, float *row)
{
    if (cheap_embed) {
        normalize(v, d);
        if (negative)
            normalize(negative, d);
    }
    for (size_t i = 0; i < d && negative; i++)
        v[i] -= negative[i];
    normalize(v, d);
    for (size_t i = 0; i < d; i++)
        row[i] = (float)v[i];
}

/* Adds to v what one prompt contributes: the last of the rows of h (T, d), or their sum, divided by
 * `divisor`. */
static void add_prompt(const float *h, size_t T, size_t d, bool last, double divisor, double *v)
{
    for (size_t t = last ? T - 1 : 0; t < T; t++)
        for (size_t i = 0; i < d; i++)
            v[i] += (double)h[t * d + i] / divisor;
}

/* The rows of a layer point in different directions: a warning if they do not. */
static int warn_if_ill_conditioned(const struct stage *s, size_t layer, struct error *e)
{
    const struct routers *r = s->data;
    size_t E = r->experts, d = r->hidden;
    double *A = mem_alloc(E * d, sizeof *A), *gram = mem_alloc(E * E, sizeof *gram);
    double *eigenvalues = mem_alloc(E, sizeof *eigenvalues);
    for (size_t i = 0; i < E * d; i++)
        A[i] = (double)r->rows[layer * E * d + i];
    matrix_gram_of_rows(E, d, 1, A, 0, gram);
    int failed = matrix_eigenvalues(E, gram, eigenvalues, e);
    double condition = sqrt(eigenvalues[E - 1] / fmax(eigenvalues[0], 0));
    if (!failed && !(condition <= MAX_CONDITION))
        printable_warning(s->name,
                          "the router of layer %zu hardly distinguishes its experts "
                          "(condition number %.3g): their prompts are too similar",
                          layer, condition);
    free(A);
    free(gram);
    free(eigenvalues);
    return failed;
}

/* ---- the streams ----------------------------------------------------------------------------- */

/* Parses "sampleI.hidden.L"; false if it is another name. */
static bool parse_state_name(const char *name, size_t *sample, size_t *state)
{
    int end = 0;
    return sscanf(name, "sample%zu.hidden.%zu%n", sample, state, &end) == 2 && !name[end];
}

/* Finds the number of samples and of hidden states of a stream, and checks that each sample has all
 * of them. */
static int check_hidden_states(const struct routers *r, size_t i, size_t *samples, size_t *states,
                               struct error *e)
{
    const struct header *h = stream_inputs_header(&r->streams, i);
    const char *path = r->streams.inputs[i].path;
    size_t sample, state, n = 0;
    *samples = *states = 0;
    for (size_t t = 0; t < h->n_tensors; t++) {
        const struct tensor *x = &h->tensors[t];
        if (!parse_state_name(x->name, &sample, &state))
            continue;
        if (x->rank != 2 || x->n_vectors != 1 || x->vectors[0].dtype != DTYPE_F32 ||
            x->shape[0] == 0 || x->shape[1] != r->hidden)
            return error_set(e, "tensor %s of %s is not a hidden state like the others", x->name,
                             path);
        *samples = sample + 1 > *samples ? sample + 1 : *samples;
        *states = state + 1 > *states ? state + 1 : *states;
        n++;
    }
    return n > 0 && n == *samples * *states
               ? 0
               : error_set(e,
                           "%s does not have the hidden states of all its samples (forward --only "
                           "hidden writes them)",
                           path);
}

/* Reads the current tensor, a hidden state (T, d). */
static int read_hidden_state(const struct stream_input *in, float *h, struct error *e)
{
    const struct tensor *t = &in->current_tensor;
    enum dtype dtype = DTYPE_F32;
    size_t first, n;
    for (size_t b = 0; b < tensor_block_count(t); b++) {
        tensor_block_range(t, b, &first, &n);
        void *to = h + first;
        struct block block = {.n = n, .n_vectors = 1, .data = &to, .dtypes = &dtype};
        if (stream_inputs_read_block(in, &block, e))
            return -1;
    }
    return 0;
}

/* Computes v of all layers from stream i, to v (layers, d). */
static int compute_prompt_directions(struct stage *s, size_t i, double *v, struct error *e)
{
    const struct options *o = s->options;
    struct routers *r = s->data;
    struct stream_input *in = &r->streams.inputs[i];
    const struct header *h = stream_inputs_header(&r->streams, i);
    size_t d = r->hidden, prompts = r->prompts[i], sample, state;
    struct arena a = {0};
    float *x = NULL;
    int failed = 0;
    memset(v, 0, r->layers * d * sizeof *v);
    for (size_t t = 0; t < h->n_tensors && !failed; t++) {
        if (!parse_state_name(h->tensors[t].name, &sample, &state) || state >= r->layers ||
            (o->mode == MODE_CHEAP_EMBED && state > 0))
            continue;
        size_t T = h->tensors[t].shape[0];
        double divisor = o->mode == MODE_CHEAP_EMBED  ? 1
                         : o->mode == MODE_HIDDEN_AVG ? (double)prompts * (double)T
                                                      : (double)prompts;
        x = mem_resize(x, T * d, sizeof *x);
        failed =
            stream_inputs_seek_tensor(&r->streams, i, t, 0, &a, e) || read_hidden_state(in, x, e);
        if (!failed)
            add_prompt(x, T, d, o->mode == MODE_HIDDEN, divisor, v + state * d);
        arena_clear(&a);
    }
    for (size_t l = 1; l < r->layers && o->mode == MODE_CHEAP_EMBED; l++)
        memcpy(v + l * d, v, d * sizeof *v);
    free(x);
    arena_free(&a);
    return failed ? -1 : 0;
}

static int compute_rows_of_expert(struct stage *s, size_t expert, struct error *e)
{
    const struct options *o = s->options;
    struct routers *r = s->data;
    size_t d = r->hidden, n = r->layers * d;
    double *v = mem_alloc(n, sizeof *v), *negative = NULL;
    int failed = compute_prompt_directions(s, expert, v, e);
    if (!failed && r->negative[expert] >= 0) {
        negative = mem_alloc(n, sizeof *negative);
        failed = compute_prompt_directions(s, (size_t)r->negative[expert], negative, e);
    }
    for (size_t l = 0; l < r->layers && !failed; l++)
        compute_row(v + l * d, negative ? negative + l * d : NULL, o->mode == MODE_CHEAP_EMBED, d,
                    r->rows + (l * r->experts + expert) * d);
    free(v);
    free(negative);
    return failed;
}

/* ---- random rows ----------------------------------------------------------------------------- */

static void draw_rows(struct stage *s, const struct tensor *t, float *to)
{
    const struct options *o = s->options;
    const struct routers *r = s->data;
    uint64_t stream = random_stream_number_of_tensor("router", t->name);
    size_t n = r->experts * r->hidden;
    float range = 1 / sqrtf((float)r->hidden);
    if (o->mode == MODE_RANDOM) {
        random_fill_normal(o->seed, stream, 0, n, to);
        return;
    }
    random_fill_uniform(o->seed, stream, 0, n, to);
    for (size_t i = 0; i < n; i++)
        to[i] = (2 * to[i] - 1) * range;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The number of experts in --negative; -1 if it is not a list of different numbers. */
static long count_negative_experts(const char *text, long *negative, size_t experts)
{
    long n = 0;
    for (const char *at = text; text && *at;) {
        char *end;
        unsigned long i = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || (*end && *end != ',') || (*end && !end[1]) || i >= experts ||
            (negative && negative[i] >= 0))
            return -1;
        if (negative)
            negative[i] = (long)experts + n;
        n++;
        at = *end ? end + 1 : end;
    }
    return n;
}

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    bool random = is_random(s), embed = o->mode == MODE_CHEAP_EMBED;
    if (random && (s->operands.n > 0 || !o->layers || !o->experts || !o->hidden))
        return error_set(e, "random routers need --layers, --experts and --hidden-size, and no "
                            "STREAM");
    if (!random && s->operands.n == 0)
        return error_set(e, "missing operand STREAM");
    if (!random && (o->experts || o->hidden || stage_is_given(s, "seed")))
        return error_set(e, "--experts, --hidden-size and --seed are for random routers");
    if (embed != (o->layers > 0) && !random)
        return error_set(e, embed ? "cheap_embed needs --layers"
                                  : "--layers is for cheap_embed and random routers");
    if (s->operands.n > 2 * MAX_EXPERTS)
        return error_set(e, "too many streams; at most %d experts are supported", MAX_EXPERTS);
    long n = count_negative_experts(o->negative, NULL, s->operands.n);
    if (n < 0 || (n > 0 && (size_t)n >= s->operands.n))
        return error_set(e,
                         "--negative=%s: expected numbers of experts, each with a stream of its "
                         "own behind those of all experts",
                         o->negative);
    return 0;
}

static int open_streams(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct routers *r = s->data;
    size_t states;
    if (stream_inputs_open(&r->streams, s, h, true, e))
        return -1;
    if (h->kind != KIND_ACTIVATIONS)
        return error_set(e, "the streams contain %s; expected hidden states, from forward",
                         stream_kind_name(h->kind));
    const struct header *first = stream_inputs_header(&r->streams, 0);
    if (first->n_tensors == 0 || first->tensors[0].rank != 2)
        return error_set(e, "%s has no hidden states", r->streams.inputs[0].path);
    r->hidden = first->tensors[0].shape[1];
    r->prompts = arena_alloc(&s->arena, r->streams.n, sizeof *r->prompts);
    for (size_t i = 0; i < r->streams.n; i++) {
        if (check_hidden_states(r, i, &r->prompts[i], &states, e))
            return -1;
        if (o->mode == MODE_CHEAP_EMBED)
            continue;
        if (i > 0 && states != r->layers + 1)
            return error_set(e, "%s has another number of layers than the first stream",
                             r->streams.inputs[i].path);
        if (states < 2)
            return error_set(e, "%s has embeddings only; expected hidden states of all layers",
                             r->streams.inputs[i].path);
        r->layers = states - 1;
    }
    r->experts = s->operands.n - (size_t)count_negative_experts(o->negative, NULL, s->operands.n);
    r->negative = mem_alloc(r->experts, sizeof *r->negative);
    for (size_t i = 0; i < r->experts; i++)
        r->negative[i] = -1;
    if (count_negative_experts(o->negative, r->negative, r->experts) < 0)
        return error_set(e, "--negative=%s: expected different numbers from 0 to %zu", o->negative,
                         r->experts - 1);
    return matrix_init(e);
}

static void list_routers(const struct routers *r, struct header *h)
{
    uint64_t shape[2] = {r->experts, r->hidden};
    struct vector v = vector_with_defaults(0, NULL, DTYPE_F32, DTYPE_NONE);
    h->n_tensors = r->layers;
    h->tensors = arena_alloc(&h->arena, r->layers, sizeof *h->tensors);
    for (size_t l = 0; l < r->layers; l++) {
        struct tensor t = {.name = arena_printf(&h->arena, "model.layers.%zu.mlp.gate.weight", l),
                           .rank = 2,
                           .shape = shape,
                           .layer = (long)l,
                           .layers = (long)r->layers,
                           .n_vectors = 1,
                           .vectors = &v,
                           .input_index = l};
        h->tensors[l] = tensor_copy(&h->arena, &t);
    }
}

static int open_routers(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct routers *r = s->data = mem_alloc(1, sizeof *r);
    r->layers = o->layers;
    r->experts = o->experts;
    r->hidden = o->hidden;
    if (is_random(s) ? header_add_model(h, "router", NULL, e) < 0 : open_streams(s, h, e))
        return -1;
    h->kind = KIND_WEIGHTS;
    h->n_models = 1; /* the model that was run */
    header_index_models(h);
    list_routers(r, h);
    return 0;
}

/* ---- payload --------------------------------------------------------------------------------- */

static int compute_all_rows(struct stage *s, struct error *e)
{
    struct routers *r = s->data;
    r->rows = mem_alloc(r->layers * r->experts * r->hidden, sizeof *r->rows);
    for (size_t i = 0; i < r->experts && !is_random(s); i++)
        if (compute_rows_of_expert(s, i, e))
            return -1;
    for (size_t l = 0; l < r->layers; l++) {
        if (is_random(s))
            draw_rows(s, &s->out->tensors[l], r->rows + l * r->experts * r->hidden);
        else if (warn_if_ill_conditioned(s, l, e))
            return -1;
    }
    r->computed = true;
    return 0;
}

static int begin_tensor(struct job *job, struct error *e)
{
    struct routers *r = job->stage->data;
    return r->computed || !compute_all_rows(job->stage, e) ? PLAN_TRANSFORM : -1;
}

static int fill_block(const struct job *job, struct block *b, struct error *e)
{
    const struct routers *r = job->stage->data;
    memcpy(b->data[0], r->rows + job->index * r->experts * r->hidden + b->first,
           b->n * sizeof *r->rows);
    return 0;
}

/* The rows are kept. */
static int rewind_routers(struct stage *s, struct error *e)
{
    return 0;
}

static int close_routers(struct stage *s, bool ok, struct error *e)
{
    struct routers *r = s->data;
    int failed = is_random(s) ? 0 : stream_inputs_close(&r->streams, s, ok, e);
    free(r->negative);
    free(r->rows);
    free(r);
    return failed;
}

const struct filter filter_moe_router = {
    .name = "moe-router",
    .summary = "Make the routers of a mixture of experts from hidden states",
    .step = STEP_WRITE,
    .operands = "[STREAM...]",
    .notes = "Each STREAM has the hidden states of an expert's prompts.\n\n"
             "  states() { forward base --only hidden \"$@\"; }\n"
             "  moe-router <(states --tokens 1,17,4) <(states --tokens 1,80,9) | tv-view --values",
    .options_size = sizeof(struct options),
    .options = rows,
    .max_operands = SIZE_MAX,
    .role = ROLE_SOURCE,
    .operands_are_files = true,
    .check_options = check_options,
    .open = open_routers,
    .begin_tensor = begin_tensor,
    .source.fill_block = fill_block,
    .source.rewind = rewind_routers,
    .close = close_routers,
};
