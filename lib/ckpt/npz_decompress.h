/* Decompresses the records of an .npz file of numpy.savez_compressed, with libarchive. */
#ifndef TV_NPZ_DECOMPRESS_H
#define TV_NPZ_DECOMPRESS_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

/* Are any records compressed? */
bool npz_decompress_is_needed(const char *file, const unsigned char *bytes, size_t size);
/* Writes the same records uncompressed, as a zip, to `fd`. */
int npz_decompress_records(const char *file, const unsigned char *bytes, size_t size, int fd,
                           struct error *e);

#endif
