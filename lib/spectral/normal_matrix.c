#include "normal_matrix.h"

#include "matrix.h"
#include "mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIN_RELATIVE 1e-14 /* eigenvalues of S S' below this part of the largest are rounding */

size_t normal_matrix_eigen_rows(size_t n, size_t max_rows)
{
    return max_rows < n ? max_rows : n;
}

/* LAPACK's work area has twice the size of the matrix. */
double normal_matrix_memory(size_t n, size_t max_rows)
{
    double rows = (double)normal_matrix_eigen_rows(n, max_rows);
    return 3 * rows * rows + (max_rows < n ? 2 * rows * (double)n : 0);
}

void normal_matrix_init(struct normal_matrix *c, size_t n, size_t max_rows)
{
    *c = (struct normal_matrix){.n = n, .max_rows = max_rows};
    if (max_rows < n) {
        c->S = mem_alloc_aligned(max_rows * n * sizeof *c->S);
        return;
    }
    c->C = mem_alloc_aligned(n * n * sizeof *c->C);
    memset(c->C, 0, n * n * sizeof *c->C);
}

void normal_matrix_free(struct normal_matrix *c)
{
    free(c->C);
    free(c->S);
    free(c->eigenvalues);
    free(c->eigenvectors);
}

void normal_matrix_add(struct normal_matrix *c, size_t rows, const double *L, double l)
{
    if (c->C) {
        matrix_gram_of_columns(rows, c->n, 1 / l, L, 1, c->C);
        return;
    }
    double *to = c->S + c->rows * c->n, scale = 1 / sqrt(l);
    for (size_t i = 0; i < rows * c->n; i++)
        to[i] = scale * L[i];
    c->rows += rows;
}

void normal_matrix_multiply(const struct normal_matrix *c, size_t m, double alpha, const double *X,
                            double beta, double *Y)
{
    if (c->C) {
        matrix_nn(m, c->n, c->n, alpha, X, c->C, beta, Y);
        return;
    }
    double *product = mem_alloc_aligned(m * c->rows * sizeof *product);
    matrix_nt(m, c->rows, c->n, 1, X, c->S, 0, product);
    matrix_nn(m, c->n, c->rows, alpha, product, c->S, beta, Y);
    free(product);
}

/* ---- eigenvectors ---------------------------------------------------------------------------- */

/* From S S' = P' diag(lam) P: the rows of diag(lam)^-1/2 P S. */
static int decompose_rows(struct normal_matrix *c, struct error *e)
{
    size_t rows = c->rows, first = 0;
    double *P = mem_alloc_aligned(rows * rows * sizeof *P), *lam = c->eigenvalues + (c->n - rows);
    matrix_gram_of_rows(rows, c->n, 1, c->S, 0, P);
    int failed = matrix_eigen(rows, P, lam, e);
    while (!failed && first < rows && lam[first] <= MIN_RELATIVE * lam[rows - 1])
        first++;
    c->count = rows - first;
    for (size_t i = first; i < rows; i++)
        for (size_t j = 0; j < rows; j++)
            P[i * rows + j] /= sqrt(lam[i]);
    c->eigenvectors = mem_alloc_aligned(c->count * c->n * sizeof *c->eigenvectors);
    if (!failed && c->count > 0)
        matrix_nn(c->count, c->n, rows, 1, P + first * rows, c->S, 0, c->eigenvectors);
    free(P);
    return failed;
}

int normal_matrix_decompose(struct normal_matrix *c, struct error *e)
{
    c->eigenvalues = mem_alloc(c->n, sizeof *c->eigenvalues);
    if (!c->C)
        return c->rows > 0 ? decompose_rows(c, e) : 0;
    c->eigenvectors = c->C;
    c->C = NULL;
    c->count = c->n;
    return matrix_eigen(c->n, c->eigenvectors, c->eigenvalues, e);
}

void normal_matrix_keep_largest(struct normal_matrix *c, size_t count)
{
    if (count >= c->count)
        return;
    double *first = c->eigenvectors + (c->count - count) * c->n;
    memmove(c->eigenvectors, first, count * c->n * sizeof *first);
    c->count = count;
}
