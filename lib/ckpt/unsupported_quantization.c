#include "unsupported_quantization.h"

#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char use_original[] = "use the unquantized model it was made from";
static const char dequantize[] = "load it with transformers, call dequantize() and save it, or use "
                                 "the unquantized model it was made from";
static const char decompress[] = "decompress it with llm-compressor, or use the unquantized model "
                                 "it was made from";
static const char load_dequantized[] =
    "load it with transformers and Mxfp4Config(dequantize=True) and save it";
static const char mlx_dequantize[] = "convert it with mlx_lm.convert --dequantize, or use the "
                                     "unquantized model it was made from";

/* ---- by config ------------------------------------------------------------------------------- */

/* quant_method, what it is called, what to do; NULL: it is supported. */
static const struct {
    const char *method, *title, *remedy;
} methods[] = {
    {"fp8", NULL, NULL},
    {"fbgemm_fp8", NULL, NULL},
    {"compressed-tensors", "compressed-tensors", decompress},
    {"sparseml", "compressed-tensors", decompress}, /* its older name */
    {"modelopt", "ModelOpt", use_original},
    {"bitsandbytes", "bitsandbytes", dequantize},
    {"gptq", "GPTQ", use_original},
    {"awq", "AWQ", use_original},
    {"mxfp4", "MXFP4", load_dequantized},
    {"torchao", "torchao", use_original},
    {"quanto", "quanto", use_original},
    {"hqq", "HQQ", use_original},
    {"aqlm", "AQLM", use_original},
    {"eetq", "EETQ", use_original},
    {"vptq", "VPTQ", use_original},
    {"spqr", "SpQR", use_original},
    {"higgs", "HIGGS", use_original},
    {"bitnet", "BitNet", use_original},
    {"auto-round", "auto-round", use_original},
    {"quark", "quark", use_original},
    {"mlx", "MLX", mlx_dequantize},
};

/* Has some tensor a dtype that quantized weights are stored in? */
static bool has_codes(const struct tensor_list *l)
{
    static const enum dtype codes[] = {
        DTYPE_F4,      DTYPE_F6_E2M3,     DTYPE_F6_E3M2, DTYPE_U8,          DTYPE_I8,
        DTYPE_F8_E5M2, DTYPE_F8_E4M3,     DTYPE_F8_E8M0, DTYPE_F8_E4M3FNUZ, DTYPE_I16,
        DTYPE_U16,     DTYPE_F8_E5M2FNUZ, DTYPE_I32,     DTYPE_U32};
    for (size_t i = 0; i < l->n; i++)
        for (size_t j = 0; j < COUNT(codes); j++)
            if (l->tensors[i]->dtype == codes[j])
                return true;
    return false;
}

static bool is_supported_format(const char *format)
{
    static const char *const formats[] = {"", "float-quantized", "naive-quantized",
                                          "int-quantized"};
    for (size_t i = 0; i < COUNT(formats); i++)
        if (strcmp(format, formats[i]) == 0)
            return true;
    return false;
}

static bool is_supported(const struct quantization_config *q, const char *title)
{
    if (q->is_transformed)
        return false;
    if (title && strcmp(title, "compressed-tensors") == 0)
        return is_supported_format(q->format);
    if (title && strcmp(title, "ModelOpt") == 0)
        return strcmp(q->algorithm, "FP8") == 0 || !*q->algorithm;
    return !title;
}

static int refuse(const struct tensor_list *l, const char *format, const char *detail,
                  const char *remedy, struct error *e)
{
    bool has_detail = detail && *detail;
    return error_set(e, "%s: %s%s%.100s%s cannot be merged; %s", l->path, format,
                     has_detail ? " (" : "", has_detail ? detail : "", has_detail ? ")" : "",
                     remedy);
}

static int check_config(const struct quantization_config *q, const struct tensor_list *l,
                        struct error *e)
{
    char bits[32] = "";
    size_t i = 0;
    while (i < COUNT(methods) && strcmp(methods[i].method, q->method) != 0)
        i++;
    if (i == COUNT(methods))
        return *q->method ? error_set(e,
                                      "%s: weights quantized with the unknown method \"%.100s\" "
                                      "cannot be merged; %s",
                                      l->path, q->method, use_original)
                          : 0;
    if (is_supported(q, methods[i].title) || !has_codes(l))
        return 0;
    if (q->bits)
        snprintf(bits, sizeof bits, "%llu bits", (unsigned long long)q->bits);
    const char *detail = q->is_transformed ? "rotated or pruned"
                         : *q->format      ? q->format
                         : *q->algorithm   ? q->algorithm
                                           : bits;
    return refuse(l, methods[i].title ? methods[i].title : "FP8", detail,
                  methods[i].remedy ? methods[i].remedy : use_original, e);
}

/* ---- by tensors ------------------------------------------------------------------------------ */

/* A tensor that ends with the suffix, in that dtype (DTYPE_NONE: any), beside one with the same
 * stem and the other suffix. */
struct sign {
    const char *suffix;
    enum dtype dtype;
    const char *beside; /* NULL: none is needed */
    const char *format, *detail, *remedy;
};

/* In the order in which they are tried. */
static const struct sign signs[] = {
    {".quant_state.bitsandbytes__nf4", DTYPE_U8, NULL, "bitsandbytes", "4 bits", dequantize},
    {".quant_state.bitsandbytes__fp4", DTYPE_U8, NULL, "bitsandbytes", "4 bits", dequantize},
    {".weight", DTYPE_U8, ".weight.absmax", "bitsandbytes", "4 bits", dequantize},
    {".weight", DTYPE_I8, ".SCB", "bitsandbytes", "8 bits", dequantize},
    {".qweight", DTYPE_I32, ".g_idx", "GPTQ", NULL, use_original},
    {".qweight", DTYPE_I32, ".qzeros", "AWQ", NULL, use_original},
    {".weight_packed", DTYPE_I32, NULL, "compressed-tensors", "pack-quantized", decompress},
    {".weight_packed", DTYPE_U8, NULL, "compressed-tensors", "nvfp4-pack-quantized", decompress},
    {".weight_g_idx", DTYPE_NONE, ".weight", "compressed-tensors", "ordered by activation",
     decompress},
    {"_blocks", DTYPE_U8, "_scales", "MXFP4", NULL, load_dequantized},
    {".W_q", DTYPE_NONE, NULL, "HQQ", NULL, use_original},
    {".codes", DTYPE_NONE, ".codebooks", "AQLM", NULL, use_original},
    {".weight", DTYPE_U8, ".weight_scale_2", "NVFP4", NULL, use_original},
    {".weight", DTYPE_U8, ".weight_scale", "BitNet", NULL, use_original},
    {".weight", DTYPE_U32, ".scales", "MLX", NULL, mlx_dequantize},
};

static bool has_sign(const struct tensor_list *l, const struct stored_tensor *t,
                     const struct sign *s)
{
    size_t stem = tensor_list_stem_length(t->name, s->suffix);
    return stem > 0 && (s->dtype == DTYPE_NONE || s->dtype == t->dtype) &&
           (!s->beside || tensor_list_find(l, t->name, stem, s->beside) >= 0);
}

static int check_tensor(const struct tensor_list *l, const struct stored_tensor *t, struct error *e)
{
    if (t->dtype == DTYPE_F8_E4M3FNUZ || t->dtype == DTYPE_F8_E5M2FNUZ)
        return refuse(l, dtype_name(t->dtype), t->name, use_original, e);
    for (size_t i = 0; i < COUNT(signs); i++)
        if (has_sign(l, t, &signs[i]))
            return refuse(l, signs[i].format, signs[i].detail, signs[i].remedy, e);
    return 0;
}

int unsupported_quantization_check(const struct quantization_config *q, const struct tensor_list *l,
                                   struct error *e)
{
    if (q->is_present && check_config(q, l, e))
        return -1;
    if (!has_codes(l))
        return 0;
    for (size_t i = 0; i < l->n; i++)
        if (check_tensor(l, l->tensors[i], e))
            return -1;
    return 0;
}
