/* Matrices of doubles: products and Gram matrices against plain loops, eigenvectors and linear
 * systems against known ones and by the equations that they solve, the same bits on several threads
 * at once, and the sizes that are refused. */
#include "matrix.h"
#include "mem.h"
#include "openblas.h"
#include "unit.h"

#include <pthread.h>
#include <stdint.h>

static uint64_t seed = 1;

/* In [-1, 1) */
static double next_number(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / 4503599627370496.0 - 1;
}

static double *new_random_matrix(size_t m, size_t n)
{
    double *A = mem_alloc_aligned(m * n * sizeof *A);
    for (size_t i = 0; i < m * n; i++)
        A[i] = next_number();
    return A;
}

static double *new_symmetric_matrix(size_t n)
{
    double *A = new_random_matrix(n, n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            A[i * n + j] = A[j * n + i];
    return A;
}

static double max_difference(const double *x, const double *y, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(x[i] - y[i]));
    return worst;
}

/* ---- products -------------------------------------------------------------------------------- */

/* C = 2 op(A) op(B) - C */
static void multiply(size_t m, size_t n, size_t k, bool ta, bool tb, const double *A,
                     const double *B, double *C)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++)
                sum += (ta ? A[l * m + i] : A[i * k + l]) * (tb ? B[j * k + l] : B[l * n + j]);
            C[i * n + j] = 2 * sum - C[i * n + j];
        }
}

static void check_products(size_t m, size_t n, size_t k)
{
    double *A = new_random_matrix(m, k), *B = new_random_matrix(k, n);
    double *C = new_random_matrix(m, n), *expected = mem_alloc(m * n, sizeof *expected);
    memcpy(expected, C, m * n * sizeof *C);
    multiply(m, n, k, false, false, A, B, expected);
    matrix_nn(m, n, k, 2, A, B, -1, C);
    CHECK(max_difference(C, expected, m * n) < 1e-12);
    multiply(m, n, k, false, true, A, B, expected);
    matrix_nt(m, n, k, 2, A, B, -1, C);
    CHECK(max_difference(C, expected, m * n) < 1e-12);
    multiply(m, n, k, true, false, A, B, expected);
    matrix_tn(m, n, k, 2, A, B, -1, C);
    CHECK(max_difference(C, expected, m * n) < 1e-12);
    free(A);
    free(B);
    free(C);
    free(expected);
}

static void check_gram_matrices(size_t m, size_t n)
{
    double *A = new_random_matrix(m, n), *rows = new_symmetric_matrix(m);
    double *columns = new_symmetric_matrix(n);
    double *expected = mem_alloc(m * m + n * n, sizeof *expected);
    memcpy(expected, rows, m * m * sizeof *rows);
    multiply(m, m, n, false, true, A, A, expected);
    matrix_gram_of_rows(m, n, 2, A, -1, rows);
    CHECK(max_difference(rows, expected, m * m) < 1e-12);
    memcpy(expected, columns, n * n * sizeof *columns);
    multiply(n, n, m, true, false, A, A, expected);
    matrix_gram_of_columns(m, n, 2, A, -1, columns);
    CHECK(max_difference(columns, expected, n * n) < 1e-12);
    free(A);
    free(rows);
    free(columns);
    free(expected);
}

/* ---- eigenvectors ---------------------------------------------------------------------------- */

/* A = V^T diag(w) V with orthonormal rows of V, and w ascending. */
static void check_eigenvectors(size_t n)
{
    struct error e;
    double *A = new_symmetric_matrix(n), *V = mem_alloc_aligned(n * n * sizeof *V);
    double *w = mem_alloc(n, sizeof *w), *alone = mem_alloc(n, sizeof *alone);
    double *scaled = mem_alloc(n * n, sizeof *scaled), *product = mem_alloc(n * n, sizeof *product);
    memcpy(V, A, n * n * sizeof *V);
    CHECK(!matrix_eigen(n, V, w, &e));
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            scaled[i * n + j] = w[i] * V[i * n + j];
    matrix_tn(n, n, n, 1, V, scaled, 0, product);
    CHECK(max_difference(product, A, n * n) < 1e-12 * (double)(n + 1));
    matrix_gram_of_rows(n, n, 1, V, 0, product);
    for (size_t i = 0; i < n; i++)
        product[i * n + i] -= 1;
    memset(scaled, 0, n * n * sizeof *scaled);
    CHECK(max_difference(product, scaled, n * n) < 1e-12);
    for (size_t i = 1; i < n; i++)
        CHECK(w[i - 1] <= w[i]);
    CHECK(!matrix_eigenvalues(n, A, alone, &e));
    CHECK(max_difference(w, alone, n) < 1e-12 * (double)(n + 1));
    free(A);
    free(V);
    free(w);
    free(alone);
    free(scaled);
    free(product);
}

/* [2 1; 1 2] has the eigenvalues 1 of (1, -1) and 3 of (1, 1). */
static void check_known_eigenvectors(void)
{
    struct error e;
    double A[] = {2, 1, 1, 2}, w[2];
    CHECK(!matrix_eigen(2, A, w, &e));
    CHECK(fabs(w[0] - 1) < 1e-15 && fabs(w[1] - 3) < 1e-15);
    CHECK(fabs(A[0] + A[1]) < 1e-15 && fabs(A[2] - A[3]) < 1e-15);
    CHECK(fabs(fabs(A[0]) - sqrt(0.5)) < 1e-15 && fabs(fabs(A[2]) - sqrt(0.5)) < 1e-15);
    CHECK(matrix_eigen(MATRIX_EIGEN_MAX + 1, NULL, NULL, &e) == -1);
    CHECK(strstr(e.text, "32767 rows") && strstr(e.text, "32766"));
}

/* ---- linear systems -------------------------------------------------------------------------- */

/* X A = B with A = [4 2; 2 3]: (1, 1) A = (6, 5), (2, -1) A = (6, 1). */
static void check_cholesky(void)
{
    double A[] = {4, 2, 2, 3}, B[] = {6, 5, 6, 1}, X[] = {1, 1, 2, -1};
    CHECK(!matrix_cholesky(2, A));
    matrix_cholesky_solve(2, 2, A, B);
    CHECK(max_difference(B, X, 4) < 1e-14);
    double indefinite[] = {1, 2, 2, 1}, singular[] = {1, 0, 0, 0};
    CHECK(matrix_cholesky(2, indefinite) == -1 && matrix_cholesky(2, singular) == -1);

    enum { ROWS = 7, N = 50 };
    double *any = new_random_matrix(2 * N, N), *gram = mem_alloc(N * N, sizeof *gram);
    double *factor = mem_alloc_aligned(N * N * sizeof *factor);
    double *right = new_random_matrix(ROWS, N), *solution = mem_alloc(ROWS * N, sizeof *solution);
    matrix_gram_of_columns(2 * N, N, 1, any, 0, gram);
    memcpy(factor, gram, N * N * sizeof *factor);
    CHECK(!matrix_cholesky(N, factor));
    memcpy(solution, right, ROWS * N * sizeof *solution);
    matrix_cholesky_solve(ROWS, N, factor, solution);
    matrix_nn(ROWS, N, N, 1, solution, gram, -1, right);
    for (size_t i = 0; i < ROWS * N; i++)
        CHECK(fabs(right[i]) < 1e-11);
    free(any);
    free(gram);
    free(factor);
    free(right);
    free(solution);
}

/* ---- threads --------------------------------------------------------------------------------- */

enum { THREADS = 4, SIZE = 150 };

struct thread_result {
    const double *A;
    double *V, w[SIZE];
    bool failed;
};

static void *compute_eigenvectors(void *argument)
{
    struct thread_result *r = argument;
    struct error e;
    for (int round = 0; round < 5; round++) {
        matrix_gram_of_rows(SIZE, SIZE, 1, r->A, 0, r->V);
        r->failed |= matrix_eigen(SIZE, r->V, r->w, &e) != 0;
    }
    return NULL;
}

static void check_threads(void)
{
    static struct thread_result results[THREADS];
    pthread_t threads[THREADS];
    double *A = new_random_matrix(SIZE, SIZE);
    for (size_t i = 0; i < THREADS; i++) {
        results[i].A = A;
        results[i].V = mem_alloc_aligned(SIZE * SIZE * sizeof *A);
        CHECK(!pthread_create(&threads[i], NULL, compute_eigenvectors, &results[i]));
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(!results[i].failed);
        CHECK(!memcmp(results[i].V, results[0].V, SIZE * SIZE * sizeof *A));
        CHECK(!memcmp(results[i].w, results[0].w, sizeof results[0].w));
    }
    for (size_t i = 0; i < THREADS; i++)
        free(results[i].V);
    free(A);
}

int main(void)
{
    struct error e;
    if (matrix_init(&e)) {
        fprintf(stderr, "test_matrix: %s\n", e.text);
        return EXIT_FAILURE;
    }
    CHECK(!openblas_function("no_such_function_", &e));
    CHECK(!strcmp(e.text, "libopenblas.so.0 has no function no_such_function_"));
    CHECK(!strncmp(openblas_description(), "OpenBLAS ", 9));
    check_products(1, 1, 1);
    check_products(3, 5, 2);
    check_products(70, 129, 65);
    check_gram_matrices(1, 3);
    check_gram_matrices(5, 2);
    check_gram_matrices(150, 131);
    check_known_eigenvectors();
    check_eigenvectors(1);
    check_eigenvectors(2);
    check_eigenvectors(100);
    check_cholesky();
    check_threads();
    return unit_end();
}
