/* forward: what a language model computes on samples
 *
 *     sampleI.hidden.0    (T, d)   the embeddings of sample I, counted from 0; of its images what
 *                                  vision tower and projector make of them
 *     sampleI.hidden.l    (T, d)   the residual stream behind decoder layer l, 0 < l < L
 *     sampleI.hidden.L    (T, d)   behind the final norm
 *     sampleI.logits      (T, V)
 *
 *     forward merged --samples few.jsonl | tv-view --values
 *     tv-diff <(forward a --samples few.jsonl) <(forward b --samples few.jsonl) --tolerance 1e-3
 *
 * The hidden states are those that transformers calls hidden_states. Arithmetic is F32, whatever
 * the file's dtype. The samples pass the model layer by layer together; their states are kept (in
 * memory up to --memory, then in a temporary file), logits are made of the last ones when they
 * leave, some tokens at a time.
 */
#include "filter.h"
#include "model_weights.h"
#include "gemm.h"
#include "samples.h"
#include "image_features.h"
#include "spool.h"
#include "stage.h"

#include <stdlib.h>
#include <string.h>

#define GROUP 8192 /* tokens that pass the model together */
#define ROOM  1024 /* tokens that are in a layer at once */

struct options {
    struct string_list samples;
    const char *config;
    int only;
};
enum { ONLY_HIDDEN, ONLY_LOGITS };

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"samples", OPTION_STRINGS, FIELD(samples), "FILE",
     .help = "samples as JSON Lines with input_ids, or a folder of them with images; may be "
             "repeated",
     .required = true, .not_in_history = true},
    {"only", OPTION_CHOICE, FIELD(only), "hidden|logits", .help = "put out only these",
     .choices = "hidden|logits"},
    {"config", OPTION_FILE, FIELD(config), "FILE",
     .help = "a config.json in place of the model's own"},
    {0}};
#undef FIELD

/* A tensor of the stream: logits, or a hidden state. */
struct output {
    const char *name;
    size_t sample;
    long state; /* -1: logits */
};

struct run {
    struct model_weights *model;
    struct samples samples;
    size_t *starts; /* [samples + 1]: of their tokens among all */
    size_t n_outputs;
    struct output *outputs; /* as in the manifest */
    size_t first_state;     /* hidden states from this one on are kept */
    struct lm *lm;
    struct spool *states; /* (kept states, N, d) */
    bool computed;
    /* The logits at hand, of `count` tokens from `token` on, and the states they are made of. */
    float *logits, *h;
    size_t token, count;
};

static const struct arch *arch_of(const struct run *r)
{
    return model_weights_arch(r->model);
}

/* Where in the spool token t of a state lies. */
static uint64_t place(const struct run *r, size_t state, size_t t)
{
    size_t N = r->starts[r->samples.n];
    return ((uint64_t)(state - r->first_state) * N + t) * arch_of(r)->hidden * sizeof(float);
}

/* ---- hidden states --------------------------------------------------------------------------- */

struct group {
    struct run *run;
    size_t first, tokens; /* among the tokens of all samples */
};

/* State L of lm.h is not among the hidden states: L + 1 is, as the last. */
static int keep(void *context, size_t state, const float *x, struct error *e)
{
    const struct group *g = context;
    size_t L = arch_of(g->run)->layers, bytes = g->tokens * arch_of(g->run)->hidden * sizeof *x;
    if (state == L || (state == L + 1 ? L : state) < g->run->first_state)
        return 0;
    return spool_write(g->run->states, place(g->run, state == L + 1 ? L : state, g->first), x,
                       bytes, e);
}

static int compute_group(struct run *r, const struct token_batch *p, size_t first_sample,
                         struct error *e)
{
    struct group g = {r, r->starts[first_sample], token_batch_tokens(p)};
    const struct state_hook keeper = {&g, keep};
    float *x = mem_alloc_aligned(g.tokens * arch_of(r)->hidden * sizeof *x);
    int failed = lm_forward(r->lm, p, x, &keeper, e);
    free(x);
    return failed;
}

static int compute(struct stage *stage, struct error *e)
{
    struct run *r = stage->data;
    const struct arch *a = arch_of(r);
    struct sequence *all = mem_alloc(r->samples.n, sizeof *all);
    struct token_batch p;
    for (size_t s = 0; s < r->samples.n; s++)
        all[s] = samples_sequence(&r->samples, s);
    token_batch_build(&p, a, all, r->samples.n);
    free(all);
    size_t room = token_batch_tokens(&p) < ROOM ? token_batch_tokens(&p) : ROOM;
    r->lm = lm_new(a, model_weights_weight_source(r->model), room, token_batch_longest(&p));
    struct image_features *sights = image_features_compute(
        a, model_weights_weight_source(r->model), r->samples.images.images, r->samples.images.n,
        NULL, stage->common.memory / 2, stage->common.spool, e);
    lm_set_image_features(r->lm, sights);
    int failed = sights ? spool_reserve(r->states, place(r, a->layers + 1, 0), e) : -1;
    for (size_t s = 0; s < p.samples && !failed;) {
        struct token_batch part = token_batch_slice(&p, a, s, GROUP);
        failed = compute_group(r, &part, s, e);
        s += part.samples;
    }
    image_features_free(sights);
    token_batch_free(&p);
    r->computed = true;
    return failed;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Makes the logits of the sample's tokens from t on, of as many as are taken at once. */
static int load_logits(struct run *r, size_t sample, size_t t, struct error *e)
{
    const struct arch *a = arch_of(r);
    size_t token = r->starts[sample] + t, left = r->starts[sample + 1] - token;
    size_t block = lm_logits_block_tokens(a);
    if (!r->logits) {
        r->logits = mem_alloc_aligned(block * a->vocab * sizeof *r->logits);
        r->h = mem_alloc_aligned(block * a->hidden * sizeof *r->h);
    }
    r->token = token;
    r->count = left < block ? left : block;
    size_t bytes = r->count * a->hidden * sizeof *r->h;
    return spool_read(r->states, place(r, a->layers, token), r->h, bytes, e) ||
                   lm_logits(r->lm, r->h, r->count, r->logits, e)
               ? -1
               : 0;
}

static int fill_logits(struct run *r, size_t sample, struct block *b, struct error *e)
{
    size_t V = arch_of(r)->vocab;
    for (size_t done = 0; done < b->n;) {
        size_t at = b->first + done, token = r->starts[sample] + at / V;
        if (token < r->token || token >= r->token + r->count)
            if (load_logits(r, sample, at / V, e))
                return -1;
        size_t from = (token - r->token) * V + at % V, n = r->count * V - from;
        n = n < b->n - done ? n : b->n - done;
        memcpy(block_floats(b, 0) + done, r->logits + from, n * sizeof(float));
        done += n;
    }
    return 0;
}

static int fill(const struct job *job, struct block *b, struct error *e)
{
    struct run *r = job->stage->data;
    const struct output *o = &r->outputs[job->index];
    if (o->state < 0)
        return fill_logits(r, o->sample, b, e);
    uint64_t at = place(r, (size_t)o->state, r->starts[o->sample]) + b->first * sizeof(float);
    return spool_read(r->states, at, b->data[0], b->n * sizeof(float), e);
}

/* ---- the filter's life ----------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct output *)a)->name, ((const struct output *)b)->name);
}

static void list_outputs(struct run *r, int only, struct arena *arena)
{
    size_t L = arch_of(r)->layers, n = 0;
    r->outputs = mem_alloc(r->samples.n * (L + 2), sizeof *r->outputs);
    for (size_t s = 0; s < r->samples.n; s++) {
        for (size_t l = 0; l <= L && only != ONLY_LOGITS; l++)
            r->outputs[n++] =
                (struct output){arena_printf(arena, "sample%zu.hidden.%zu", s, l), s, (long)l};
        if (only != ONLY_HIDDEN)
            r->outputs[n++] = (struct output){arena_printf(arena, "sample%zu.logits", s), s, -1};
    }
    qsort(r->outputs, n, sizeof *r->outputs, by_name);
    r->n_outputs = n;
    r->first_state = only == ONLY_LOGITS ? L : 0;
}

static void list_tensors(const struct run *r, struct header *h)
{
    h->n_tensors = r->n_outputs;
    h->tensors = arena_alloc(&h->arena, h->n_tensors, sizeof *h->tensors);
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct output *o = &r->outputs[i];
        struct vector v = vector_with_defaults(0, NULL, DTYPE_F32, DTYPE_NONE);
        uint64_t shape[2] = {r->samples.samples[o->sample].n,
                             o->state < 0 ? arch_of(r)->vocab : arch_of(r)->hidden};
        struct tensor t = {.name = o->name,
                           .rank = 2,
                           .shape = shape,
                           .layer = -1,
                           .layers = -1,
                           .n_vectors = 1,
                           .vectors = &v,
                           .input_index = i};
        h->tensors[i] = tensor_copy(&h->arena, &t);
    }
}

static int read_samples(struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    struct run *r = s->data;
    const struct sample_requirements limits = {.arch = arch_of(r)};
    for (size_t i = 0; i < o->samples.n; i++) {
        if (samples_read(&r->samples, o->samples.items[i], &limits, e))
            return -1;
        stage_record_operand(s, arena_printf(&s->arena, "--samples=xxh3:%016llx",
                                             (unsigned long long)r->samples.hash));
    }
    r->starts = mem_alloc(r->samples.n + 1, sizeof *r->starts);
    for (size_t i = 0; i < r->samples.n; i++)
        r->starts[i + 1] = r->starts[i] + r->samples.samples[i].n;
    return 0;
}

static int open_forward(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct run *r = s->data = mem_alloc(1, sizeof *r);
    if (gemm_init(s->common.threads, e))
        return -1;
    r->model =
        model_weights_open(s->operands.items[0], o->config, s->common.spool, s->filter->name, e);
    if (!r->model || read_samples(s, e))
        return -1;
    const struct model_source *in = model_weights_model_source(r->model);
    stage_record_operand(s, model_source_name(in));
    if (header_add_model(h, model_source_name(in), NULL, e) < 0)
        return -1;
    h->kind = KIND_ACTIVATIONS;
    h->models[0].has_fingerprint = true;
    h->models[0].fingerprint = model_source_fingerprint(in);
    r->states =
        spool_new(r->samples.images.n ? s->common.memory / 2 : s->common.memory, s->common.spool);
    list_outputs(r, o->only, &s->arena);
    list_tensors(r, h);
    return 0;
}

static int begin(struct job *job, struct error *e)
{
    const struct run *r = job->stage->data;
    if (!r->computed && compute(job->stage, e))
        return -1;
    return PLAN_TRANSFORM;
}

/* What is kept can be read any number of times. */
static int rewind_forward(struct stage *s, struct error *e)
{
    return 0;
}

static int close_forward(struct stage *s, bool ok, struct error *e)
{
    struct run *r = s->data;
    lm_free(r->lm);
    spool_free(r->states);
    samples_free(&r->samples);
    model_weights_close(r->model);
    free(r->starts);
    free(r->outputs);
    free(r->logits);
    free(r->h);
    free(r);
    return 0;
}

const struct filter filter_forward = {
    .name = "forward",
    .summary = "Run a language model on samples and put out hidden states and logits",
    .operands = "MODEL",
    .notes = "Example: forward merged --samples few.jsonl --only logits | stats",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = 1,
    .role = ROLE_SOURCE,
    .operands_are_files = true,
    .open = open_forward,
    .begin = begin,
    .source.fill = fill,
    .source.rewind = rewind_forward,
    .close = close_forward,
};
