/* Measures the loops over arrays: bytes read and written and elements per second by one thread, and
 * the bytes relative to a plain loop that reads (or copies) in the same run. Arrays are larger than
 * the caches of a core; results are the best of some rounds.
 *
 *     make bench BENCH=--kernels
 */
#include "dtype.h"
#include "ggml_blocks.h"
#include "hash.h"
#include "bitmask.h"
#include "vector_math.h"
#include "mem.h"
#include "quantized_codes.h"
#include "random.h"
#include "magnitude_rank.h"
#include "magnitude_sort.h"
#include "magnitude_select.h"
#include "simd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N      ((size_t)1 << 24)
#define BLOCK  65536
#define ROW    4096
#define ROUNDS 5

/* (N) elements each */
struct arrays {
    float *x, *y;         /* deltas */
    float *u;             /* uniform random numbers */
    float *to;            /* results */
    float *by_rank;       /* (ROW) */
    uint16_t *bf16, *f16; /* x */
    unsigned char *q8_0;  /* x in Q8_0; also read as blocks of other types, which are smaller */
    unsigned char *bits;
    void *work;
    struct magnitude_select *select;
    struct magnitude_cut cut;
    uint64_t used; /* results of loops, so that the compiler keeps them */
};

/* ---- one block of each kernel --------------------------------------------------------------- */

TV_CLONES static void plain_read(struct arrays *a, size_t i, size_t n)
{
    uint32_t sum = 0, bits;
    for (size_t j = 0; j < n; j++) {
        memcpy(&bits, a->x + i + j, sizeof bits);
        sum += bits;
    }
    a->used += sum;
}

static void plain_copy(struct arrays *a, size_t i, size_t n)
{
    memcpy(a->to + i, a->x + i, n * sizeof(float));
}

static void from_bf16(struct arrays *a, size_t i, size_t n)
{
    dtype_to_f32(DTYPE_BF16, a->bf16 + i, a->to + i, n);
}

static void from_f16(struct arrays *a, size_t i, size_t n)
{
    dtype_to_f32(DTYPE_F16, a->f16 + i, a->to + i, n);
}

/* Scaled in runs of 128, as in a row of 128x128 blocks. */
static void from_codes(enum dtype d, struct arrays *a, size_t i, size_t n)
{
    const unsigned char *codes = (const unsigned char *)a->f16;
    for (size_t j = i; j < i + n; j += 128)
        quantized_codes_to_f32(d, codes + j, a->u[j], a->to + j, 128);
}

static void from_e4m3(struct arrays *a, size_t i, size_t n)
{
    from_codes(DTYPE_F8_E4M3, a, i, n);
}

static void from_e5m2(struct arrays *a, size_t i, size_t n)
{
    from_codes(DTYPE_F8_E5M2, a, i, n);
}

static void from_i8(struct arrays *a, size_t i, size_t n)
{
    from_codes(DTYPE_I8, a, i, n);
}

static void to_bf16(struct arrays *a, size_t i, size_t n)
{
    dtype_from_f32(DTYPE_BF16, a->x + i, a->bf16 + i, n);
}

static void to_f16(struct arrays *a, size_t i, size_t n)
{
    dtype_from_f32(DTYPE_F16, a->x + i, a->f16 + i, n);
}

static void decode(struct arrays *a, enum ggml_type type, size_t i, size_t n)
{
    ggml_blocks_decode(type, a->q8_0, i, n, a->to + i);
}

static void from_q8_0(struct arrays *a, size_t i, size_t n)
{
    decode(a, GGML_TYPE_Q8_0, i, n);
}

static void from_q4_0(struct arrays *a, size_t i, size_t n)
{
    decode(a, GGML_TYPE_Q4_0, i, n);
}

static void from_q2_k(struct arrays *a, size_t i, size_t n)
{
    decode(a, GGML_TYPE_Q2_K, i, n);
}

static void from_q3_k(struct arrays *a, size_t i, size_t n)
{
    decode(a, GGML_TYPE_Q3_K, i, n);
}

static void from_q4_k(struct arrays *a, size_t i, size_t n)
{
    decode(a, GGML_TYPE_Q4_K, i, n);
}

static void from_q5_k(struct arrays *a, size_t i, size_t n)
{
    decode(a, GGML_TYPE_Q5_K, i, n);
}

static void from_q6_k(struct arrays *a, size_t i, size_t n)
{
    decode(a, GGML_TYPE_Q6_K, i, n);
}

static void to_q8_0(struct arrays *a, size_t i, size_t n)
{
    a->used += ggml_blocks_encode_q8_0(a->x + i, n, a->q8_0 + i / 32 * 34) != n;
}

static void finite(struct arrays *a, size_t i, size_t n)
{
    a->used += dtype_find_nonfinite(DTYPE_F32, a->x + i, n);
}

static void hash(struct arrays *a, size_t i, size_t n)
{
    a->used += XXH3_64bits(a->x + i, n * sizeof(float));
}

static void subtract(struct arrays *a, size_t i, size_t n)
{
    vector_math_subtract(a->x + i, a->y + i, a->to + i, n);
}

static void scale(struct arrays *a, size_t i, size_t n)
{
    vector_math_scale(a->to + i, 0.999, n);
}

static void sum_abs(struct arrays *a, size_t i, size_t n)
{
    a->used += vector_math_sum_abs(a->x + i, n) > 0;
}

static void dot(struct arrays *a, size_t i, size_t n)
{
    a->used += vector_math_dot(a->x + i, a->y + i, n) > 0;
}

static void weighted_sum(struct arrays *a, size_t i, size_t n)
{
    float *const both[] = {a->x + i, a->y + i};
    vector_math_weighted_sum(both, (double[]){0.3, 0.7}, 2, 1, a->to + i, n);
}

static void disjoint_mean(struct arrays *a, size_t i, size_t n)
{
    float *const both[] = {a->x + i, a->y + i};
    vector_math_disjoint_mean(both, (double[]){0.3, 0.7}, 2, 0, a->to + i, n);
}

static void elect(struct arrays *a, size_t i, size_t n)
{
    float *const both[] = {a->to + i, a->u + i};
    vector_math_elect_signs_and_zero_others(both, (double[]){0.3, 0.7}, 2, n);
}

static void uniform(struct arrays *a, size_t i, size_t n)
{
    random_fill_uniform(1, 2, i, n, a->u + i);
}

static void mark_below(struct arrays *a, size_t i, size_t n)
{
    bitmask_mark_below(a->u + i, 0.5, n, a->bits + i / 8);
}

static void keep_marked(struct arrays *a, size_t i, size_t n)
{
    bitmask_keep_marked(a->to + i, a->bits + i / 8, n, a->to + i);
}

static void sort_rows(struct arrays *a, size_t i, size_t n)
{
    for (size_t j = 0; j < n; j += ROW)
        a->used += magnitude_sort_ascending(a->x + i + j, ROW, a->work)[0];
}

/* DELLA's draw: probabilities from 0.4 to 0.6. */
static void mark_below_by_rank(struct arrays *a, size_t i, size_t n)
{
    for (size_t j = i; j < i + n; j += ROW)
        magnitude_rank_mark_below(a->x + j, a->u + j, ROW, a->by_rank, a->work,
                                  (unsigned char *)a->to);
}

static void select_observe_block(struct arrays *a, size_t i, size_t n)
{
    magnitude_select_observe_block(a->select, a->x + i, i, n, a->work);
}

static void apply_cut(struct arrays *a, size_t i, size_t n)
{
    magnitude_cut_keep_one_side(&a->cut, true, a->to + i, i, n);
}

/* ---- all kernels ----------------------------------------------------------------------------- */

/* Bytes per element, read and written. */
static const struct {
    const char *name;
    double read, written;
    void (*block)(struct arrays *, size_t first, size_t n);
} kernels[] = {
    {"plain read", 4, 0, plain_read},
    {"plain copy", 4, 4, plain_copy},
    {"bf16 to f32", 2, 4, from_bf16},
    {"f16 to f32", 2, 4, from_f16},
    {"e4m3 to f32", 1, 4, from_e4m3},
    {"e5m2 to f32", 1, 4, from_e5m2},
    {"i8 to f32", 1, 4, from_i8},
    {"q8_0 to f32", 34 / 32., 4, from_q8_0},
    {"q4_0 to f32", 18 / 32., 4, from_q4_0},
    {"q2_k to f32", 84 / 256., 4, from_q2_k},
    {"q3_k to f32", 110 / 256., 4, from_q3_k},
    {"q4_k to f32", 144 / 256., 4, from_q4_k},
    {"q5_k to f32", 176 / 256., 4, from_q5_k},
    {"q6_k to f32", 210 / 256., 4, from_q6_k},
    {"f32 to q8_0", 4, 34 / 32., to_q8_0},
    {"f32 to bf16", 4, 2, to_bf16},
    {"f32 to f16", 4, 2, to_f16},
    {"find non-finite", 4, 0, finite},
    {"checksum (XXH3)", 4, 0, hash},
    {"subtract", 8, 4, subtract},
    {"scale", 4, 4, scale},
    {"sum |x|", 4, 0, sum_abs},
    {"dot", 8, 0, dot},
    {"weighted sum of 2", 8, 4, weighted_sum},
    {"disjoint mean of 2", 8, 4, disjoint_mean},
    {"elect sign of 2", 8, 8, elect},
    {"random (Philox)", 0, 4, uniform},
    {"mark below", 4, 0, mark_below},
    {"keep marked", 4, 4, keep_marked},
    {"sort rows of 4096", 4, 0, sort_rows},
    {"mark below, by rank", 8, 1, mark_below_by_rank},
    {"select: bracket", 4, 0, select_observe_block},
    {"select: apply", 4, 4, apply_cut},
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double best_rate(struct arrays *a, size_t k)
{
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        for (size_t i = 0; i < N; i += BLOCK)
            kernels[k].block(a, i, BLOCK);
        double rate = (double)N * (kernels[k].read + kernels[k].written) / (seconds() - start);
        best = rate > best ? rate : best;
    }
    return best;
}

/* Makes the cut that keeps a fifth, and a selection of the same fifth whose next round observes all
 * elements. */
static void prepare_selection(struct arrays *a)
{
    size_t size = 2 * ROW * sizeof(uint64_t); /* for the rows */
    a->work = mem_alloc(size, 1);
    for (int full = 0; full < 2; full++) {
        struct magnitude_select *s = magnitude_select_new(N, N / 5, TIE_LOWER_INDEX_WINS, 0);
        while (!magnitude_select_is_done(s) && (full || magnitude_select_sample_elements(s))) {
            size_t sample = magnitude_select_sample_elements(s);
            size_t needed = magnitude_select_work_size(s, BLOCK);
            size = needed > size ? needed : size;
            a->work = mem_resize(a->work, size, 1);
            for (size_t i = 0; i < N; i += BLOCK) {
                magnitude_select_observe_block(s, a->x + i, i, sample ? sample : BLOCK, a->work);
                magnitude_select_accumulate_block(s, a->work);
            }
            magnitude_select_decide_after_round(s);
        }
        if (full) {
            a->cut = magnitude_select_result(s);
            magnitude_select_free(s);
        } else {
            a->select = s;
        }
    }
}

static float *new_floats(void)
{
    return mem_alloc_aligned(N * sizeof(float));
}

int main(void)
{
    struct arrays a = {.x = new_floats(), .y = new_floats(), .u = new_floats(), .to = new_floats()};
    a.by_rank = mem_alloc(ROW, sizeof *a.by_rank);
    a.bf16 = mem_alloc_aligned(N * 2);
    a.f16 = mem_alloc_aligned(N * 2);
    a.bits = mem_alloc_aligned(N / 8);
    a.q8_0 = mem_alloc_aligned(N / 32 * 34);
    random_fill_uniform(3, 4, 0, N, a.y);
    random_fill_uniform(5, 6, 0, N, a.u);
    for (size_t i = 0; i < N; i++) { /* many magnitudes, both signs */
        a.x[i] = (a.u[i] - 0.5f) * a.y[i] * 0.01f;
        a.y[i] -= 0.5f;
        a.to[i] = a.x[i];
    }
    for (size_t r = 0; r < ROW; r++)
        a.by_rank[r] = 0.4f + 0.2f * (float)r / ROW;
    dtype_from_f32(DTYPE_BF16, a.x, a.bf16, N);
    dtype_from_f32(DTYPE_F16, a.x, a.f16, N);
    ggml_blocks_encode_q8_0(a.x, N, a.q8_0);
    prepare_selection(&a);
    double read = best_rate(&a, 0), copy = best_rate(&a, 1);
    printf("%-20s %8s %8s %16s\n", "", "GB/s", "G/s", "of a plain loop");
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        double rate = best_rate(&a, k);
        printf("%-20s %8.1f %8.2f %11.0f %% %s\n", kernels[k].name, rate / 1e9,
               rate / 1e9 / (kernels[k].read + kernels[k].written),
               100 * rate / (kernels[k].written > 0 ? copy : read),
               kernels[k].written > 0 ? "copy" : "read");
    }
    magnitude_select_free(a.select);
    free(a.x), free(a.y), free(a.u), free(a.to), free(a.bf16), free(a.f16), free(a.bits);
    free(a.q8_0), free(a.by_rank), free(a.work);
    return a.used == 1; /* never */
}
