/* Encodings of a tensor's elements in a weight file: FP8 codes with scales, the blocks of GGUF, and
 * GGUF's order of rows. Reading a tensor decodes it.
 *
 * A tensor_encoding and its context belong to the file's stored_tensors, whose arena holds them. */
#ifndef TV_TENSOR_ENCODING_H
#define TV_TENSOR_ENCODING_H

#include "dtype.h"

#include <stddef.h>
#include <stdint.h>

#define TENSOR_ENCODING_MAX_BLOCK 256 /* elements */

struct stored_tensor;

struct tensor_encoding {
    const char *name;      /* "FP8 E4M3 (128x128 blocks)", "GGUF Q8_0"; NULL: it loses nothing */
    double relative_error; /* of a normally distributed matrix, root mean square; 0: unknown */
    enum dtype file_dtype; /* of a new file with quantized elements; DTYPE_NONE: BF16 */
    /* Elements that are encoded together, and their bytes. A row is a whole number of blocks. */
    size_t block_elements, block_bytes;
    /* Rows of an attention head whose halves are interleaved in the file, as GGUF does for RoPE:
     * row 2 i + s of the head's rows in the file is row s D / 2 + i of D. It is even and divides
     * the first dimension. 0: rows are in order. */
    size_t interleaved_rows;
    uint64_t hash; /* of what determines the values besides the bytes, such as scales */
    /* Writes n elements in the tensor's dtype, from `first` on in the file's order of rows; both
     * are whole blocks. A code or scale that is NaN or infinite makes all elements that depend on
     * it non-finite: readers check them as in every other source. NULL: the bytes are the
     * elements. */
    void (*decode)(const struct stored_tensor *t, size_t first, size_t n, void *to);
    const void *context;
};

/* The place in the file of row `row`, where `head_rows` rows of each head are interleaved. */
static inline size_t tensor_encoding_interleaved_row(size_t row, size_t head_rows)
{
    size_t i = row % head_rows, half = head_rows / 2;
    return row - i + i % half * 2 + i / half;
}

#endif
