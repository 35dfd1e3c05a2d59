/* exp and log over arrays, our own: libm's choose code by processor. Within two units in the last
 * place; the same bytes on every processor. No allocation, no globals. */
#ifndef TV_EXPLOG_H
#define TV_EXPLOG_H

#include <stddef.h>

/* y = exp(x), n elements; x may be y. Below exp(-708) it is 0. x <= 709. */
void explog_exp(const double *x, double *y, size_t n);
/* y = ln(x), n elements; x may be y. x is positive, finite and not subnormal. */
void explog_log(const double *x, double *y, size_t n);

#endif
