/* The matrix C = sum_k L_k' L_k / l_k (n, n) of the normal equations of SWUDI, WUDI and OptMerge,
 * and its eigenvectors. Where the L_k have fewer than n rows in total, C is stored as these rows,
 * and its eigenvectors come from their Gram matrix, which is smaller.
 *
 * A normal_matrix owns its memory until normal_matrix_free. */
#ifndef TV_NORMAL_MATRIX_H
#define TV_NORMAL_MATRIX_H

#include "error.h"

#include <stddef.h>

struct normal_matrix {
    size_t n, rows, max_rows;
    double *C; /* (n, n); NULL: */
    double *S; /* (rows, n): all L_k / sqrt(l_k), C = S' S */
    /* Set by normal_matrix_decompose: the eigenvalues of C, ascending, and the eigenvectors of the
     * `count` largest ones, as rows. S has no part in the other directions. */
    size_t count;
    double *eigenvalues;  /* (n) */
    double *eigenvectors; /* (count, n) */
};

/* The number of rows of the matrix that normal_matrix_decompose decomposes. */
size_t normal_matrix_eigen_rows(size_t n, size_t max_rows);
/* Doubles that C and its decomposition take. */
double normal_matrix_memory(size_t n, size_t max_rows);
/* C = 0; the L_k that are added have `max_rows` rows in total. */
void normal_matrix_init(struct normal_matrix *c, size_t n, size_t max_rows);
void normal_matrix_free(struct normal_matrix *c);
/* C += L' L / l;  L (rows, n) */
void normal_matrix_add(struct normal_matrix *c, size_t rows, const double *L, double l);
/* Y = alpha X C + beta Y;  X, Y (m, n) */
void normal_matrix_multiply(const struct normal_matrix *c, size_t m, double alpha, const double *X,
                            double beta, double *Y);
/* C itself is lost. */
int normal_matrix_decompose(struct normal_matrix *c, struct error *e);
/* Keeps only the `count` largest eigenvalues' eigenvectors. */
void normal_matrix_keep_largest(struct normal_matrix *c, size_t count);

#endif
