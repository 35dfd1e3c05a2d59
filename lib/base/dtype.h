/* Element types, under the names of safetensors, and the conversions between the floating ones.
 * Nothing here allocates or keeps a pointer. */
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
/* DTYPE_NONE when no dtype has that name; safetensors' spelling only. */
enum dtype dtype_from_name(const char *name);
/* The name a user or config.json gives: float32, bfloat16, float16, float64 (torch. in front
 * allowed), f32, bf16, f16, f64, in any case. DTYPE_NONE when it is none of these. */
enum dtype dtype_from_user_name(const char *name);
/* "float32", "bfloat16", ... as config.json writes it; NULL for what is not floating. */
const char *dtype_torch_name(enum dtype d);
size_t dtype_bits(enum dtype d);
/* Of n elements; a last byte that they fill in part counts. */
static inline size_t dtype_bytes(enum dtype d, size_t n)
{
    size_t bits = dtype_bits(d);
    return bits % 8 ? (n * bits + 7) / 8 : n * (bits / 8);
}
/* F16, BF16, F32, F64: what can be computed with. */
bool dtype_is_float(enum dtype d);
/* F8 and smaller: weights that mean nothing without scales beside them. */
bool dtype_is_quantized(enum dtype d);

/* n elements of floating dtype `d`, at any alignment, to F32 (round to nearest even). */
void dtype_to_f32(enum dtype d, const void *from, float *to, size_t n);
/* n F32 values to floating dtype `d`, rounding to nearest even; overflow gives infinity.
 * `to` and `from` do not overlap unless d is F32. */
void dtype_from_f32(enum dtype d, const float *from, void *to, size_t n);
void dtype_to_f64(enum dtype d, const void *from, double *to, size_t n);
void dtype_from_f64(enum dtype d, const double *from, void *to, size_t n);
/* Rounds n F32 values to what `d` can hold, in place. */
void dtype_round_f32(enum dtype d, float *x, size_t n);
/* Index of the first NaN or infinity among n elements of floating dtype `d`; n if none. */
size_t dtype_find_nonfinite(enum dtype d, const void *from, size_t n);

#endif
