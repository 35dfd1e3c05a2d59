/* Cross entropy of logits, with target tokens or with a teacher's distribution (Hinton et al. 2015,
 * arXiv 1503.02531), forward and backward. No I/O, no allocation. Shapes: logits and probabilities
 * (T, V), losses (T). */
#ifndef TV_CROSS_ENTROPY_H
#define TV_CROSS_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

/* loss_t = -ln p[t, target_t],  p = softmax(z). The logits z become p. */
void cross_entropy_forward(float *z, const uint32_t *targets, size_t T, size_t V, double *loss);

/* loss_t = -sum_v q[t, v] ln p[t, v],  p = softmax(z / theta), q = softmax(y / theta). The logits z
 * become p, the teacher's logits y become q; theta is the temperature. */
void cross_entropy_soft_forward(float *z, float *y, float theta, size_t T, size_t V, double *loss);
/* p becomes dz = scale (p - q). For a loss that is multiplied by theta^2, scale is theta. */
void cross_entropy_soft_backward(float *p, const float *q, size_t T, size_t V, float scale);

/* The entropy of p = softmax(z / theta), loss_t = -sum_v p[t, v] ln p[t, v], is the cross entropy
 * of p with itself: cross_entropy_soft_forward with y = z. p becomes dz = -scale p (ln p + loss_t);
 * for a loss that is multiplied by theta^2, scale is theta. */
void cross_entropy_own_backward(float *p, const double *loss, size_t T, size_t V, float scale);

#endif
