/* forward: run a language model on samples and write its hidden states and logits, or
 * statistics of its weights
 *
 *     sampleI.hidden.0    (T, d)   embeddings of sample I (from 0), or outputs of the projector
 *     sampleI.hidden.l    (T, d)   the residual stream after decoder layer l, 0 < l < L
 *     sampleI.hidden.L    (T, d)   after the last layer and the final norm
 *     sampleI.logits      (T, V)
 *
 *     forward merged --samples few.jsonl | tv-view --values
 *     tv-diff <(forward a --samples few.jsonl) <(forward b --samples few.jsonl) --tolerance 1e-3
 *
 * With --gram, for each linear map y = x W^T of the decoder, under the name of W (m, n), instead
 *
 *     G = mean over all tokens of x x^T   (n, n)
 *
 * and with --fisher, for each weight of the decoder, the diagonal of the Fisher information
 *
 *     F = mean over samples of (d/dW sum_t ln p(y_t | x_<t))^2, y_t the most likely token
 *
 *     forward math --samples math.jsonl --gram > math.gram
 *
 * The hidden states are the hidden_states of transformers. Arithmetic is in F32, regardless of the
 * file's dtype. The samples pass through each layer together. Their hidden states are kept, in
 * memory up to --memory and otherwise in a temporary file; logits are computed from the last hidden
 * state when the stream is written, a few tokens at a time.
 */
#include "filter.h"
#include "image_features.h"
#include "lm.h"
#include "model_weights.h"
#include "parallel_for.h"
#include "samples.h"
#include "spool.h"
#include "stage.h"
#include "weight_statistics.h"

#include <stdlib.h>
#include <string.h>

#define GROUP 8192 /* tokens that pass the model together */
#define ROOM  1024 /* tokens that are in a layer at once */

struct options {
    struct string_list samples, tokens;
    const char *config;
    int only;
    bool gram, fisher;
};
enum { ONLY_HIDDEN, ONLY_LOGITS, ONLY_EMBEDDINGS };

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"samples", OPTION_STRINGS, FIELD(samples), "FILE",
     .help = "samples: JSON Lines with input_ids, or a folder of samples with images; may be "
             "repeated",
     .not_in_history = true},
    {"tokens", OPTION_STRINGS, FIELD(tokens), "IDS",
     .help = "a sample given by its token ids, such as 1,17,4; may be repeated"},
    {"only", OPTION_CHOICE, FIELD(only), "hidden|logits|embeddings",
     .help = "write only hidden states, only logits, or only the embeddings (hidden.0)",
     .choices = "hidden|logits|embeddings"},
    {"gram", OPTION_FLAG, FIELD(gram),
     .help = "write the Gram matrix of each linear map's inputs, for regmean"},
    {"fisher", OPTION_FLAG, FIELD(fisher),
     .help = "write the diagonal of the Fisher information, for fisher"},
    {"config", OPTION_FILE, FIELD(config), "FILE",
     .help = "use this config.json instead of the model's own"},
    {0}};
#undef FIELD

/* A tensor of the output stream: a hidden state or the logits of a sample. */
struct output {
    const char *name;
    size_t sample;
    long state; /* -1: logits */
};

struct run {
    struct model_weights *model;
    struct lm *lm;
    struct samples samples;
    struct token_batch batch; /* of all samples, once the computation has begun */
    struct image_features *features;
    struct weight_statistics *statistics; /* --gram, --fisher; NULL: the fields below are used */
    size_t *first_token; /* [samples + 1]: of each sample, among the tokens of all samples */
    size_t n_outputs;
    struct output *outputs; /* in the manifest's order */

    /* Hidden states first_state .. last_state of all tokens. */
    bool computed;
    size_t first_state, last_state;
    struct spool *states; /* (last_state + 1 - first_state, N, d) */

    /* The current block of logits (block_tokens, V), and the hidden states (block_tokens, d) that
     * they are computed from. */
    float *logits, *h;
    size_t block_start, block_tokens;
};

static const struct arch *arch_of(const struct run *r)
{
    return model_weights_arch(r->model);
}

/* The byte of `states` at which token t of a hidden state begins. */
static uint64_t compute_state_offset(const struct run *r, size_t state, size_t t)
{
    size_t N = r->first_token[r->samples.n];
    return ((uint64_t)(state - r->first_state) * N + t) * arch_of(r)->hidden * sizeof(float);
}

/* Half of the memory is for image features, if there are any. */
static size_t memory_for_states(const struct stage *s)
{
    const struct run *r = s->data;
    return r->samples.images.n ? s->common.memory / 2 : s->common.memory;
}

/* ---- hidden states --------------------------------------------------------------------------- */

/* Samples that pass the model together. */
struct group {
    struct run *run;
    size_t first_token, tokens;
};

/* Stores a state of lm.h as a hidden state: x_{L+1} is the last one, x_L is none. */
static int store_hidden_state_of_group(void *context, size_t state, const float *x, struct error *e)
{
    const struct group *g = context;
    const struct arch *a = arch_of(g->run);
    size_t L = a->layers, hidden_state = state == L + 1 ? L : state;
    if (state == L || hidden_state < g->run->first_state)
        return 0;
    return spool_write_at(g->run->states,
                          compute_state_offset(g->run, hidden_state, g->first_token), x,
                          g->tokens * a->hidden * sizeof *x, e);
}

static int compute_group_states(struct run *r, const struct token_batch *b, size_t first_sample,
                                struct error *e)
{
    struct group g = {r, r->first_token[first_sample], token_batch_tokens(b)};
    const struct state_hook hook = {&g, store_hidden_state_of_group};
    float *x = mem_alloc_aligned(g.tokens * arch_of(r)->hidden * sizeof *x);
    int failed = r->last_state > 0 ? lm_forward(r->lm, b, x, &hook, e)
                                   : lm_forward_embedding(r->lm, b, x, e) ||
                                         store_hidden_state_of_group(&g, 0, x, e);
    free(x);
    return failed;
}

static int compute_states_of_all_groups(struct run *r, const struct token_batch *b, struct error *e)
{
    const struct arch *a = arch_of(r);
    if (spool_reserve(r->states, compute_state_offset(r, r->last_state + 1, 0), e))
        return -1;
    for (size_t s = 0; s < b->samples;) {
        struct token_batch group = token_batch_slice(b, a, s, GROUP);
        if (compute_group_states(r, &group, s, e))
            return -1;
        s += group.samples;
    }
    return 0;
}

static int start_model(struct stage *stage, struct error *e)
{
    struct run *r = stage->data;
    const struct arch *a = arch_of(r);
    const struct weight_source *weights = model_weights_weight_source(r->model);
    struct token_batch *b = &r->batch;
    samples_build_batch(&r->samples, a, b);
    size_t room = token_batch_tokens(b) < ROOM ? token_batch_tokens(b) : ROOM;
    r->lm = lm_new(a, weights, room, token_batch_longest(b));
    r->features = image_features_compute(a, weights, r->samples.images.images, r->samples.images.n,
                                         NULL, memory_for_states(stage), stage->common.spool, e);
    lm_set_image_features(r->lm, r->features);
    return r->features ? 0 : -1;
}

static void release_batch(struct run *r)
{
    image_features_free(r->features);
    token_batch_free(&r->batch);
    r->features = NULL;
}

static int compute_hidden_states(struct stage *stage, struct error *e)
{
    struct run *r = stage->data;
    int failed = start_model(stage, e) || compute_states_of_all_groups(r, &r->batch, e);
    release_batch(r);
    r->computed = true;
    return failed ? -1 : 0;
}

static int compute_statistics(const struct job *job, struct error *e)
{
    struct stage *stage = job->stage;
    struct run *r = stage->data;
    if (!r->lm && start_model(stage, e))
        return -1;
    const struct statistics_run run = {r->lm, &r->samples, &r->batch, memory_for_states(stage),
                                       stage->common.spool};
    return weight_statistics_compute(r->statistics, job->index, &run, e);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Computes a block of logits, of the sample's tokens from t on. */
static int compute_logits_block(struct run *r, size_t sample, size_t t, struct error *e)
{
    const struct arch *a = arch_of(r);
    size_t token = r->first_token[sample] + t, left = r->first_token[sample + 1] - token;
    size_t block = lm_logits_block_tokens(a);
    if (!r->logits) {
        r->logits = mem_alloc_aligned(block * a->vocab * sizeof *r->logits);
        r->h = mem_alloc_aligned(block * a->hidden * sizeof *r->h);
    }
    r->block_start = token;
    r->block_tokens = left < block ? left : block;
    size_t bytes = r->block_tokens * a->hidden * sizeof *r->h;
    return spool_read_at(r->states, compute_state_offset(r, a->layers, token), r->h, bytes, e) ||
                   lm_logits(r->lm, r->h, r->block_tokens, r->logits, e)
               ? -1
               : 0;
}

static int fill_logits_block(struct run *r, size_t sample, struct block *b, struct error *e)
{
    size_t V = arch_of(r)->vocab;
    for (size_t done = 0; done < b->n;) {
        size_t at = b->first + done, token = r->first_token[sample] + at / V;
        if (token < r->block_start || token >= r->block_start + r->block_tokens)
            if (compute_logits_block(r, sample, at / V, e))
                return -1;
        size_t from = (token - r->block_start) * V + at % V, n = r->block_tokens * V - from;
        n = n < b->n - done ? n : b->n - done;
        memcpy(block_floats(b, 0) + done, r->logits + from, n * sizeof(float));
        done += n;
    }
    return 0;
}

static int fill_output_block(const struct job *job, struct block *b, struct error *e)
{
    struct run *r = job->stage->data;
    if (r->statistics)
        return weight_statistics_read(r->statistics, job->index, b->first, b->n, b->data[0], e);
    const struct output *o = &r->outputs[job->index];
    if (o->state < 0)
        return fill_logits_block(r, o->sample, b, e);
    uint64_t at = compute_state_offset(r, (size_t)o->state, r->first_token[o->sample]);
    return spool_read_at(r->states, at + b->first * sizeof(float), b->data[0], b->n * sizeof(float),
                         e);
}

/* ---- the manifest ---------------------------------------------------------------------------- */

static int compare_output_names(const void *a, const void *b)
{
    return strcmp(((const struct output *)a)->name, ((const struct output *)b)->name);
}

static void list_output_tensors(struct run *r, int only, struct arena *arena)
{
    size_t L = arch_of(r)->layers, n = 0;
    r->first_state = only == ONLY_LOGITS ? L : 0;
    r->last_state = only == ONLY_EMBEDDINGS ? 0 : L;
    r->outputs = mem_alloc(r->samples.n * (L + 2), sizeof *r->outputs);
    for (size_t s = 0; s < r->samples.n; s++) {
        for (size_t l = 0; l <= r->last_state && only != ONLY_LOGITS; l++)
            r->outputs[n++] =
                (struct output){arena_printf(arena, "sample%zu.hidden.%zu", s, l), s, (long)l};
        if (only < 0 || only == ONLY_LOGITS)
            r->outputs[n++] = (struct output){arena_printf(arena, "sample%zu.logits", s), s, -1};
    }
    qsort(r->outputs, n, sizeof *r->outputs, compare_output_names);
    r->n_outputs = n;
}

static void add_output_tensors_to_header(const struct run *r, struct header *h)
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

/* ---- opening and closing --------------------------------------------------------------------- */

static int read_samples(struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    struct run *r = s->data;
    const struct sample_requirements required = {.arch = arch_of(r)};
    for (size_t i = 0; i < o->samples.n; i++) {
        if (samples_read(&r->samples, o->samples.items[i], &required, e))
            return -1;
        stage_record_file(s, "samples", r->samples.hash);
    }
    for (size_t i = 0; i < o->tokens.n; i++)
        if (samples_add_token_ids(&r->samples, o->tokens.items[i], &required, e))
            return -1;
    r->first_token = mem_alloc(r->samples.n + 1, sizeof *r->first_token);
    for (size_t i = 0; i < r->samples.n; i++)
        r->first_token[i + 1] = r->first_token[i] + r->samples.samples[i].n;
    return 0;
}

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    if (o->samples.n + o->tokens.n == 0)
        return error_set(e, "expected --samples or --tokens");
    return o->gram + o->fisher + (o->only >= 0) > 1
               ? error_set(e, "only one of --only, --gram and --fisher can be given")
               : 0;
}

static int open_forward(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct run *r = s->data = mem_alloc(1, sizeof *r);
    parallel_set_threads(s->common.threads);
    r->model =
        model_weights_open(s->operands.items[0], o->config, s->common.spool, s->filter->name, e);
    if (!r->model)
        return -1;
    if (o->config)
        stage_record_file(s, "config", model_weights_config_hash(r->model));
    if (read_samples(s, e))
        return -1;
    const struct model_source *in = model_weights_model_source(r->model);
    stage_record_operand(s, model_source_name(in));
    if (header_add_model(h, model_source_name(in), NULL, e) < 0)
        return -1;
    h->kind = KIND_ACTIVATIONS;
    model_source_set_identity(in, h, 0);
    if (o->gram || o->fisher) {
        r->statistics =
            weight_statistics_new(o->gram ? STATISTIC_GRAM : STATISTIC_FISHER, r->model, h);
        return 0;
    }
    r->states = spool_new(memory_for_states(s), s->common.spool);
    list_output_tensors(r, o->only, &s->arena);
    add_output_tensors_to_header(r, h);
    return 0;
}

static int begin_tensor(struct job *job, struct error *e)
{
    const struct run *r = job->stage->data;
    int failed = r->statistics  ? compute_statistics(job, e)
                 : !r->computed ? compute_hidden_states(job->stage, e)
                                : 0;
    return failed ? -1 : PLAN_TRANSFORM;
}

/* Hidden states are kept, and statistics are computed again. */
static int rewind_forward(struct stage *s, struct error *e)
{
    return 0;
}

static int close_forward(struct stage *s, bool ok, struct error *e)
{
    struct run *r = s->data;
    const struct model_source *m = r->model ? model_weights_model_source(r->model) : NULL;
    int failed = ok ? model_source_check_unchanged(m, e) : 0;
    weight_statistics_free(r->statistics);
    release_batch(r);
    lm_free(r->lm);
    spool_free(r->states);
    samples_free(&r->samples);
    model_weights_close(r->model);
    free(r->first_token);
    free(r->outputs);
    free(r->logits);
    free(r->h);
    free(r);
    return failed;
}

const struct filter filter_forward = {
    .name = "forward",
    .summary = "Run a language model on samples and write its hidden states and logits",
    .step = STEP_MEASURE,
    .operands = "MODEL",
    .notes = "Example: forward merged --samples few.jsonl --only logits | stats",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = 1,
    .role = ROLE_SOURCE,
    .operands_are_files = true,
    .check_options = check_options,
    .open = open_forward,
    .begin_tensor = begin_tensor,
    .source.fill_block = fill_output_block,
    .source.rewind = rewind_forward,
    .close = close_forward,
};
