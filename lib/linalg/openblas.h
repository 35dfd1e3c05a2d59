/* OpenBLAS, which has BLAS and LAPACK, loaded when a filter first needs it: programs that compute
 * no matrices run without it. It runs single-threaded; several threads may call its functions at
 * once.
 *
 * Its kernels round differently from processor to processor. On one machine a function gives the
 * same bits for the same arguments. */
#ifndef TV_OPENBLAS_H
#define TV_OPENBLAS_H

#include "error.h"

/* The function with this name, "cblas_dgemm" or "dsyevd_"; loads the library if necessary. NULL
 * with the sentence in `e` if there is no library, or no such function in it. */
void *openblas_function(const char *name, struct error *e);
/* "OpenBLAS 0.3.21 Haswell": its version, and the kernels that it has chosen for this processor.
 * With the same description the same arguments give the same bits. NULL if it cannot be loaded. */
const char *openblas_description(void);

#endif
