/* Blocks of quantized elements in GGUF files: decoding to F32, and encoding as Q8_0. The
 * definitions are dequantize_row_* and quantize_row_q8_0_ref in ggml-quants.c of ggml-org/ggml,
 * with the same bits. A product of scale, sub-scale and code is exact in F32 (except for
 * Q8_K, whose scale is an F32), so only the addition of an offset rounds. */
#ifndef TV_GGML_BLOCKS_H
#define TV_GGML_BLOCKS_H

#include "ggml_type.h"

#include <stddef.h>

/* Decodes n elements, from element `first` on, of consecutive blocks at any alignment. `type` is a
 * supported one that has blocks. A scale that is NaN or infinite makes all elements of its block
 * NaN or infinite. */
void ggml_blocks_decode(enum ggml_type type, const unsigned char *blocks, size_t first, size_t n,
                        float *to);

/* Encodes n finite elements, a multiple of 32, as Q8_0: 34 bytes for each 32. Codes are rounded
 * half away from zero. Returns n, or the index of the first element of a block whose scale
 * overflows F16. */
size_t ggml_blocks_encode_q8_0(const float *x, size_t n, unsigned char *blocks);

#endif
