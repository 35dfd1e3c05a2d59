/* The element types of GGUF files (enum ggml_type in ggml.h of ggml-org/ggml): numbers, or blocks
 * of 32 or 256 numbers that share scales. */
#ifndef TV_GGML_TYPE_H
#define TV_GGML_TYPE_H

#include "dtype.h"

#include <stdint.h>

enum ggml_type {
    GGML_TYPE_F32 = 0,
    GGML_TYPE_F16 = 1,
    GGML_TYPE_Q4_0 = 2,
    GGML_TYPE_Q4_1 = 3,
    GGML_TYPE_Q5_0 = 6,
    GGML_TYPE_Q5_1 = 7,
    GGML_TYPE_Q8_0 = 8,
    GGML_TYPE_Q2_K = 10,
    GGML_TYPE_Q3_K = 11,
    GGML_TYPE_Q4_K = 12,
    GGML_TYPE_Q5_K = 13,
    GGML_TYPE_Q6_K = 14,
    GGML_TYPE_Q8_K = 15,
    GGML_TYPE_IQ4_NL = 20,
    GGML_TYPE_IQ4_XS = 23,
    GGML_TYPE_BF16 = 30,
    GGML_TYPE_MXFP4 = 39
};

struct ggml_type_info {
    const char *name;         /* "Q8_0" */
    unsigned elements, bytes; /* of a block; 0: the type is not supported */
    enum dtype dtype;         /* of elements that are not in blocks; else DTYPE_NONE */
};

/* NULL for a number that is no type, or that of a type that was removed from the format. */
const struct ggml_type_info *ggml_type_find(uint32_t type);

#endif
