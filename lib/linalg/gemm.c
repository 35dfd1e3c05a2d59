#include "gemm.h"

#include "gemm_kernel.h"
#include "mem.h"
#include "parallel_for.h"
#include "simd.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The sides of blocks. MAX_ROWS of A and MAX_COLUMNS of B are packed, MAX_DEPTH numbers of k at a
 * time. The threads share tiles of the block's product: a tile's slices of A and B are in a
 * thread's L2 cache, and the slice of A that it multiplies is in its L1 cache. */
#define MAX_DEPTH        ((size_t)384)
#define MAX_ROWS         ((size_t)1536)
#define MAX_COLUMNS      ((size_t)1024)
#define TILE_SIDE        ((size_t)192)
#define MIN_TILE_SIDE    ((size_t)96)
#define TILES_PER_THREAD ((size_t)4) /* so that threads that finish early can take more */
/* Multiplications below which one thread is faster. */
#define MIN_SHARED_PRODUCT ((size_t)1 << 22)
/* Rows at a multiple of this distance share sets of the L1 cache. */
#define CACHE_SET_DISTANCE ((size_t)512)

/* A or B: `n` vectors of k numbers, rows of A or columns of B. */
struct operand {
    const float *numbers;
    size_t n, ld;
    bool k_is_row; /* number p of vector i is at p ld + i, otherwise at i ld + p */
};

struct product {
    struct operand a, b;
    size_t k;
    float alpha, beta;
    float *C;
    size_t ldc;
};

/* A block of C, rows i .. i + m - 1 and columns j .. j + n - 1, to which the `depth` numbers of k
 * from p on contribute. */
struct block {
    const struct product *product;
    const struct gemm_kernel *kernel;
    size_t i, m, j, n, p, depth;
    bool packs_a;
    float *A, *B; /* packed: (slices of m, depth, kernel->rows), (.., depth, kernel->columns) */
    size_t row_tiles, column_tiles, tile_rows, tile_columns;
};

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* ---- packing --------------------------------------------------------------------------------- */

typedef float four_floats __attribute__((vector_size(16)));
typedef int four_ints __attribute__((vector_size(16)));

#ifdef __clang__
#define SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define SHUFFLE(x, y, ...) __builtin_shuffle(x, y, (four_ints){__VA_ARGS__})
#endif

/* to[q width + i] = from[i ld + q],  i, q < 4 */
TV_INLINE void transpose_4x4(const float *from, size_t ld, float *to, size_t width)
{
    four_floats x[4];
    for (size_t i = 0; i < 4; i++)
        memcpy(&x[i], from + i * ld, sizeof x[i]);
    four_floats low01 = SHUFFLE(x[0], x[1], 0, 4, 1, 5), high01 = SHUFFLE(x[0], x[1], 2, 6, 3, 7);
    four_floats low23 = SHUFFLE(x[2], x[3], 0, 4, 1, 5), high23 = SHUFFLE(x[2], x[3], 2, 6, 3, 7);
    x[0] = SHUFFLE(low01, low23, 0, 1, 4, 5);
    x[1] = SHUFFLE(low01, low23, 2, 3, 6, 7);
    x[2] = SHUFFLE(high01, high23, 0, 1, 4, 5);
    x[3] = SHUFFLE(high01, high23, 2, 3, 6, 7);
    for (size_t q = 0; q < 4; q++)
        memcpy(to + q * width, &x[q], sizeof x[q]);
}

/* A slice, to (depth, width), from n rows of numbers: to[q width + i] = from[i ld + q] */
TV_HOT static void pack_rows(const float *from, size_t ld, size_t n, size_t depth, size_t width,
                             float *to)
{
    size_t q = 0;
    for (; q + 4 <= depth; q += 4) {
        size_t i = 0;
        for (; i + 4 <= n; i += 4)
            transpose_4x4(from + i * ld + q, ld, to + q * width + i, width);
        for (; i < n; i++)
            for (size_t r = q; r < q + 4; r++)
                to[r * width + i] = from[i * ld + r];
    }
    for (; q < depth; q++)
        for (size_t i = 0; i < n; i++)
            to[q * width + i] = from[i * ld + q];
}

/* Several slices from columns, row by row: to[q width + i] = from[q ld + i] in the first slice. */
TV_HOT static void pack_columns(const float *from, size_t ld, size_t n, size_t depth, size_t width,
                                float *to)
{
    for (size_t q = 0; q < depth; q++, from += ld, to += width)
        for (size_t i = 0; i < n; i += width) {
            size_t r = 0, m = min_size(n - i, width);
            for (; r + 4 <= m; r += 4)
                memcpy(to + i * depth + r, from + i + r, sizeof(four_floats));
            for (; r < m; r++)
                to[i * depth + r] = from[i + r];
        }
}

/* The n vectors of an operand from `first` on, in slices of `width`; the last slice is filled up
 * with zeros. */
static void pack_slices(const struct operand *x, size_t first, size_t n, size_t p, size_t depth,
                        size_t width, float *to)
{
    size_t last = n / width * width;
    if (last < n)
        memset(to + last * depth, 0, depth * width * sizeof *to);
    if (x->k_is_row)
        pack_columns(x->numbers + p * x->ld + first, x->ld, n, depth, width, to);
    for (size_t i = 0; !x->k_is_row && i < n; i += width)
        pack_rows(x->numbers + (first + i) * x->ld + p, x->ld, min_size(n - i, width), depth, width,
                  to + i * depth);
}

/* Some slices of B, then of A. */
static void pack_tile(void *context, size_t tile, size_t thread)
{
    const struct block *b = context;
    if (tile < b->column_tiles) {
        size_t j = tile * b->tile_columns;
        pack_slices(&b->product->b, b->j + j, min_size(b->n - j, b->tile_columns), b->p, b->depth,
                    b->kernel->columns, b->B + j * b->depth);
    } else {
        size_t i = (tile - b->column_tiles) * b->tile_rows;
        pack_slices(&b->product->a, b->i + i, min_size(b->m - i, b->tile_rows), b->p, b->depth,
                    b->kernel->rows, b->A + i * b->depth);
    }
}

/* ---- multiplication -------------------------------------------------------------------------- */

/* C for the kernel's block at row i and column j of the block. */
static void multiply_slices(const struct block *b, size_t i, size_t j)
{
    const struct product *x = b->product;
    const struct gemm_kernel *kernel = b->kernel;
    size_t m = min_size(b->m - i, kernel->rows), n = min_size(b->n - j, kernel->columns);
    const float *B = b->B + j * b->depth;
    struct gemm_rows A = {b->A + i * b->depth, 1, kernel->rows};
    if (!b->packs_a)
        A = (struct gemm_rows){x->a.numbers + (b->i + i) * x->a.ld + b->p, x->a.ld, 1};
    float beta = b->p ? 1 : x->beta, *C = x->C + (b->i + i) * x->ldc + b->j + j;
    if (n == kernel->columns) {
        kernel->multiply(m, b->depth, x->alpha, &A, B, beta, C, x->ldc);
        return;
    }
    float edge[GEMM_KERNEL_MAX_BLOCK];
    for (size_t r = 0; r < m && beta != 0; r++)
        memcpy(edge + r * kernel->columns, C + r * x->ldc, n * sizeof *C);
    kernel->multiply(m, b->depth, x->alpha, &A, B, beta, edge, kernel->columns);
    for (size_t r = 0; r < m; r++)
        memcpy(C + r * x->ldc, edge + r * kernel->columns, n * sizeof *C);
}

static void multiply_tile(void *context, size_t tile, size_t thread)
{
    const struct block *b = context;
    size_t i = tile / b->column_tiles * b->tile_rows, j = tile % b->column_tiles * b->tile_columns;
    size_t end_i = min_size(i + b->tile_rows, b->m), end_j = min_size(j + b->tile_columns, b->n);
    for (size_t r = i; r < end_i; r += b->kernel->rows)
        for (size_t c = j; c < end_j; c += b->kernel->columns)
            multiply_slices(b, r, c);
}

/* The size of equal parts of n, each at most `most`. */
static size_t part_size(size_t n, size_t most, size_t multiple)
{
    size_t parts = (n + most - 1) / most;
    return parts ? round_up((n + parts - 1) / parts, multiple) : 0;
}

/* Divides the block into tiles: smaller ones if there are few for each thread. */
static void choose_tiles(struct block *b)
{
    size_t wanted = TILES_PER_THREAD * parallel_thread_count();
    for (size_t side = TILE_SIDE; side >= MIN_TILE_SIDE; side /= 2) {
        b->tile_rows = part_size(b->m, side, b->kernel->rows);
        b->tile_columns = part_size(b->n, side, b->kernel->columns);
        b->row_tiles = (b->m + b->tile_rows - 1) / b->tile_rows;
        b->column_tiles = (b->n + b->tile_columns - 1) / b->tile_columns;
        if (b->row_tiles * b->column_tiles >= wanted)
            return;
    }
}

/* Rows of A are read where they are, unless they share sets of the L1 cache. */
static bool must_pack_a(const struct product *x)
{
    return x->a.k_is_row || x->a.ld % CACHE_SET_DISTANCE == 0;
}

/* With `pack_a` false the slices of A are packed already, or not at all. */
static void multiply_block(struct block *b, bool pack_a)
{
    bool shared = b->m * b->n >= MIN_SHARED_PRODUCT / (b->product->k + 1);
    choose_tiles(b);
    size_t packed_tiles = b->column_tiles + (pack_a ? b->row_tiles : 0);
    parallel_for(packed_tiles, shared ? b->depth * TILE_SIDE : 0, pack_tile, b);
    parallel_for(b->row_tiles * b->column_tiles, shared ? MIN_SHARED_PRODUCT : 0, multiply_tile, b);
}

static void multiply(const struct product *x)
{
    struct block b = {.product = x, .kernel = gemm_kernel_choose(), .packs_a = must_pack_a(x)};
    size_t rows = part_size(x->a.n, MAX_ROWS, b.kernel->rows);
    size_t columns = part_size(x->b.n, MAX_COLUMNS, b.kernel->columns);
    size_t depth = part_size(x->k, MAX_DEPTH, 4);
    b.B = mem_alloc_aligned((columns + (b.packs_a ? rows : 0)) * depth * sizeof *b.B);
    b.A = b.B + columns * depth;
    for (b.i = 0; b.i < x->a.n; b.i += b.m) {
        b.m = min_size(x->a.n - b.i, rows);
        for (b.p = 0; b.p == 0 || b.p < x->k; b.p += depth) {
            b.depth = min_size(x->k - b.p, depth);
            for (b.j = 0; b.j < x->b.n; b.j += b.n) {
                b.n = min_size(x->b.n - b.j, columns);
                multiply_block(&b, b.packs_a && b.j == 0);
            }
            if (x->k == 0)
                break;
        }
    }
    free(b.B);
}

void gemm_nt(size_t m, size_t n, size_t k, float alpha, const float *A, size_t lda, const float *B,
             size_t ldb, float beta, float *C, size_t ldc)
{
    multiply(&(struct product){{A, m, lda, false}, {B, n, ldb, false}, k, alpha, beta, C, ldc});
}

void gemm_nn(size_t m, size_t n, size_t k, float alpha, const float *A, size_t lda, const float *B,
             size_t ldb, float beta, float *C, size_t ldc)
{
    multiply(&(struct product){{A, m, lda, false}, {B, n, ldb, true}, k, alpha, beta, C, ldc});
}

void gemm_tn(size_t m, size_t n, size_t k, float alpha, const float *A, size_t lda, const float *B,
             size_t ldb, float beta, float *C, size_t ldc)
{
    multiply(&(struct product){{A, m, lda, true}, {B, n, ldb, true}, k, alpha, beta, C, ldc});
}
