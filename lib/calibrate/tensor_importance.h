/* Expert Merging++: the importance of each tensor after the first phase, and the number of chunks
 * that each tensor gets in the second. */
#ifndef TV_TENSOR_IMPORTANCE_H
#define TV_TENSOR_IMPORTANCE_H

#include "calibration.h"

/* u_j = sum_k |alpha_kj| ||tau_kj||_1 of each learned tensor, and from it
 * tensor_importance_compute_chunk_counts. `chunks` receives one number per learned tensor. */
int tensor_importance_allocate_chunks(const struct calibration *c, double budget, double kappa,
                                      size_t *chunks, struct error *e);

/* Chunks in proportion to a power of the importance u_j:
 *
 *     share_j = budget tensors u_j^kappa / sum_i u_i^kappa,  m_j = floor(share_j)
 *
 * chunks[j] is m_j without the chunks that are empty when the tensor's n_j = elements[j] elements
 * are divided into chunks of ceil(n_j / m_j). All u zero: all 0. */
void tensor_importance_compute_chunk_counts(size_t tensors, const double *u, const size_t *elements,
                                            double budget, double kappa, size_t *chunks);

#endif
