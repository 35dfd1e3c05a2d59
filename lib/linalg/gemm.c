#include "gemm.h"

#include "openblas.h"
#include "parallel_for.h"

#include <cblas.h>
#include <stdbool.h>
#include <stdint.h>

#define MIN_SHARED_PRODUCT (1 << 22) /* multiplications below which one thread is faster */
#define TILE_MULTIPLE      32        /* tiles end at multiples of this, for the kernels' sake */

static __typeof__(cblas_sgemm) *sgemm;

int gemm_init(size_t threads, struct error *e)
{
    parallel_set_threads(threads);
    void *function = openblas_function("cblas_sgemm", e);
    if (!function)
        return -1;
    *(void **)&sgemm = function;
    return 0;
}

/* ---- products -------------------------------------------------------------------------------- */

/* C = alpha A B + beta C, with A or B transposed. */
struct product {
    bool transpose_a, transpose_b;
    size_t m, n, k;
    float alpha, beta;
    const float *A, *B;
    float *C;
    size_t lda, ldb, ldc;
};

/* Rows i .. i + m - 1, columns j .. j + n - 1 of C. */
static void multiply_rectangle(const struct product *p, size_t i, size_t m, size_t j, size_t n)
{
    const float *A = p->A + (p->transpose_a ? i : i * p->lda);
    const float *B = p->B + (p->transpose_b ? j * p->ldb : j);
    if (m == 0 || n == 0)
        return;
    sgemm(CblasRowMajor, p->transpose_a ? CblasTrans : CblasNoTrans,
          p->transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)p->k, p->alpha, A,
          (int)p->lda, B, (int)p->ldb, p->beta, p->C + i * p->ldc + j, (int)p->ldc);
}

/* The start of tile `index` when n is divided into `tiles`. */
static size_t tile_start(size_t n, size_t tiles, size_t index)
{
    if (index == tiles)
        return n;
    size_t start = n * index / tiles;
    return n >= tiles * TILE_MULTIPLE ? start / TILE_MULTIPLE * TILE_MULTIPLE : start;
}

/* Rows of tiles: of the ways to divide m x n into `tiles`, the one with the shortest sides, because
 * a thread reads the rows of A and the columns of B of its tile. */
static size_t choose_tile_rows(size_t m, size_t n, size_t tiles)
{
    size_t best = 1, shortest = SIZE_MAX;
    for (size_t rows = 1; rows <= tiles; rows++) {
        if (tiles % rows)
            continue;
        size_t sides = m / rows + n / (tiles / rows);
        if (sides < shortest) {
            shortest = sides;
            best = rows;
        }
    }
    return best;
}

struct tiling {
    const struct product *product;
    size_t rows, columns; /* of tiles */
};

static void multiply_tile(void *context, size_t tile, size_t thread)
{
    const struct tiling *t = context;
    const struct product *p = t->product;
    size_t row = tile / t->columns, column = tile % t->columns;
    size_t i = tile_start(p->m, t->rows, row), j = tile_start(p->n, t->columns, column);
    multiply_rectangle(p, i, tile_start(p->m, t->rows, row + 1) - i, j,
                       tile_start(p->n, t->columns, column + 1) - j);
}

static void multiply_in_tiles(const struct product *p)
{
    size_t tiles = parallel_thread_count();
    if (tiles == 1 || p->m * p->n < MIN_SHARED_PRODUCT / (p->k + 1)) {
        multiply_rectangle(p, 0, p->m, 0, p->n);
        return;
    }
    struct tiling t = {.product = p, .rows = choose_tile_rows(p->m, p->n, tiles)};
    t.columns = tiles / t.rows;
    parallel_for(tiles, p->m * p->n / tiles * p->k, multiply_tile, &t);
}

void gemm_nt(size_t m, size_t n, size_t k, float alpha, const float *A, size_t lda, const float *B,
             size_t ldb, float beta, float *C, size_t ldc)
{
    multiply_in_tiles(&(struct product){false, true, m, n, k, alpha, beta, A, B, C, lda, ldb, ldc});
}

void gemm_nn(size_t m, size_t n, size_t k, float alpha, const float *A, size_t lda, const float *B,
             size_t ldb, float beta, float *C, size_t ldc)
{
    multiply_in_tiles(
        &(struct product){false, false, m, n, k, alpha, beta, A, B, C, lda, ldb, ldc});
}

void gemm_tn(size_t m, size_t n, size_t k, float alpha, const float *A, size_t lda, const float *B,
             size_t ldb, float beta, float *C, size_t ldc)
{
    multiply_in_tiles(&(struct product){true, false, m, n, k, alpha, beta, A, B, C, lda, ldb, ldc});
}
