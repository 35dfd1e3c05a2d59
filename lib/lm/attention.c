#include "attention.h"

#include "gemm.h"
#include "parallel_for.h"
#include "simd.h"
#include "softmax.h"
#include "vector_math.h"

#include <math.h>
#include <string.h>

#define ROWS 128 /* queries of a block */

/* A block of queries of one head of one sample, with the keys that any of them attends to. */
struct query_block {
    size_t rows, keys;
    size_t first_query, first_key; /* positions in the sample */
    size_t q_offset, k_offset;     /* of the first ones in q and o, and in k and v, in floats */
    size_t log_sum_offset;         /* of the first query in log_sums */
};

/* The arguments of the loops over heads. */
struct attention_pass {
    const struct attention *attention;
    float *o, *log_sums;                   /* forward: the results */
    const float *saved_o, *saved_log_sums; /* backward: the same */
    const float *d_o;
    float *dq, *dk, *dv;
    float *scratch;
    size_t thread_scratch; /* floats of scratch for each thread */
};

/* ---- blocks ---------------------------------------------------------------------------------- */

/* The first position that a query attends to. */
static size_t first_visible_key(const struct attention *a, size_t query)
{
    return a->window && query + 1 > a->window ? query + 1 - a->window : 0;
}

/* The block that begins at a query of head h; `start`: the sample's first token; T: its tokens. */
static struct query_block make_query_block(const struct attention *a, size_t start, size_t T,
                                           size_t h, size_t query)
{
    size_t rows = T - query < ROWS ? T - query : ROWS, key = first_visible_key(a, query);
    size_t g = h / (a->heads / a->kv_heads);
    return (struct query_block){
        .rows = rows,
        .keys = (a->bidirectional ? T : query + rows) - key,
        .first_query = query,
        .first_key = key,
        .q_offset = ((start + query) * a->heads + h) * a->head_dim,
        .k_offset = ((start + key) * a->kv_heads + g) * a->head_dim,
        .log_sum_offset = (start + query) * a->heads + h,
    };
}

/* The keys that query `row` of the block attends to: from .. to - 1, counted from the block's first
 * key. */
static void find_visible_key_range(const struct attention *a, const struct query_block *b,
                                   size_t row, size_t *from, size_t *to)
{
    size_t query = b->first_query + row;
    *from = first_visible_key(a, query) - b->first_key;
    *to = a->bidirectional ? b->keys : query + 1 - b->first_key;
}

/* Masked keys have probability 0. */
static void zero_masked_probabilities(float *row, size_t from, size_t to, size_t keys)
{
    memset(row, 0, from * sizeof *row);
    memset(row + to, 0, (keys - to) * sizeof *row);
}

/* S = q k^T / sqrt(D);  S (rows, keys) */
static void compute_attention_scores(const struct attention *a, const struct query_block *b,
                                     float *S)
{
    size_t D = a->head_dim;
    gemm_nt(b->rows, b->keys, D, 1 / sqrtf((float)D), a->q + b->q_offset, a->heads * D,
            a->k + b->k_offset, a->kv_heads * D, 0, S, b->keys);
}

/* ---- memory and cost ------------------------------------------------------------------------- */

static size_t longest_sample_length(const struct attention *a)
{
    size_t longest = 0;
    for (size_t s = 0; s < a->samples; s++)
        if (a->starts[s + 1] - a->starts[s] > longest)
            longest = a->starts[s + 1] - a->starts[s];
    return longest;
}

/* P and dS for each thread. */
size_t attention_scratch_floats(size_t T)
{
    return parallel_thread_count() * 2 * ROWS * T;
}

/* Multiplications for one head of a sample of mean length. */
static size_t attention_head_cost(const struct attention *a)
{
    size_t T = (a->starts[a->samples] - a->starts[0]) / a->samples;
    return T * T * a->head_dim;
}

/* ---- forward --------------------------------------------------------------------------------- */

static void attention_forward_block(const struct attention_pass *f, const struct query_block *b,
                                    float *P)
{
    const struct attention *a = f->attention;
    size_t D = a->head_dim, from, to;
    compute_attention_scores(a, b, P);
    /* P = softmax(S) */
    for (size_t i = 0; i < b->rows; i++) {
        float *row = P + i * b->keys;
        find_visible_key_range(a, b, i, &from, &to);
        f->log_sums[b->log_sum_offset + i * a->heads] =
            (float)softmax_row(row + from, to - from, 1);
        zero_masked_probabilities(row, from, to, b->keys);
    }
    /* o = P v */
    gemm_nn(b->rows, D, b->keys, 1, P, b->keys, a->v + b->k_offset, a->kv_heads * D, 0,
            f->o + b->q_offset, a->heads * D);
}

/* One query head of one sample. */
static void attention_forward_head(void *context, size_t item, size_t thread)
{
    const struct attention_pass *f = context;
    const struct attention *a = f->attention;
    size_t s = item / a->heads, start = a->starts[s] - a->starts[0];
    size_t T = a->starts[s + 1] - a->starts[s];
    for (size_t query = 0; query < T; query += ROWS) {
        struct query_block b = make_query_block(a, start, T, item % a->heads, query);
        attention_forward_block(f, &b, f->scratch + thread * f->thread_scratch);
    }
}

void attention_forward(const struct attention *a, float *o, float *log_sums, float *scratch)
{
    parallel_for(a->samples * a->heads, attention_head_cost(a), attention_forward_head,
                 &(struct attention_pass){.attention = a,
                                          .o = o,
                                          .log_sums = log_sums,
                                          .scratch = scratch,
                                          .thread_scratch = 2 * ROWS * longest_sample_length(a)});
}

/* ---- backward -------------------------------------------------------------------------------- */

/* P = softmax(S), again */
static void recompute_probabilities(const struct attention_pass *f, const struct query_block *b,
                                    float *P)
{
    const struct attention *a = f->attention;
    size_t from, to;
    compute_attention_scores(a, b, P);
    for (size_t i = 0; i < b->rows; i++) {
        find_visible_key_range(a, b, i, &from, &to);
        softmax_row_from_log_sum(P + i * b->keys + from, to - from,
                                 f->saved_log_sums[b->log_sum_offset + i * a->heads]);
        zero_masked_probabilities(P + i * b->keys, from, to, b->keys);
    }
}

/* P = softmax(S): dS = P (dP - sum_j P_j dP_j), in place of dP */
TV_HOT static void softmax_backward_row(const float *P, float sum, size_t keys, float *dP)
{
    for (size_t j = 0; j < keys; j++)
        dP[j] = P[j] * (dP[j] - sum);
}

/* sum_j P_j dP_j = <do, o>, because dP = do v^T and o = P v. */
static void softmax_backward(const struct attention_pass *f, const struct query_block *b,
                             const float *P, float *dP)
{
    const struct attention *a = f->attention;
    for (size_t i = 0; i < b->rows; i++) {
        size_t query = b->q_offset + i * a->heads * a->head_dim;
        float sum = (float)vector_math_dot(f->d_o + query, f->saved_o + query, a->head_dim);
        softmax_backward_row(P + i * b->keys, sum, b->keys, dP + i * b->keys);
    }
}

/* P, dS (rows, keys): scratch. Writes dq, adds to dk and dv. */
static void attention_backward_block(const struct attention_pass *f, const struct query_block *b,
                                     float *P, float *dS)
{
    const struct attention *a = f->attention;
    size_t D = a->head_dim, ldq = a->heads * D, ldk = a->kv_heads * D;
    size_t rows = b->rows, keys = b->keys;
    const float *d_o = f->d_o + b->q_offset, *q = a->q + b->q_offset;
    float scale = 1 / sqrtf((float)D);
    recompute_probabilities(f, b, P);
    /* o = P v: dv += P^T do, dP = do v^T */
    gemm_tn(keys, D, rows, 1, P, keys, d_o, ldq, 1, f->dv + b->k_offset, ldk);
    gemm_nt(rows, keys, D, 1, d_o, ldq, a->v + b->k_offset, ldk, 0, dS, keys);
    /* P = softmax(S) */
    softmax_backward(f, b, P, dS);
    /* S = q k^T / sqrt(D): dq = dS k / sqrt(D), dk += dS^T q / sqrt(D) */
    gemm_nn(rows, D, keys, scale, dS, keys, a->k + b->k_offset, ldk, 0, f->dq + b->q_offset, ldq);
    gemm_tn(keys, D, rows, scale, dS, keys, q, ldq, 1, f->dk + b->k_offset, ldk);
}

/* One key and value head of one sample: its query heads add to the same dk and dv, so one thread
 * does them all. */
static void attention_backward_kv_head(void *context, size_t item, size_t thread)
{
    const struct attention_pass *f = context;
    const struct attention *a = f->attention;
    size_t group = a->heads / a->kv_heads, s = item / a->kv_heads, g = item % a->kv_heads;
    size_t start = a->starts[s] - a->starts[0], T = a->starts[s + 1] - a->starts[s];
    float *P = f->scratch + thread * f->thread_scratch, *dS = P + f->thread_scratch / 2;
    for (size_t h = g * group; h < (g + 1) * group; h++)
        for (size_t query = 0; query < T; query += ROWS) {
            struct query_block b = make_query_block(a, start, T, h, query);
            attention_backward_block(f, &b, P, dS);
        }
}

void attention_backward(const struct attention *a, const float *o, const float *log_sums,
                        const float *d_o, float *dq, float *dk, float *dv, float *scratch)
{
    size_t n = (a->starts[a->samples] - a->starts[0]) * a->kv_heads * a->head_dim;
    memset(dk, 0, n * sizeof *dk);
    memset(dv, 0, n * sizeof *dv);
    parallel_for(a->samples * a->kv_heads, attention_head_cost(a) * (a->heads / a->kv_heads),
                 attention_backward_kv_head,
                 &(struct attention_pass){.attention = a,
                                          .saved_o = o,
                                          .saved_log_sums = log_sums,
                                          .d_o = d_o,
                                          .dq = dq,
                                          .dk = dk,
                                          .dv = dv,
                                          .scratch = scratch,
                                          .thread_scratch = 2 * ROWS * longest_sample_length(a)});
}
