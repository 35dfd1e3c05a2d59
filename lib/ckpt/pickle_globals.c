#include "pickle_globals.h"

#include <stdbool.h>
#include <string.h>

/* A tensor that is no plain view of a storage. */
#define UNREADABLE(module, name, what)                                                             \
    {                                                                                              \
        module, name, PICKLE_MAKE_UNREADABLE_TENSOR, DTYPE_NONE, 0, what                           \
    }
#define STORAGE(module, name, dtype, size)                                                         \
    {                                                                                              \
        module, name, PICKLE_STORAGE_CLASS, dtype, size, NULL                                      \
    }

static const struct pickle_global globals[] = {
    {"collections", "OrderedDict", PICKLE_MAKE_DICT, 0, 0, NULL},
    {"collections", "defaultdict", PICKLE_MAKE_DEFAULT_DICT, 0, 0, NULL},
    {"builtins", "dict", PICKLE_MAKE_DICT, 0, 0, NULL},
    {"__builtin__", "dict", PICKLE_MAKE_DICT, 0, 0, NULL},
    {"torch._utils", "_rebuild_tensor", PICKLE_MAKE_TENSOR, 0, 0, NULL},
    {"torch._utils", "_rebuild_tensor_v2", PICKLE_MAKE_TENSOR, 0, 0, NULL},
    {"torch._utils", "_rebuild_tensor_v3", PICKLE_MAKE_TYPED_TENSOR, 0, 0, NULL},
    {"torch._utils", "_rebuild_parameter", PICKLE_MAKE_PARAMETER, 0, 0, NULL},
    {"torch._utils", "_rebuild_parameter_with_state", PICKLE_MAKE_PARAMETER, 0, 0, NULL},
    {"torch.nn.parameter", "Parameter", PICKLE_MAKE_PARAMETER, 0, 0, NULL},
    {"torch._tensor", "_rebuild_from_type", PICKLE_MAKE_SUBCLASS, 0, 0, NULL},
    {"torch._tensor", "_rebuild_from_type_v2", PICKLE_MAKE_SUBCLASS, 0, 0, NULL},
    UNREADABLE("torch._utils", "_rebuild_sparse_tensor", "is sparse; save x.to_dense()"),
    UNREADABLE("torch._utils", "_rebuild_sparse_csr_tensor", "is sparse; save x.to_dense()"),
    UNREADABLE("torch._utils", "_rebuild_nested_tensor", "is nested; save its parts separately"),
    UNREADABLE("torch._utils", "_rebuild_qtensor", "is quantized; save x.dequantize()"),
    UNREADABLE("torch._utils", "_rebuild_meta_tensor_no_storage",
               "has no elements, because it was on the meta device"),
    UNREADABLE("torch._utils", "_rebuild_wrapper_subclass", "belongs to a subclass of tensors"),
    UNREADABLE("torch._utils", "_rebuild_xla_tensor", "was on an XLA device; save x.cpu()"),
    UNREADABLE("torch._utils", "_rebuild_device_tensor_from_numpy",
               "was on a device of another kind; save x.cpu()"),
    UNREADABLE("torch._utils", "_rebuild_device_tensor_from_cpu_tensor",
               "was on a device of another kind; save x.cpu()"),
    {"torch", "Tensor", PICKLE_TENSOR_CLASS, 0, 0, NULL},
    {"torch", "Size", PICKLE_MAKE_SIZE, 0, 0, NULL},
    STORAGE("torch", "FloatStorage", DTYPE_F32, 0),
    STORAGE("torch", "DoubleStorage", DTYPE_F64, 0),
    STORAGE("torch", "HalfStorage", DTYPE_F16, 0),
    STORAGE("torch", "BFloat16Storage", DTYPE_BF16, 0),
    STORAGE("torch", "LongStorage", DTYPE_I64, 0),
    STORAGE("torch", "IntStorage", DTYPE_I32, 0),
    STORAGE("torch", "ShortStorage", DTYPE_I16, 0),
    STORAGE("torch", "CharStorage", DTYPE_I8, 0),
    STORAGE("torch", "ByteStorage", DTYPE_U8, 0),
    STORAGE("torch", "BoolStorage", DTYPE_BOOL, 0),
    STORAGE("torch", "ComplexFloatStorage", DTYPE_C64, 0),
    STORAGE("torch", "ComplexDoubleStorage", DTYPE_NONE, 16),
    STORAGE("torch", "QInt8Storage", DTYPE_NONE, 1),
    STORAGE("torch", "QUInt8Storage", DTYPE_NONE, 1),
    STORAGE("torch", "QUInt4x2Storage", DTYPE_NONE, 1),
    STORAGE("torch", "QUInt2x4Storage", DTYPE_NONE, 1),
    STORAGE("torch", "QInt32Storage", DTYPE_NONE, 4),
    STORAGE("torch", "UntypedStorage", DTYPE_NONE, 1),
    STORAGE("torch.storage", "UntypedStorage", DTYPE_NONE, 1),
    {"torch", "float32", PICKLE_DTYPE, DTYPE_F32, 0, NULL},
    {"torch", "float64", PICKLE_DTYPE, DTYPE_F64, 0, NULL},
    {"torch", "float16", PICKLE_DTYPE, DTYPE_F16, 0, NULL},
    {"torch", "bfloat16", PICKLE_DTYPE, DTYPE_BF16, 0, NULL},
    {"torch", "int64", PICKLE_DTYPE, DTYPE_I64, 0, NULL},
    {"torch", "int32", PICKLE_DTYPE, DTYPE_I32, 0, NULL},
    {"torch", "int16", PICKLE_DTYPE, DTYPE_I16, 0, NULL},
    {"torch", "int8", PICKLE_DTYPE, DTYPE_I8, 0, NULL},
    {"torch", "uint8", PICKLE_DTYPE, DTYPE_U8, 0, NULL},
    {"torch", "uint16", PICKLE_DTYPE, DTYPE_U16, 0, NULL},
    {"torch", "uint32", PICKLE_DTYPE, DTYPE_U32, 0, NULL},
    {"torch", "uint64", PICKLE_DTYPE, DTYPE_U64, 0, NULL},
    {"torch", "bool", PICKLE_DTYPE, DTYPE_BOOL, 0, NULL},
    {"torch", "complex64", PICKLE_DTYPE, DTYPE_C64, 0, NULL},
    {"torch", "float8_e4m3fn", PICKLE_DTYPE, DTYPE_F8_E4M3, 0, NULL},
    {"torch", "float8_e5m2", PICKLE_DTYPE, DTYPE_F8_E5M2, 0, NULL},
    {"torch", "float8_e8m0fnu", PICKLE_DTYPE, DTYPE_F8_E8M0, 0, NULL},
    {"torch", "float8_e4m3fnuz", PICKLE_DTYPE, DTYPE_F8_E4M3FNUZ, 0, NULL},
    {"torch", "float8_e5m2fnuz", PICKLE_DTYPE, DTYPE_F8_E5M2FNUZ, 0, NULL},
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
