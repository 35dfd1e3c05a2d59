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
/* The kernels that OpenBLAS has chosen for this processor, "Haswell"; "unknown" if it does not say
 * so. The library must be loaded. */
const char *openblas_kernels(void);

#endif
