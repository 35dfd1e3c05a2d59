#include "fisher_diagonal.h"

#include "gemm.h"
#include "mem.h"
#include "parallel_for.h"
#include "residual.h"
#include "softmax.h"
#include "spool.h"

#include <stdlib.h>
#include <string.h>

#define GROUP        8192              /* tokens that pass the model together, forward */
#define PANEL_FLOATS ((size_t)1 << 22) /* of a gradient that are held at once */

/* The steps, in order. Step STEP_LAYERS + i is layer L - 1 - i; the last one is ready for the
 * embedding. */
enum { STEP_NONE, STEP_HEAD, STEP_FINAL_NORM, STEP_LAYERS };

/* Rows of the embedding or LM head whose squares are held. */
struct panel {
    enum weight_kind kind;
    size_t first, rows;
    float *squares; /* (rows, d) */
};

struct fisher_diagonal {
    const struct arch *arch;
    const struct weight_source *weights;
    bool tied;
    struct lm *lm;
    const struct samples *samples;
    const struct token_batch *batch;
    size_t n_scored; /* samples with a token to predict */
    size_t step;
    struct spool
        *states; /* (L + 3, N, d): x_0 .. x_{L+1}, then the gradient of the current state */
    uint32_t *predictions; /* (N): y at the next position */
    float *log_sums;       /* (N): ln sum exp of the logits */

    float *squares[WEIGHT_KINDS]; /* of the current step; NULL: none */
    float *gradient;              /* [PANEL_FLOATS], or one row */
    struct panel panel;
};

static size_t largest_row(const struct arch *a)
{
    size_t most = a->hidden > a->intermediate ? a->hidden : a->intermediate;
    size_t q = a->heads * a->head_dim;
    return q > most ? q : most;
}

/* The positions at which sample s predicts: `first` .. `end` - 1, in the sample. */
static void find_scored_positions(const struct fisher_diagonal *f, size_t s, size_t *first,
                                  size_t *end)
{
    const struct sample *x = &f->samples->samples[s];
    *end = x->n - 1;
    *first = x->prompt_tokens ? x->prompt_tokens - 1 : 0;
    *first = *first < *end ? *first : *end;
}

struct fisher_diagonal *fisher_diagonal_new(const struct arch *a, const struct weight_source *w,
                                            bool tied, struct lm *lm, const struct samples *samples,
                                            const struct token_batch *b, size_t memory,
                                            const char *spool)
{
    struct fisher_diagonal *f = mem_alloc(1, sizeof *f);
    size_t N = token_batch_tokens(b), row = largest_row(a), first, end;
    *f = (struct fisher_diagonal){.arch = a,
                                  .weights = w,
                                  .tied = tied,
                                  .lm = lm,
                                  .samples = samples,
                                  .batch = b,
                                  .states = spool_new(memory, spool)};
    f->predictions = mem_alloc(N, sizeof *f->predictions);
    f->log_sums = mem_alloc(N, sizeof *f->log_sums);
    f->gradient = mem_alloc_aligned((row > PANEL_FLOATS ? row : PANEL_FLOATS) * sizeof(float));
    for (size_t s = 0; s < samples->n; s++) {
        find_scored_positions(f, s, &first, &end);
        f->n_scored += first < end;
    }
    return f;
}

static void discard_squares(struct fisher_diagonal *f)
{
    for (size_t kind = 0; kind < WEIGHT_KINDS; kind++) {
        free(f->squares[kind]);
        f->squares[kind] = NULL;
    }
    free(f->panel.squares);
    f->panel = (struct panel){0};
}

void fisher_diagonal_free(struct fisher_diagonal *f)
{
    if (!f)
        return;
    discard_squares(f);
    spool_free(f->states);
    free(f->predictions);
    free(f->log_sums);
    free(f->gradient);
    free(f);
}

/* ---- states and gradients of states ---------------------------------------------------------- */

static size_t gradient_slot(const struct fisher_diagonal *f)
{
    return f->arch->layers + 2;
}

/* Tokens first .. first + n - 1 of a state: reads them to, or writes them from, x (n, d). */
static int read_state(const struct fisher_diagonal *f, size_t state, size_t first, size_t n,
                      float *x, struct error *e)
{
    size_t row = f->arch->hidden * sizeof *x;
    uint64_t at = ((uint64_t)state * token_batch_tokens(f->batch) + first) * row;
    return spool_read_at(f->states, at, x, n * row, e);
}

static int write_state(struct fisher_diagonal *f, size_t state, size_t first, size_t n,
                       const float *x, struct error *e)
{
    size_t row = f->arch->hidden * sizeof *x;
    uint64_t at = ((uint64_t)state * token_batch_tokens(f->batch) + first) * row;
    return spool_write_at(f->states, at, x, n * row, e);
}

/* Memory for the states of the longest sample. */
static float *allocate_state(const struct fisher_diagonal *f)
{
    return mem_alloc_aligned(token_batch_longest(f->batch) * f->arch->hidden * sizeof(float));
}

static size_t first_token_of(const struct fisher_diagonal *f, size_t s)
{
    return f->batch->starts[s] - f->batch->starts[0];
}

/* ---- forward --------------------------------------------------------------------------------- */

struct group {
    struct fisher_diagonal *f;
    size_t first, tokens;
};

static int store_state_of_group(void *context, size_t state, const float *x, struct error *e)
{
    const struct group *g = context;
    return write_state(g->f, state, g->first, g->tokens, x, e);
}

static int run_forward(struct fisher_diagonal *f, struct error *e)
{
    size_t L = f->arch->layers, N = token_batch_tokens(f->batch);
    uint64_t size = (uint64_t)(L + 3) * N * f->arch->hidden * sizeof(float);
    if (spool_reserve(f->states, size, e))
        return -1;
    for (size_t s = 0; s < f->batch->samples;) {
        struct token_batch b = token_batch_slice(f->batch, f->arch, s, GROUP);
        struct group g = {f, first_token_of(f, s), token_batch_tokens(&b)};
        const struct state_hook hook = {&g, store_state_of_group};
        float *x = mem_alloc_aligned(g.tokens * f->arch->hidden * sizeof *x);
        int failed = lm_forward(f->lm, &b, x, &hook, e);
        free(x);
        if (failed)
            return -1;
        s += b.samples;
    }
    return 0;
}

/* ---- the loss and its gradient --------------------------------------------------------------- */

/* Tokens `first` ... and their logits z (n, V), which become dz. */
struct predicting {
    struct fisher_diagonal *f;
    float *z;
    size_t first;
};

/* loss = -ln p_y, where y has the largest p: dz = p - [v = y] */
static void differentiate_token(void *context, size_t t, size_t thread)
{
    const struct predicting *p = context;
    size_t V = p->f->arch->vocab, y = 0;
    float *z = p->z + t * V;
    for (size_t v = 1; v < V; v++)
        y = z[v] > z[y] ? v : y;
    p->f->predictions[p->first + t] = (uint32_t)y;
    p->f->log_sums[p->first + t] = (float)softmax_row(z, V, 1);
    z[y] -= 1;
}

static bool wants_nothing(void *context, enum weight_kind kind, size_t layer)
{
    return false;
}

/* dx = the gradient of x_{L+1}, from h = x_{L+1} (T, d) of sample s, to h itself. */
static int compute_loss_gradient(struct fisher_diagonal *f, size_t s, float *h, float *z,
                                 struct error *e)
{
    const struct gradient_sink none = {NULL, wants_nothing, NULL};
    size_t d = f->arch->hidden, V = f->arch->vocab, most = lm_logits_block_tokens(f->arch);
    size_t first, end, T = f->samples->samples[s].n;
    find_scored_positions(f, s, &first, &end);
    for (size_t t = first, n; t < end; t += n) {
        n = end - t < most ? end - t : most;
        struct predicting p = {f, z, first_token_of(f, s) + t};
        if (lm_logits(f->lm, h + t * d, n, z, e))
            return -1;
        parallel_for(n, V, differentiate_token, &p);
        if (lm_logits_backward(f->lm, z, h + t * d, n, h + t * d, &none, e))
            return -1;
    }
    memset(h, 0, first * d * sizeof *h);
    memset(h + end * d, 0, (T - end) * d * sizeof *h);
    return 0;
}

static int start(struct fisher_diagonal *f, struct error *e)
{
    size_t L = f->arch->layers;
    if (f->n_scored == 0)
        return error_set(e, "no sample has a token to predict");
    if (run_forward(f, e))
        return -1;
    float *h = allocate_state(f);
    float *z = mem_alloc_aligned(lm_logits_block_tokens(f->arch) * f->arch->vocab * sizeof *z);
    int failed = 0;
    for (size_t s = 0; s < f->samples->n && !failed; s++) {
        size_t at = first_token_of(f, s), T = f->samples->samples[s].n;
        failed = read_state(f, L + 1, at, T, h, e) || compute_loss_gradient(f, s, h, z, e) ||
                 write_state(f, gradient_slot(f), at, T, h, e);
    }
    free(h);
    free(z);
    return failed ? -1 : 0;
}

/* ---- squares of the gradients of one sample -------------------------------------------------- */

struct squaring {
    const float *gradient;
    float *sum;
};

static void add_squares_of_tile(void *context, size_t first, size_t n)
{
    const struct squaring *s = context;
    for (size_t i = first; i < first + n; i++)
        s->sum[i] += s->gradient[i] * s->gradient[i];
}

static void add_squares(const float *gradient, size_t n, float *sum)
{
    parallel_for_tiles(n, add_squares_of_tile, &(struct squaring){gradient, sum});
}

static bool wants_all_but_embedding(void *context, enum weight_kind kind, size_t layer)
{
    return kind < WEIGHT_DECODER_LAYER_END || kind == WEIGHT_FINAL_NORM;
}

/* The sample passes backward alone, so that this is its whole gradient. */
static void add_squared_gradient(void *context, const struct weight_gradient *g)
{
    struct fisher_diagonal *f = context;
    size_t width = g->columns ? g->columns : 1, most = PANEL_FLOATS / width;
    float **sum = &f->squares[g->kind];
    if (!*sum)
        *sum = mem_alloc(g->rows * width, sizeof **sum);
    most = most ? most : 1;
    for (size_t row = 0, n; row < g->rows; row += n) {
        n = g->rows - row < most ? g->rows - row : most;
        weight_gradient_compute_rows(g, row, n, f->gradient);
        add_squares(f->gradient, n * width, *sum + row * width);
    }
}

/* ---- backward -------------------------------------------------------------------------------- */

/* The final norm for `state` L, else decoder layer `state`, of all samples one after another. */
static int run_backward_step(struct fisher_diagonal *f, size_t state, struct error *e)
{
    const struct gradient_sink sink = {f, wants_all_but_embedding, add_squared_gradient};
    float *x = allocate_state(f), *dx = allocate_state(f);
    int failed = 0;
    for (size_t s = 0; s < f->samples->n && !failed; s++) {
        struct token_batch b = token_batch_slice(f->batch, f->arch, s, 1);
        size_t at = first_token_of(f, s), T = token_batch_tokens(&b);
        failed = read_state(f, state, at, T, x, e) ||
                 read_state(f, gradient_slot(f), at, T, dx, e) ||
                 (state == f->arch->layers
                      ? lm_backward_final_norm(f->lm, &b, x, dx, &sink, e)
                      : lm_backward_layer(f->lm, state, &b, x, dx, true, &sink, e)) ||
                 write_state(f, gradient_slot(f), at, T, dx, e);
    }
    free(x);
    free(dx);
    return failed ? -1 : 0;
}

static size_t step_of_weight(const struct fisher_diagonal *f, enum weight_kind kind, size_t layer)
{
    size_t L = f->arch->layers;
    return kind == WEIGHT_LM_HEAD      ? STEP_HEAD
           : kind == WEIGHT_FINAL_NORM ? STEP_FINAL_NORM
           : kind == WEIGHT_EMBEDDING  ? STEP_LAYERS + L
                                       : STEP_LAYERS + L - 1 - layer;
}

static int run_step(struct fisher_diagonal *f, size_t step, struct error *e)
{
    size_t L = f->arch->layers;
    discard_squares(f);
    if (step == STEP_HEAD)
        return start(f, e);
    if (step == STEP_LAYERS + L) /* layer 0 has left the gradient of x_0 */
        return 0;
    return run_backward_step(f, L + STEP_FINAL_NORM - step, e);
}

int fisher_diagonal_compute(struct fisher_diagonal *f, enum weight_kind kind, size_t layer,
                            struct error *e)
{
    size_t wanted = step_of_weight(f, kind, layer);
    if (f->step > wanted)
        f->step = STEP_NONE;
    for (; f->step < wanted; f->step++)
        if (run_step(f, f->step + 1, e))
            return -1;
    return 0;
}

/* ---- embedding and LM head ------------------------------------------------------------------- */

/* The rows of the LM head's gradient: dz^T h, of the logits that belong to the panel. */
static void add_head_gradient(const struct fisher_diagonal *f, const struct panel *p,
                              const float *W, const float *h, size_t first_token, size_t T,
                              float *z, float *gradient)
{
    size_t d = f->arch->hidden;
    gemm_nt(T, p->rows, d, 1, h, d, W, d, 0, z, p->rows);
    for (size_t t = 0; t < T; t++) {
        size_t y = f->predictions[first_token + t];
        softmax_row_from_log_sum(z + t * p->rows, p->rows, f->log_sums[first_token + t]);
        if (y >= p->first && y - p->first < p->rows)
            z[t * p->rows + y - p->first] -= 1;
    }
    gemm_tn(p->rows, d, T, 1, z, p->rows, h, d, 1, gradient, d);
}

/* x_t = W[token_t]: dW[token_t] += dx_t */
static void add_embedding_gradient(const struct fisher_diagonal *f, const struct panel *p,
                                   const float *dx, size_t first_token, size_t T, float *gradient)
{
    size_t d = f->arch->hidden;
    for (size_t t = 0; t < T; t++) {
        size_t id = f->batch->ids[first_token + t];
        if (id >= p->first && id - p->first < p->rows)
            residual_add(dx + t * d, d, gradient + (id - p->first) * d);
    }
}

/* Adds the squared gradient of sample s. x: room for its states; z: for its logits. */
static int add_sample_to_panel(struct fisher_diagonal *f, size_t s, const float *W, float *x,
                               float *z, struct error *e)
{
    const struct panel *p = &f->panel;
    size_t at = first_token_of(f, s), T = f->samples->samples[s].n, d = f->arch->hidden;
    size_t first, end;
    memset(f->gradient, 0, p->rows * d * sizeof *f->gradient);
    find_scored_positions(f, s, &first, &end);
    if (W) {
        if (read_state(f, f->arch->layers + 1, at, T, x, e))
            return -1;
        add_head_gradient(f, p, W, x + first * d, at + first, end - first, z, f->gradient);
    }
    if (p->kind == WEIGHT_EMBEDDING) {
        if (read_state(f, gradient_slot(f), at, T, x, e))
            return -1;
        add_embedding_gradient(f, p, x, at, T, f->gradient);
    }
    add_squares(f->gradient, p->rows * d, p->squares);
    return 0;
}

/* Computes the panel that begins at row `first`. */
static int compute_panel(struct fisher_diagonal *f, enum weight_kind kind, size_t first,
                         struct error *e)
{
    size_t d = f->arch->hidden, left = f->arch->vocab - first, most = PANEL_FLOATS / d;
    struct panel *p = &f->panel;
    bool has_head = kind == WEIGHT_LM_HEAD || f->tied;
    free(p->squares);
    most = most ? most : 1;
    *p = (struct panel){kind, first, left < most ? left : most, NULL};
    p->squares = mem_alloc(p->rows * d, sizeof *p->squares);
    float *memory = mem_alloc_aligned(p->rows * d * sizeof *memory), *x = allocate_state(f);
    float *z = mem_alloc_aligned(token_batch_longest(f->batch) * p->rows * sizeof *z);
    const float *W = has_head ? f->weights->load_rows(f->weights->context, WEIGHT_LM_HEAD, first,
                                                      p->rows, memory, e)
                              : NULL;
    int failed = has_head && !W;
    for (size_t s = 0; s < f->samples->n && !failed; s++)
        failed = add_sample_to_panel(f, s, W, x, z, e);
    free(memory);
    free(x);
    free(z);
    return failed ? -1 : 0;
}

/* Copies what the panel has of elements first .. first + n - 1; returns how many. */
static size_t copy_from_panel(const struct panel *p, size_t d, size_t first, size_t n, float *to)
{
    size_t at = p->first * d, end = at + p->rows * d;
    if (!p->squares || first < at || first >= end)
        return 0;
    n = n < end - first ? n : end - first;
    memcpy(to, p->squares + (first - at), n * sizeof *to);
    return n;
}

static int read_rows(struct fisher_diagonal *f, enum weight_kind kind, size_t first, size_t n,
                     float *to, struct error *e)
{
    size_t d = f->arch->hidden, rows = PANEL_FLOATS / d ? PANEL_FLOATS / d : 1;
    for (size_t done = 0; done < n;) {
        size_t copied = f->panel.kind == kind
                            ? copy_from_panel(&f->panel, d, first + done, n - done, to + done)
                            : 0;
        if (!copied && compute_panel(f, kind, (first + done) / d / rows * rows, e))
            return -1;
        done += copied;
    }
    return 0;
}

int fisher_diagonal_read(struct fisher_diagonal *f, enum weight_kind kind, size_t first, size_t n,
                         float *to, struct error *e)
{
    if (kind != WEIGHT_EMBEDDING && kind != WEIGHT_LM_HEAD)
        memcpy(to, f->squares[kind] + first, n * sizeof *to);
    else if (read_rows(f, kind, first, n, to, e))
        return -1;
    for (size_t i = 0; i < n; i++)
        to[i] /= (float)f->n_scored;
    return 0;
}
