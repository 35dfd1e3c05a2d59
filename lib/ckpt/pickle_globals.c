#include "pickle_globals.h"

#include <stdbool.h>
#include <string.h>

static const struct pickle_global globals[] = {
    {"collections", "OrderedDict", PICKLE_MAKE_DICT, 0},
    {"torch._utils", "_rebuild_tensor", PICKLE_MAKE_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v2", PICKLE_MAKE_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v3", PICKLE_MAKE_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", PICKLE_MAKE_PARAMETER, 0},
    {"torch._utils", "_rebuild_parameter_with_state", PICKLE_MAKE_PARAMETER, 0},
    {"torch.nn.parameter", "Parameter", PICKLE_MAKE_PARAMETER, 0},
    {"torch", "Size", PICKLE_MAKE_SIZE, 0},
    {"torch", "device", PICKLE_MAKE_DEVICE, 0},
    {"torch", "FloatStorage", PICKLE_STORAGE_CLASS, DTYPE_F32},
    {"torch", "DoubleStorage", PICKLE_STORAGE_CLASS, DTYPE_F64},
    {"torch", "HalfStorage", PICKLE_STORAGE_CLASS, DTYPE_F16},
    {"torch", "BFloat16Storage", PICKLE_STORAGE_CLASS, DTYPE_BF16},
    {"torch", "LongStorage", PICKLE_STORAGE_CLASS, DTYPE_I64},
    {"torch", "IntStorage", PICKLE_STORAGE_CLASS, DTYPE_I32},
    {"torch", "ShortStorage", PICKLE_STORAGE_CLASS, DTYPE_I16},
    {"torch", "CharStorage", PICKLE_STORAGE_CLASS, DTYPE_I8},
    {"torch", "ByteStorage", PICKLE_STORAGE_CLASS, DTYPE_U8},
    {"torch", "BoolStorage", PICKLE_STORAGE_CLASS, DTYPE_BOOL},
    {"torch", "ComplexFloatStorage", PICKLE_STORAGE_CLASS, DTYPE_C64},
    {"torch", "UntypedStorage", PICKLE_STORAGE_CLASS, DTYPE_NONE},
    {"torch.storage", "UntypedStorage", PICKLE_STORAGE_CLASS, DTYPE_NONE},
    {"torch", "float32", PICKLE_DTYPE, DTYPE_F32},
    {"torch", "float64", PICKLE_DTYPE, DTYPE_F64},
    {"torch", "float16", PICKLE_DTYPE, DTYPE_F16},
    {"torch", "bfloat16", PICKLE_DTYPE, DTYPE_BF16},
    {"torch", "int64", PICKLE_DTYPE, DTYPE_I64},
    {"torch", "int32", PICKLE_DTYPE, DTYPE_I32},
    {"torch", "int16", PICKLE_DTYPE, DTYPE_I16},
    {"torch", "int8", PICKLE_DTYPE, DTYPE_I8},
    {"torch", "uint8", PICKLE_DTYPE, DTYPE_U8},
    {"torch", "uint16", PICKLE_DTYPE, DTYPE_U16},
    {"torch", "uint32", PICKLE_DTYPE, DTYPE_U32},
    {"torch", "uint64", PICKLE_DTYPE, DTYPE_U64},
    {"torch", "bool", PICKLE_DTYPE, DTYPE_BOOL},
    {"torch", "complex64", PICKLE_DTYPE, DTYPE_C64},
    {"torch", "float8_e4m3fn", PICKLE_DTYPE, DTYPE_F8_E4M3},
    {"torch", "float8_e5m2", PICKLE_DTYPE, DTYPE_F8_E5M2},
    {"torch", "float8_e8m0fnu", PICKLE_DTYPE, DTYPE_F8_E8M0},
    {"torch", "float8_e4m3fnuz", PICKLE_DTYPE, DTYPE_F8_E4M3FNUZ},
    {"torch", "float8_e5m2fnuz", PICKLE_DTYPE, DTYPE_F8_E5M2FNUZ},
};

static bool is_equal_text(const char *text, const char *other, size_t length)
{
    return strlen(text) == length && memcmp(text, other, length) == 0;
}

const struct pickle_global *pickle_globals_find(const char *module, size_t module_length,
                                                const char *name, size_t name_length)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
        const struct pickle_global *g = &globals[i];
        bool same_module =
            is_equal_text(g->module, module, module_length) ||
            (g->kind == PICKLE_STORAGE_CLASS && is_equal_text("torch.cuda", module, module_length));
        if (same_module && is_equal_text(g->name, name, name_length))
            return g;
    }
    return NULL;
}
