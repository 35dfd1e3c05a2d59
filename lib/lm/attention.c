#include "attention.h"

#include "gemm.h"
#include "kern.h"
#include "softmax.h"

#include <math.h>
#include <omp.h>
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
                          .keys = first + rows - from,
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
    *to = i + 1 - p->from;
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

size_t attention_scratch(size_t T)
{
    return (size_t)gemm_threads() * 2 * ROWS * T;
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

void attention_forward(const struct attention *a, float *o, float *log_sums, float *scratch)
{
    size_t each = 2 * ROWS * longest(a);
#pragma omp parallel for num_threads(gemm_threads()) schedule(dynamic)
    for (size_t task = 0; task < a->samples * a->heads; task++) {
        size_t s = task / a->heads, start = a->starts[s] - a->starts[0];
        size_t T = a->starts[s + 1] - a->starts[s];
        float *P = scratch + (size_t)omp_get_thread_num() * each;
        for (size_t first = 0; first < T; first += ROWS) {
            struct piece p = piece_at(a, start, T, task % a->heads, first);
            forward_piece(a, &p, o, log_sums, P);
        }
    }
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
        softmax_again(P + i * p->keys + from, to - from, log_sums[p->head + i * a->heads]);
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
        float shared = (float)kern_dot(d_o + query, o + query, D);
        through_softmax(P + i * keys, shared, keys, dS + i * keys);
    }
    /* S = q k^T / sqrt(D): dq = dS k / sqrt(D), dk = dS^T q / sqrt(D) */
    gemm_nn(p->rows, D, keys, scale, dS, keys, a->k + p->key, narrow, 0, dq + p->query, wide);
    gemm_tn(keys, D, p->rows, scale, dS, keys, a->q + p->query, wide, 1, dk + p->key, narrow);
}

/* The query heads of a group add to the same dk and dv, so one thread takes them all. */
void attention_backward(const struct attention *a, const float *o, const float *log_sums,
                        const float *d_o, float *dq, float *dk, float *dv, float *scratch)
{
    size_t group = a->heads / a->kv_heads, each = 2 * ROWS * longest(a);
    size_t n = (a->starts[a->samples] - a->starts[0]) * a->kv_heads * a->head_dim;
    memset(dk, 0, n * sizeof *dk);
    memset(dv, 0, n * sizeof *dv);
#pragma omp parallel for num_threads(gemm_threads()) schedule(dynamic)
    for (size_t task = 0; task < a->samples * a->kv_heads; task++) {
        size_t s = task / a->kv_heads, g = task % a->kv_heads;
        size_t start = a->starts[s] - a->starts[0], T = a->starts[s + 1] - a->starts[s];
        float *P = scratch + (size_t)omp_get_thread_num() * each, *dS = P + each / 2;
        for (size_t h = g * group; h < (g + 1) * group; h++)
            for (size_t first = 0; first < T; first += ROWS) {
                struct piece p = piece_at(a, start, T, h, first);
                backward_piece(a, &p, o, log_sums, d_o, dq, dk, dv, P, dS);
            }
    }
}
