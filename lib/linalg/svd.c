#include "svd.h"

#include "matrix.h"
#include "mem.h"
#include "random.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The Gram matrix of the shorter side, to be freed. */
static double *new_gram_matrix(size_t m, size_t n, const double *A)
{
    size_t r = m < n ? m : n;
    double *G = mem_alloc_aligned(r * r * sizeof *G);
    if (m < n)
        matrix_gram_of_rows(m, n, 1, A, 0, G);
    else
        matrix_gram_of_columns(m, n, 1, A, 0, G);
    return G;
}

static double square_root(double eigenvalue)
{
    return eigenvalue > 0 ? sqrt(eigenvalue) : 0;
}

/* The first rows in descending order are the last ones in ascending order. */
static void copy_rows_in_reverse(const double *from, size_t n_from, size_t columns, size_t count,
                                 double *to)
{
    for (size_t i = 0; i < count; i++)
        memcpy(to + i * columns, from + (n_from - 1 - i) * columns, columns * sizeof *to);
}

static void scale_row(double *row, double factor, size_t n)
{
    for (size_t j = 0; j < n; j++)
        row[j] *= factor;
}

double svd_memory(size_t m, size_t n)
{
    double r = (double)(m < n ? m : n), sides = (double)m + (double)n;
    return (double)m * (double)n + sides * r + 3 * r * r;
}

int svd_compute(struct svd *svd, size_t m, size_t n, const double *A, size_t count,
                double tolerance, double norm, struct error *e)
{
    size_t r = m < n ? m : n;
    double *G = new_gram_matrix(m, n, A), *lam = mem_alloc(r, sizeof *lam);
    *svd = (struct svd){.count = count, .s = mem_alloc(r, sizeof *svd->s)};
    svd->U = mem_alloc_aligned(count * m * sizeof *svd->U);
    svd->V = mem_alloc_aligned(count * n * sizeof *svd->V);
    int failed = matrix_eigen(r, G, lam, e);
    for (size_t i = 0; i < r; i++)
        svd->s[i] = square_root(lam[r - 1 - i]);
    copy_rows_in_reverse(G, r, r, count, m < n ? svd->U : svd->V);
    free(G);
    free(lam);
    if (failed)
        return -1;
    if (m < n)
        matrix_nn(count, n, m, 1, svd->U, A, 0, svd->V);
    else
        matrix_nt(count, m, n, 1, svd->V, A, 0, svd->U);
    double least = tolerance * (norm > 0 ? norm : svd->s[0]);
    for (size_t i = 0; i < count; i++) {
        bool is_there = svd->s[i] > least;
        double inverse = is_there ? 1 / svd->s[i] : 0;
        scale_row(svd->U + i * m, m < n ? is_there : inverse, m);
        scale_row(svd->V + i * n, m < n ? inverse : is_there, n);
    }
    return 0;
}

/* ---- matrices of low rank -------------------------------------------------------------------- */

#define OVERSAMPLING   8
#define RANGE_EPSILON  1e-4 /* directions below are inexact, by 1e-8 at this one */
#define MAX_DIFFERENCE 3e-7 /* relative to A: more than F32's rounding of a sum of factors */

/* (n, p) numbers of mean 0, the same in every run; to be freed. */
static double *new_random_vectors(size_t n, size_t p)
{
    float u[256];
    double *X = mem_alloc_aligned(n * p * sizeof *X);
    for (size_t first = 0; first < n * p; first += 256) {
        size_t count = n * p - first < 256 ? n * p - first : 256;
        random_fill_uniform(1, 0, first, count, u);
        for (size_t i = 0; i < count; i++)
            X[first + i] = (double)u[i] - 0.5;
    }
    return X;
}

static double squared_norm(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum;
}

/* |A - Q' C|^2, with Q (p, m) and C (p, n) */
static double squared_difference(size_t m, size_t n, size_t p, const double *A, const double *Q,
                                 const double *C)
{
    double *rest = mem_alloc_aligned(m * n * sizeof *rest);
    memcpy(rest, A, m * n * sizeof *rest);
    matrix_tn(m, n, p, -1, Q, C, 1, rest);
    double sum = squared_norm(rest, m * n);
    free(rest);
    return sum;
}

/* The decomposition of Q' C from that of C. */
static int compute_in_range(struct svd *svd, size_t m, size_t n, size_t p, size_t count,
                            const double *Q, const double *C, struct error *e)
{
    struct svd small;
    size_t r = m < n ? m : n;
    *svd = (struct svd){.count = count, .s = mem_alloc(r, sizeof *svd->s)};
    svd->U = mem_alloc(count, m * sizeof *svd->U);
    svd->V = mem_alloc(count, n * sizeof *svd->V);
    size_t kept = count < p ? count : p;
    int failed = svd_compute(&small, p, n, C, kept, SVD_MIN_TOLERANCE, 0, e);
    if (!failed) {
        memcpy(svd->s, small.s, (p < r ? p : r) * sizeof *svd->s);
        matrix_nn(kept, m, p, 1, small.U, Q, 0, svd->U);
        memcpy(svd->V, small.V, kept * n * sizeof *svd->V);
    }
    svd_free(&small);
    return failed;
}

int svd_compute_low_rank(struct svd *svd, size_t m, size_t n, const double *A, size_t count,
                         struct error *e)
{
    size_t p = count + OVERSAMPLING;
    if (4 * p > m || 4 * p > n)
        return 0;
    double *X = new_random_vectors(n, p), *Y = mem_alloc_aligned(m * p * sizeof *Y);
    double *C = mem_alloc_aligned(p * n * sizeof *C);
    struct svd range;
    matrix_nn(m, p, n, 1, A, X, 0, Y);
    int result = svd_compute(&range, m, p, Y, p, RANGE_EPSILON, 0, e);
    if (!result) {
        matrix_nn(p, n, m, 1, range.U, A, 0, C);
        double most = MAX_DIFFERENCE * MAX_DIFFERENCE * squared_norm(A, m * n);
        if (squared_difference(m, n, p, A, range.U, C) <= most)
            result = compute_in_range(svd, m, n, p, count, range.U, C, e) ? -1 : 1;
    } else {
        *svd = (struct svd){0};
    }
    svd_free(&range);
    free(X);
    free(Y);
    free(C);
    return result;
}

void svd_free(struct svd *svd)
{
    free(svd->s);
    free(svd->U);
    free(svd->V);
}

int svd_norm(size_t m, size_t n, const double *A, double *norm, struct error *e)
{
    size_t r = m < n ? m : n;
    double *G = new_gram_matrix(m, n, A), *lam = mem_alloc(r, sizeof *lam);
    int failed = matrix_eigenvalues(r, G, lam, e);
    *norm = failed ? 0 : square_root(lam[r - 1]);
    free(G);
    free(lam);
    return failed;
}

/* (X X')^-1/2 of X (count, n), over the directions that are there; to be freed. NULL on error. */
static double *new_inverse_square_root(size_t count, size_t n, const double *X, double tolerance,
                                       struct error *e)
{
    double *G = mem_alloc_aligned(count * count * sizeof *G);
    double *scaled = mem_alloc_aligned(count * count * sizeof *scaled);
    double *result = mem_alloc_aligned(count * count * sizeof *result);
    double *lam = mem_alloc(count, sizeof *lam);
    matrix_gram_of_rows(count, n, 1, X, 0, G);
    int failed = matrix_eigen(count, G, lam, e);
    if (!failed) {
        double least = tolerance * tolerance * fmax(lam[count - 1], 0);
        memcpy(scaled, G, count * count * sizeof *G);
        for (size_t i = 0; i < count; i++)
            scale_row(scaled + i * count, lam[i] > least ? 1 / sqrt(lam[i]) : 0, count);
        matrix_tn(count, count, count, 1, G, scaled, 0, result);
    }
    free(G);
    free(scaled);
    free(lam);
    if (!failed)
        return result;
    free(result);
    return NULL;
}

int svd_polar_product(size_t m, size_t n, size_t count, const double *U, const double *s,
                      const double *V, double tolerance, double *result, struct error *e)
{
    double *left = new_inverse_square_root(count, m, U, tolerance, e);
    double *right = left ? new_inverse_square_root(count, n, V, tolerance, e) : NULL;
    if (right) {
        double *middle = mem_alloc_aligned(count * count * sizeof *middle);
        double *product = mem_alloc_aligned(count * n * sizeof *product);
        for (size_t i = 0; s && i < count; i++)
            scale_row(right + i * count, s[i], count);
        matrix_nn(count, count, count, 1, left, right, 0, middle);
        matrix_nn(count, n, count, 1, middle, V, 0, product);
        matrix_tn(m, n, count, 1, U, product, 0, result);
        free(middle);
        free(product);
    }
    int failed = right ? 0 : -1;
    free(left);
    free(right);
    return failed;
}
