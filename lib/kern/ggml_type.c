#include "ggml_type.h"

static const struct ggml_type_info types[] = {
    [GGML_TYPE_F32] = {"F32", 1, 4, DTYPE_F32},
    [GGML_TYPE_F16] = {"F16", 1, 2, DTYPE_F16},
    [GGML_TYPE_Q4_0] = {"Q4_0", 32, 18, DTYPE_NONE},
    [GGML_TYPE_Q4_1] = {"Q4_1", 32, 20, DTYPE_NONE},
    [GGML_TYPE_Q5_0] = {"Q5_0", 32, 22, DTYPE_NONE},
    [GGML_TYPE_Q5_1] = {"Q5_1", 32, 24, DTYPE_NONE},
    [GGML_TYPE_Q8_0] = {"Q8_0", 32, 34, DTYPE_NONE},
    [9] = {"Q8_1", 0, 0, DTYPE_NONE},
    [GGML_TYPE_Q2_K] = {"Q2_K", 256, 84, DTYPE_NONE},
    [GGML_TYPE_Q3_K] = {"Q3_K", 256, 110, DTYPE_NONE},
    [GGML_TYPE_Q4_K] = {"Q4_K", 256, 144, DTYPE_NONE},
    [GGML_TYPE_Q5_K] = {"Q5_K", 256, 176, DTYPE_NONE},
    [GGML_TYPE_Q6_K] = {"Q6_K", 256, 210, DTYPE_NONE},
    [GGML_TYPE_Q8_K] = {"Q8_K", 256, 292, DTYPE_NONE},
    [16] = {"IQ2_XXS", 0, 0, DTYPE_NONE},
    [17] = {"IQ2_XS", 0, 0, DTYPE_NONE},
    [18] = {"IQ3_XXS", 0, 0, DTYPE_NONE},
    [19] = {"IQ1_S", 0, 0, DTYPE_NONE},
    [GGML_TYPE_IQ4_NL] = {"IQ4_NL", 32, 18, DTYPE_NONE},
    [21] = {"IQ3_S", 0, 0, DTYPE_NONE},
    [22] = {"IQ2_S", 0, 0, DTYPE_NONE},
    [GGML_TYPE_IQ4_XS] = {"IQ4_XS", 256, 136, DTYPE_NONE},
    [24] = {"I8", 1, 1, DTYPE_I8},
    [25] = {"I16", 1, 2, DTYPE_I16},
    [26] = {"I32", 1, 4, DTYPE_I32},
    [27] = {"I64", 1, 8, DTYPE_I64},
    [28] = {"F64", 1, 8, DTYPE_F64},
    [29] = {"IQ1_M", 0, 0, DTYPE_NONE},
    [GGML_TYPE_BF16] = {"BF16", 1, 2, DTYPE_BF16},
    [34] = {"TQ1_0", 0, 0, DTYPE_NONE},
    [35] = {"TQ2_0", 0, 0, DTYPE_NONE},
    [GGML_TYPE_MXFP4] = {"MXFP4", 32, 17, DTYPE_NONE},
    [40] = {"NVFP4", 0, 0, DTYPE_NONE},
    [41] = {"Q1_0", 0, 0, DTYPE_NONE},
};

const struct ggml_type_info *ggml_type_find(uint32_t type)
{
    return type < sizeof types / sizeof *types && types[type].name ? &types[type] : NULL;
}
