#include "gemm.h"

#include "mem.h"
#include "parallel_for.h"

#include <cblas.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define SMALL (1 << 22) /* multiplications below which threads cost more than they bring */
#define EDGE  32        /* rectangles end at multiples of this, which kernels like */

static __typeof__(cblas_sgemm) *sgemm;

/* ---- the library ----------------------------------------------------------------------------- */

static void *load_any(void)
{
    static const char *const names[] = {"libopenblas.so.0", "libopenblas.so", "libopenblasp.so.0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (library)
            return library;
    }
    return NULL;
}

/* It starts threads of its own while it is loaded, unless the environment says otherwise; which is
 * put back, for it goes to child processes too. */
static void *load(void)
{
    static const char key[] = "OPENBLAS_NUM_THREADS";
    const char *before = getenv(key);
    char *copy = before ? mem_copy_text(before) : NULL;
    setenv(key, "1", 1);
    void *library = load_any();
    if (copy)
        setenv(key, copy, 1);
    else
        unsetenv(key);
    free(copy);
    return library;
}

int gemm_init(size_t threads, struct error *e)
{
    parallel_set_threads(threads);
    if (sgemm)
        return 0;
    void *library = load();
    if (!library)
        return error_set(e, "matrix products need OpenBLAS, and libopenblas.so.0 cannot be loaded "
                            "(Debian: apt-get install libopenblas0-pthread)");
    void *found = dlsym(library, "cblas_sgemm");
    if (!found)
        return error_set(e, "the libopenblas.so.0 at hand has no cblas_sgemm");
    *(void **)&sgemm = found;
    void (*set_threads)(int);
    *(void **)&set_threads = dlsym(library, "openblas_set_num_threads");
    if (set_threads)
        set_threads(1);
    return 0;
}

/* ---- products -------------------------------------------------------------------------------- */

struct product {
    bool turn_a, turn_b; /* A^T, B^T */
    size_t m, n, k;
    float alpha, beta;
    const float *A, *B;
    float *C;
    size_t lda, ldb, ldc;
};

/* Rows i .. i + m - 1, columns j .. j + n - 1 of the result. */
static void rectangle(const struct product *p, size_t i, size_t m, size_t j, size_t n)
{
    const float *A = p->A + (p->turn_a ? i : i * p->lda);
    const float *B = p->B + (p->turn_b ? j * p->ldb : j);
    if (m == 0 || n == 0)
        return;
    sgemm(CblasRowMajor, p->turn_a ? CblasTrans : CblasNoTrans,
          p->turn_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)p->k, p->alpha, A,
          (int)p->lda, B, (int)p->ldb, p->beta, p->C + i * p->ldc + j, (int)p->ldc);
}

/* Part `index` of `parts` of n: where it starts. */
static size_t part_start(size_t n, size_t parts, size_t index)
{
    if (index == parts)
        return n;
    size_t start = n * index / parts;
    return n >= parts * EDGE ? start / EDGE * EDGE : start;
}

/* Of the ways to cut m x n into `parts` rectangles, the one whose sides are shortest: each thread
 * reads the rows of A and the columns of B of its own. */
static size_t cut_rows(size_t m, size_t n, size_t parts)
{
    size_t best = 1, least = SIZE_MAX;
    for (size_t rows = 1; rows <= parts; rows++) {
        if (parts % rows)
            continue;
        size_t sides = m / rows + n / (parts / rows);
        if (sides < least) {
            least = sides;
            best = rows;
        }
    }
    return best;
}

struct cut {
    const struct product *product;
    size_t rows, columns; /* of rectangles */
};

static void multiply_part(void *context, size_t part, size_t member)
{
    const struct cut *c = context;
    const struct product *p = c->product;
    size_t row = part / c->columns, column = part % c->columns;
    size_t i = part_start(p->m, c->rows, row), j = part_start(p->n, c->columns, column);
    rectangle(p, i, part_start(p->m, c->rows, row + 1) - i, j,
              part_start(p->n, c->columns, column + 1) - j);
}

static void multiply(const struct product *p)
{
    size_t parts = parallel_threads();
    if (parts == 1 || p->m * p->n < SMALL / (p->k + 1)) {
        rectangle(p, 0, p->m, 0, p->n);
        return;
    }
    struct cut c = {.product = p, .rows = cut_rows(p->m, p->n, parts)};
    c.columns = parts / c.rows;
    parallel_for(parts, p->m * p->n / parts * p->k, multiply_part, &c);
}

void gemm_nt(size_t m, size_t n, size_t k, float alpha, const float *A, size_t lda, const float *B,
             size_t ldb, float beta, float *C, size_t ldc)
{
    multiply(&(struct product){false, true, m, n, k, alpha, beta, A, B, C, lda, ldb, ldc});
}

void gemm_nn(size_t m, size_t n, size_t k, float alpha, const float *A, size_t lda, const float *B,
             size_t ldb, float beta, float *C, size_t ldc)
{
    multiply(&(struct product){false, false, m, n, k, alpha, beta, A, B, C, lda, ldb, ldc});
}

void gemm_tn(size_t m, size_t n, size_t k, float alpha, const float *A, size_t lda, const float *B,
             size_t ldb, float beta, float *C, size_t ldc)
{
    multiply(&(struct product){true, false, m, n, k, alpha, beta, A, B, C, lda, ldb, ldc});
}
