#include "attention.h"

#include "gemm.h"
#include "vector_math.h"
#include "simd.h"
#include "softmax.h"
#include "parallel_for.h"

#include <math.h>
#include <string.h>

#define ROWS 128 /* queries whose scores are held at once */

/* Some queries of one head of one sample, and the keys that any of them sees. */
struct piece {
    size_t rows, keys;
    size_t query, key; /* where they lie in q and in k and v, in floats */
    size_t head;       /* of the first query, in log_sums */
    size_t first;      /* position of the first query ... */
    size_t from;       /* ... and of the first key in the sample */
};

/* `start`: the sample's first token; T: its tokens; `first`: the first query. */
static struct piece piece_at(const struct attention *a, size_t start, size_t T, size_t h,
                             size_t first)
{
    size_t rows = T - first < ROWS ? T - first : ROWS;
    size_t from = a->window && first + 1 > a->window ? first + 1 - a->window : 0;
    size_t g = h / (a->heads / a->kv_heads);
    return (struct piece){.rows = rows,
                          .keys = (a->bidirectional ? T : first + rows) - from,
                          .query = ((start + first) * a->heads + h) * a->head_dim,
                          .key = ((start + from) * a->kv_heads + g) * a->head_dim,
                          .head = (start + first) * a->heads + h,
                          .first = first,
                          .from = from};
}

/* The keys that query `row` of the piece sees: from .. to - 1, counted from the piece's first. */
static void sees(const struct attention *a, const struct piece *p, size_t row, size_t *from,
                 size_t *to)
{
    size_t i = p->first + row;
    *from = (a->window && i + 1 > a->window ? i + 1 - a->window : 0) - p->from;
    *to = a->bidirectional ? p->keys : i + 1 - p->from;
}

/* What a query does not see has probability 0. */
static void clear_unseen(float *row, size_t from, size_t to, size_t keys)
{
    memset(row, 0, from * sizeof *row);
    memset(row + to, 0, (keys - to) * sizeof *row);
}

static size_t longest(const struct attention *a)
{
    size_t most = 0;
    for (size_t s = 0; s < a->samples; s++)
        if (a->starts[s + 1] - a->starts[s] > most)
            most = a->starts[s + 1] - a->starts[s];
    return most;
}

size_t attention_scratch_floats(size_t T)
{
    return parallel_threads() * 2 * ROWS * T;
}

/* S = q k^T / sqrt(D);  S (rows, keys) */
static void scores(const struct attention *a, const struct piece *p, float *S)
{
    size_t D = a->head_dim;
    gemm_nt(p->rows, p->keys, D, 1 / sqrtf((float)D), a->q + p->query, a->heads * D, a->k + p->key,
            a->kv_heads * D, 0, S, p->keys);
}

/* ---- forward --------------------------------------------------------------------------------- */

static void forward_piece(const struct attention *a, const struct piece *p, float *o,
                          float *log_sums, float *P)
{
    size_t D = a->head_dim, from, to;
    scores(a, p, P);
    for (size_t i = 0; i < p->rows; i++) {
        float *row = P + i * p->keys;
        sees(a, p, i, &from, &to);
        log_sums[p->head + i * a->heads] = (float)softmax_row(row + from, to - from, 1);
        clear_unseen(row, from, to, p->keys);
    }
    /* o = P v */
    gemm_nn(p->rows, D, p->keys, 1, P, p->keys, a->v + p->key, a->kv_heads * D, 0, o + p->query,
            a->heads * D);
}

/* One head of one sample, or on the way back the heads of a group. */
struct loop {
    const struct attention *attention;
    const float *o, *d_o, *sums;
    float *to, *log_sums, *dq, *dk, *dv;
    float *scratch;
    size_t each; /* floats of scratch for a thread */
};

static void forward_head(void *context, size_t item, size_t member)
{
    const struct loop *l = context;
    const struct attention *a = l->attention;
    size_t s = item / a->heads, start = a->starts[s] - a->starts[0];
    size_t T = a->starts[s + 1] - a->starts[s];
    for (size_t first = 0; first < T; first += ROWS) {
        struct piece p = piece_at(a, start, T, item % a->heads, first);
        forward_piece(a, &p, l->to, l->log_sums, l->scratch + member * l->each);
    }
}

/* Multiplications for one head of one sample, on average. */
static size_t cost_of_head(const struct attention *a)
{
    size_t T = (a->starts[a->samples] - a->starts[0]) / a->samples;
    return T * T * a->head_dim;
}

void attention_forward(const struct attention *a, float *o, float *log_sums, float *scratch)
{
    parallel_for(a->samples * a->heads, cost_of_head(a), forward_head,
                 &(struct loop){.attention = a,
                                .to = o,
                                .log_sums = log_sums,
                                .scratch = scratch,
                                .each = 2 * ROWS * longest(a)});
}

/* ---- backward -------------------------------------------------------------------------------- */

/* P = softmax(S), again. */
static void probabilities(const struct attention *a, const struct piece *p, const float *log_sums,
                          float *P)
{
    size_t from, to;
    scores(a, p, P);
    for (size_t i = 0; i < p->rows; i++) {
        sees(a, p, i, &from, &to);
        softmax_row_from_log_sum(P + i * p->keys + from, to - from,
                                 log_sums[p->head + i * a->heads]);
        clear_unseen(P + i * p->keys, from, to, p->keys);
    }
}

/* dS = P (dP - <do, o>): the rows of P add up to 1, and <do, o> = sum_j P_j dP_j. In place. */
TV_HOT static void through_softmax(const float *P, float shared, size_t keys, float *dP)
{
    for (size_t j = 0; j < keys; j++)
        dP[j] = P[j] * (dP[j] - shared);
}

static void backward_piece(const struct attention *a, const struct piece *p, const float *o,
                           const float *log_sums, const float *d_o, float *dq, float *dk, float *dv,
                           float *P, float *dS)
{
    size_t D = a->head_dim, wide = a->heads * D, narrow = a->kv_heads * D, keys = p->keys;
    float scale = 1 / sqrtf((float)D);
    probabilities(a, p, log_sums, P);
    /* o = P v: dv = P^T do, dP = do v^T */
    gemm_tn(keys, D, p->rows, 1, P, keys, d_o + p->query, wide, 1, dv + p->key, narrow);
    gemm_nt(p->rows, keys, D, 1, d_o + p->query, wide, a->v + p->key, narrow, 0, dS, keys);
    for (size_t i = 0; i < p->rows; i++) {
        size_t query = p->query + i * wide;
        float shared = (float)vector_math_dot(d_o + query, o + query, D);
        through_softmax(P + i * keys, shared, keys, dS + i * keys);
    }
    /* S = q k^T / sqrt(D): dq = dS k / sqrt(D), dk = dS^T q / sqrt(D) */
    gemm_nn(p->rows, D, keys, scale, dS, keys, a->k + p->key, narrow, 0, dq + p->query, wide);
    gemm_tn(keys, D, p->rows, scale, dS, keys, a->q + p->query, wide, 1, dk + p->key, narrow);
}

/* The query heads of a group add to the same dk and dv, so one thread takes them all. */
static void backward_group(void *context, size_t item, size_t member)
{
    const struct loop *l = context;
    const struct attention *a = l->attention;
    size_t group = a->heads / a->kv_heads, s = item / a->kv_heads, g = item % a->kv_heads;
    size_t start = a->starts[s] - a->starts[0], T = a->starts[s + 1] - a->starts[s];
    float *P = l->scratch + member * l->each, *dS = P + l->each / 2;
    for (size_t h = g * group; h < (g + 1) * group; h++)
        for (size_t first = 0; first < T; first += ROWS) {
            struct piece p = piece_at(a, start, T, h, first);
            backward_piece(a, &p, l->o, l->sums, l->d_o, l->dq, l->dk, l->dv, P, dS);
        }
}

void attention_backward(const struct attention *a, const float *o, const float *log_sums,
                        const float *d_o, float *dq, float *dk, float *dv, float *scratch)
{
    size_t n = (a->starts[a->samples] - a->starts[0]) * a->kv_heads * a->head_dim;
    memset(dk, 0, n * sizeof *dk);
    memset(dv, 0, n * sizeof *dv);
    parallel_for(a->samples * a->kv_heads, cost_of_head(a) * (a->heads / a->kv_heads),
                 backward_group,
                 &(struct loop){.attention = a,
                                .o = o,
                                .d_o = d_o,
                                .sums = log_sums,
                                .dq = dq,
                                .dk = dk,
                                .dv = dv,
                                .scratch = scratch,
                                .each = 2 * ROWS * longest(a)});
}
