/* Element types (dtypes) with the names of safetensors, and conversions between the floating-point
 * ones. No function allocates memory or keeps a pointer. */
#ifndef TV_DTYPE_H
#define TV_DTYPE_H

#include <stdbool.h>
#include <stddef.h>

enum dtype {
    DTYPE_NONE,
    DTYPE_BOOL,
    DTYPE_F4,
    DTYPE_F6_E2M3,
    DTYPE_F6_E3M2,
    DTYPE_U8,
    DTYPE_I8,
    DTYPE_F8_E5M2,
    DTYPE_F8_E4M3,
    DTYPE_F8_E8M0,
    DTYPE_F8_E4M3FNUZ,
    DTYPE_F8_E5M2FNUZ,
    DTYPE_I16,
    DTYPE_U16,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I32,
    DTYPE_U32,
    DTYPE_F32,
    DTYPE_C64,
    DTYPE_F64,
    DTYPE_I64,
    DTYPE_U64,
    DTYPE_COUNT
};

/* "F32", ...; NULL for DTYPE_NONE. */
const char *dtype_name(enum dtype d);
/* The dtype with that name in safetensors' spelling; DTYPE_NONE if there is none. */
enum dtype dtype_from_name(const char *name);
/* The dtype with that name on a command line or in config.json: float32, bfloat16, float16, float64
 * (optionally with the prefix torch.), f32, bf16, f16, f64; case is ignored. Otherwise DTYPE_NONE.
 */
enum dtype dtype_from_user_name(const char *name);
/* "float32", "bfloat16", ... as in config.json; NULL if the dtype is not floating-point. */
const char *dtype_torch_name(enum dtype d);
size_t dtype_bits(enum dtype d);
/* Bytes of n elements, rounded up to whole bytes. */
static inline size_t dtype_bytes(enum dtype d, size_t n)
{
    size_t bits = dtype_bits(d);
    return bits % 8 ? (n * bits + 7) / 8 : n * (bits / 8);
}
/* F16, BF16, F32, F64: the dtypes that filters compute with. */
bool dtype_is_float(enum dtype d);
/* F8 and smaller: weights that are meaningless without separate scales. */
bool dtype_is_quantized(enum dtype d);

/* Converts n elements of the floating-point dtype `d`, at any alignment, to F32 (F64 is rounded to
 * nearest even). */
void dtype_to_f32(enum dtype d, const void *from, float *to, size_t n);
/* Converts n F32 values to the floating-point dtype `d`, rounding to nearest even; overflow gives
 * infinity. `to` and `from` must not overlap unless d is F32. */
void dtype_from_f32(enum dtype d, const float *from, void *to, size_t n);
void dtype_to_f64(enum dtype d, const void *from, double *to, size_t n);
void dtype_from_f64(enum dtype d, const double *from, void *to, size_t n);
/* y = x - b, in F32, for n elements of F16 or BF16 at any alignment. */
void dtype_subtract_16_bit(enum dtype d, const void *x, const void *b, float *y, size_t n);
/* Rounds n F32 values in place to values that `d` can represent. */
void dtype_round_f32_to_precision(enum dtype d, float *x, size_t n);
/* Index of the first NaN or infinity among n elements of the floating-point dtype `d`; n if none.
 */
size_t dtype_find_nonfinite(enum dtype d, const void *from, size_t n);

#endif
