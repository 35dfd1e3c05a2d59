/* Reader of .npz files of numpy.savez: a zip of .npy files, one per array. Formats: numpy's "NPY
 * format", versions 1.0 to 3.0 (numpy/lib/format.py), and zip.h. Headers are parsed as the three
 * keys that numpy writes; nothing is evaluated. */
#ifndef TV_NPZ_H
#define TV_NPZ_H

#include "stored_tensors.h"

#include <stdbool.h>

/* Is every record of this zip a .npy file? */
bool npz_recognize(const char *file, const unsigned char *bytes, size_t size);
/* Adds every array under its name without ".npy". Object and structured arrays, strings,
 * big-endian numbers and other dtypes that a stream does not have are errors. The records are
 * uncompressed. */
int npz_list_tensors(struct stored_tensors *s, const unsigned char *bytes, size_t size,
                     struct error *e);

#endif
