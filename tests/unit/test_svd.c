/* Singular value decompositions and polar factors against known ones, and by the equations that
 * they solve; the two forms of the normal matrix against each other. */
#include "matrix.h"
#include "mem.h"
#include "normal_matrix.h"
#include "svd.h"
#include "unit.h"

#include <stdint.h>

static uint64_t seed = 1;

static double *new_random_matrix(size_t m, size_t n)
{
    double *A = mem_alloc_aligned(m * n * sizeof *A);
    for (size_t i = 0; i < m * n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        A[i] = (double)(seed >> 11) / 4503599627370496.0 - 1;
    }
    return A;
}

static double max_difference(const double *x, const double *y, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(x[i] - y[i]));
    return worst;
}

/* The largest element of X X' - 1; X (m, n) */
static double distance_from_orthonormal(const double *X, size_t m, size_t n)
{
    double *G = mem_alloc(m * m, sizeof *G), worst = 0;
    matrix_gram_of_rows(m, n, 1, X, 0, G);
    for (size_t i = 0; i < m * m; i++)
        worst = fmax(worst, fabs(G[i] - (i % (m + 1) == 0)));
    free(G);
    return worst;
}

/* ---- low rank -------------------------------------------------------------------------------- */

/* A product of factors is decomposed as any matrix is; one of full rank is left to svd_compute. */
static void check_low_rank(size_t m, size_t n, size_t rank, size_t count)
{
    struct error e;
    struct svd fast, full;
    double *B = new_random_matrix(m, rank), *C = new_random_matrix(rank, n);
    double *A = mem_alloc_aligned(m * n * sizeof *A), *product = mem_alloc(m * n, sizeof *product);
    matrix_nn(m, n, rank, 1, B, C, 0, A);
    int found = svd_compute_low_rank(&fast, m, n, A, count, &e);
    CHECK(found == (rank <= count));
    if (found) {
        CHECK(!svd_compute(&full, m, n, A, count, SVD_MIN_TOLERANCE, 0, &e));
        CHECK(max_difference(fast.s, full.s, rank) < 1e-11 * full.s[0]);
        for (size_t i = 0; i < count; i++)
            for (size_t j = 0; j < n; j++)
                fast.V[i * n + j] *= fast.s[i];
        matrix_tn(m, n, count, 1, fast.U, fast.V, 0, product);
        CHECK(max_difference(A, product, m * n) < 1e-11 * full.s[0]);
        svd_free(&fast);
        svd_free(&full);
    }
    free(A);
    free(B);
    free(C);
    free(product);
}

/* ---- singular values ------------------------------------------------------------------------- */

static void check_equations(size_t m, size_t n)
{
    size_t r = m < n ? m : n;
    struct error e;
    struct svd svd;
    double *A = new_random_matrix(m, n), *product = mem_alloc(m * n, sizeof *product), norm;
    CHECK(!svd_compute(&svd, m, n, A, r, SVD_MIN_TOLERANCE, 0, &e));
    CHECK(!svd_norm(m, n, A, &norm, &e) && fabs(norm - svd.s[0]) < 1e-12 * norm);
    CHECK(distance_from_orthonormal(svd.U, r, m) < 1e-11);
    CHECK(distance_from_orthonormal(svd.V, r, n) < 1e-11);
    for (size_t i = 1; i < r; i++)
        CHECK(svd.s[i - 1] >= svd.s[i]);
    for (size_t i = 0; i < r; i++)
        for (size_t j = 0; j < n; j++)
            svd.V[i * n + j] *= svd.s[i];
    matrix_tn(m, n, r, 1, svd.U, svd.V, 0, product);
    CHECK(max_difference(A, product, m * n) < 1e-12);
    svd_free(&svd);
    free(A);
    free(product);
}

/* Two rows of length 3 and 4, and one that is 1e-9 of them. */
static void check_small_singular_values(void)
{
    double A[] = {0, 3, 0, 4, 0, 0, 0, 0, 4e-9, 0, 0, 0};
    struct error e;
    struct svd svd;
    CHECK(!svd_compute(&svd, 4, 3, A, 3, SVD_MIN_TOLERANCE, 0, &e));
    CHECK(fabs(svd.s[0] - 4) < 1e-14 && fabs(svd.s[1] - 3) < 1e-14 && svd.s[2] < 1e-8);
    CHECK(fabs(fabs(svd.U[1]) - 1) < 1e-14 && fabs(fabs(svd.V[0]) - 1) < 1e-14);
    CHECK(fabs(svd.U[1] * svd.V[0] - 1) < 1e-14);
    for (size_t i = 0; i < 4; i++)
        CHECK(svd.U[8 + i] == 0);
    for (size_t j = 0; j < 3; j++)
        CHECK(svd.V[6 + j] == 0);
    svd_free(&svd);
    CHECK(!svd_compute(&svd, 4, 3, A, 2, 0.5, 7, &e)); /* 3 < 0.5 x 7 */
    CHECK(svd.U[1] != 0 && svd.U[4] == 0);
    svd_free(&svd);
    double noughts[6] = {0};
    CHECK(!svd_compute(&svd, 2, 3, noughts, 2, SVD_MIN_TOLERANCE, 0, &e));
    CHECK(svd.s[0] == 0 && max_difference(svd.U, noughts, 4) == 0);
    CHECK(max_difference(svd.V, noughts, 6) == 0);
    svd_free(&svd);
}

/* ---- polar factors --------------------------------------------------------------------------- */

/* Of vectors at 0 and 45 degrees: at -22.5 and 67.5. Of the same vector twice: divided by sqrt 2.
 */
static void check_polar_product(void)
{
    double U[] = {1, 0, sqrt(0.5), sqrt(0.5)}, V[] = {1, 0, 0, 0, 1, 0},
           same[] = {2, 0, 0, 2, 0, 0};
    double a = acos(-1) / 8, s[] = {2, 3}, result[6];
    struct error e;
    CHECK(!svd_polar_product(2, 3, 2, U, NULL, V, 1e-6, result, &e));
    double expected[] = {cos(a), sin(a), 0, -sin(a), cos(a), 0};
    CHECK(max_difference(result, expected, 6) < 1e-14);
    CHECK(!svd_polar_product(2, 3, 2, U, s, same, 1e-6, result, &e));
    double scaled[] = {(2 * cos(a) + 3 * sin(a)) / sqrt(2), 0, 0,
                       (3 * cos(a) - 2 * sin(a)) / sqrt(2), 0, 0};
    CHECK(max_difference(result, scaled, 6) < 1e-14);
    double noughts[6] = {0};
    CHECK(!svd_polar_product(2, 3, 2, noughts, s, V, 1e-6, result, &e));
    CHECK(max_difference(result, noughts, 6) == 0);
}

/* ---- the normal matrix ----------------------------------------------------------------------- */

/* X Q' diag(lam) Q = X C, for both forms of C. */
static void check_normal_matrix(size_t n, size_t max_rows)
{
    enum { X_ROWS = 3, ROWS = 5 };
    struct normal_matrix c;
    struct error e;
    normal_matrix_init(&c, n, max_rows);
    CHECK((c.C != NULL) == (max_rows >= n));
    double *X = new_random_matrix(X_ROWS, n), *sum = mem_alloc(X_ROWS * n, sizeof *sum);
    double *product = mem_alloc(X_ROWS * n, sizeof *product);
    for (int k = 0; k < 2; k++) {
        double *L = new_random_matrix(ROWS, n), l = 2 + k, part[X_ROWS * ROWS];
        normal_matrix_add(&c, ROWS, L, l);
        matrix_nt(X_ROWS, ROWS, n, 1 / l, X, L, 0, part);
        matrix_nn(X_ROWS, n, ROWS, 1, part, L, 1, sum);
        free(L);
    }
    normal_matrix_multiply(&c, X_ROWS, 1, X, 0, product);
    CHECK(max_difference(product, sum, X_ROWS * n) < 1e-13);
    CHECK(!normal_matrix_decompose(&c, &e));
    double *x = mem_alloc(X_ROWS * c.count, sizeof *x);
    matrix_nt(X_ROWS, c.count, n, 1, X, c.eigenvectors, 0, x);
    for (size_t i = 0; i < X_ROWS * c.count; i++)
        x[i] *= c.eigenvalues[n - c.count + i % c.count];
    matrix_nn(X_ROWS, n, c.count, 1, x, c.eigenvectors, 0, product);
    CHECK(max_difference(product, sum, X_ROWS * n) < 1e-12);
    CHECK(distance_from_orthonormal(c.eigenvectors, c.count, n) < 1e-12);
    double last = c.eigenvectors[c.count * n - 1];
    normal_matrix_keep_largest(&c, 4);
    CHECK(c.count == 4 && c.eigenvectors[4 * n - 1] == last);
    free(x);
    free(X);
    free(sum);
    free(product);
    normal_matrix_free(&c);
}

int main(void)
{
    struct error e;
    if (matrix_init(&e)) {
        fprintf(stderr, "test_svd: %s\n", e.text);
        return EXIT_FAILURE;
    }
    check_equations(1, 1);
    check_equations(7, 30);
    check_equations(30, 7);
    check_equations(20, 20);
    check_low_rank(90, 130, 5, 5);
    check_low_rank(130, 90, 3, 8);
    check_low_rank(90, 130, 20, 5);
    check_small_singular_values();
    check_polar_product();
    check_normal_matrix(20, 10);
    check_normal_matrix(10, 10);
    check_normal_matrix(7, 10);
    CHECK(normal_matrix_eigen_rows(7, 10) == 7 && normal_matrix_eigen_rows(10, 7) == 7);
    return unit_end();
}
