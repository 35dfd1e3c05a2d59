#include "matrix.h"

#include "mem.h"
#include "openblas.h"

#include <stdlib.h>
#include <string.h>

/* Arguments of the functions of CBLAS: cblas.h would need a package for these numbers. */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112, LOWER = 122 };

/* LAPACK's functions have Fortran's arguments: column-major matrices, all by reference. What they
 * take for the upper triangle is the lower one of a row-major matrix. */
static struct {
    void (*dgemm)(int order, int transpose_a, int transpose_b, int m, int n, int k, double alpha,
                  const double *a, int lda, const double *b, int ldb, double beta, double *c,
                  int ldc);
    void (*dsyrk)(int order, int uplo, int transpose, int n, int k, double alpha, const double *a,
                  int lda, double beta, double *c, int ldc);
    void (*dsyevd)(const char *jobz, const char *uplo, const int *n, double *a, const int *lda,
                   double *w, double *work, const int *lwork, int *iwork, const int *liwork,
                   int *info);
    void (*dpotrf)(const char *uplo, const int *n, double *a, const int *lda, int *info);
    void (*dpotrs)(const char *uplo, const int *n, const int *nrhs, const double *a, const int *lda,
                   double *b, const int *ldb, int *info);
} blas;

int matrix_init(struct error *e)
{
    const struct {
        const char *name;
        void *pointer;
    } functions[] = {
        {"cblas_dgemm", &blas.dgemm}, {"cblas_dsyrk", &blas.dsyrk}, {"dsyevd_", &blas.dsyevd},
        {"dpotrf_", &blas.dpotrf},    {"dpotrs_", &blas.dpotrs},
    };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *function = openblas_function(functions[i].name, e);
        if (!function)
            return -1;
        memcpy(functions[i].pointer, &function, sizeof function);
    }
    return 0;
}

/* ---- products -------------------------------------------------------------------------------- */

void matrix_nn(size_t m, size_t n, size_t k, double alpha, const double *A, const double *B,
               double beta, double *C)
{
    blas.dgemm(ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, (int)m, (int)n, (int)k, alpha, A, (int)k, B,
               (int)n, beta, C, (int)n);
}

void matrix_nt(size_t m, size_t n, size_t k, double alpha, const double *A, const double *B,
               double beta, double *C)
{
    blas.dgemm(ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE, (int)m, (int)n, (int)k, alpha, A, (int)k, B,
               (int)k, beta, C, (int)n);
}

void matrix_tn(size_t m, size_t n, size_t k, double alpha, const double *A, const double *B,
               double beta, double *C)
{
    blas.dgemm(ROW_MAJOR, TRANSPOSE, NO_TRANSPOSE, (int)m, (int)n, (int)k, alpha, A, (int)m, B,
               (int)n, beta, C, (int)n);
}

/* ---- Gram matrices --------------------------------------------------------------------------- */

#define TILE 64 /* of the transposition, so that it stays in cache */

static void copy_lower_triangle_to_upper(size_t n, double *C)
{
    for (size_t i0 = 0; i0 < n; i0 += TILE)
        for (size_t j0 = 0; j0 <= i0; j0 += TILE)
            for (size_t i = i0; i < n && i < i0 + TILE; i++)
                for (size_t j = j0; j < i && j < j0 + TILE; j++)
                    C[j * n + i] = C[i * n + j];
}

void matrix_gram_of_rows(size_t m, size_t n, double alpha, const double *A, double beta, double *C)
{
    blas.dsyrk(ROW_MAJOR, LOWER, NO_TRANSPOSE, (int)m, (int)n, alpha, A, (int)n, beta, C, (int)m);
    copy_lower_triangle_to_upper(m, C);
}

void matrix_gram_of_columns(size_t m, size_t n, double alpha, const double *A, double beta,
                            double *C)
{
    blas.dsyrk(ROW_MAJOR, LOWER, TRANSPOSE, (int)n, (int)m, alpha, A, (int)n, beta, C, (int)n);
    copy_lower_triangle_to_upper(n, C);
}

/* ---- eigenvectors ---------------------------------------------------------------------------- */

static int decompose(const char *job, size_t n, double *A, double *eigenvalues, struct error *e)
{
    if (n > MATRIX_EIGEN_MAX)
        return error_set(e, "eigenvectors of a matrix of %zu rows; at most %zu are supported", n,
                         MATRIX_EIGEN_MAX);
    if (n == 0)
        return 0;
    int size = (int)n, ask = -1, work_size, iwork_size, info;
    double best;
    blas.dsyevd(job, "U", &size, A, &size, eigenvalues, &best, &ask, &iwork_size, &ask, &info);
    work_size = (int)best;
    double *work = mem_alloc_aligned((size_t)work_size * sizeof *work);
    int *iwork = mem_alloc((size_t)iwork_size, sizeof *iwork);
    blas.dsyevd(job, "U", &size, A, &size, eigenvalues, work, &work_size, iwork, &iwork_size,
                &info);
    free(work);
    free(iwork);
    return info ? error_set(e, "the eigenvectors of a matrix of %zu rows do not converge", n) : 0;
}

int matrix_eigen(size_t n, double *A, double *eigenvalues, struct error *e)
{
    return decompose("V", n, A, eigenvalues, e);
}

int matrix_eigenvalues(size_t n, double *A, double *eigenvalues, struct error *e)
{
    return decompose("N", n, A, eigenvalues, e);
}

/* ---- linear systems -------------------------------------------------------------------------- */

int matrix_cholesky(size_t n, double *A)
{
    int size = (int)n, info;
    blas.dpotrf("U", &size, A, &size, &info);
    return info ? -1 : 0;
}

void matrix_cholesky_solve(size_t m, size_t n, const double *factor, double *B)
{
    int size = (int)n, rows = (int)m, info;
    blas.dpotrs("U", &size, &rows, factor, &size, B, &size, &info);
}
