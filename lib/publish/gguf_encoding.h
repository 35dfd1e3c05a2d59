/* How a new GGUF file like another one stores the tensors of a result: the type of each, and the
 * encoding of its elements. */
#ifndef TV_GGUF_ENCODING_H
#define TV_GGUF_ENCODING_H

#include "gguf_model.h"

/* In place of a dtype: Q8_0. As an option it is a choice of OPTION_DTYPE (option_row.h). */
#define GGUF_ENCODING_Q8_0    ((enum dtype)DTYPE_COUNT)
#define GGUF_ENCODING_CHOICES "q8_0"
#define GGUF_ENCODING_NOT_A_CHOICE                                                                 \
    " (FP8 and K-quants are not written; for K-quants run llama-quantize on a .gguf file)"

struct gguf_encoding {
    enum ggml_type type; /* of matrices */
    enum ggml_type like; /* of most elements of the other file's matrices */
};

/* `dtype` is the one of matrices: F32, F16, BF16 or GGUF_ENCODING_Q8_0; DTYPE_NONE: as most of the
 * other file's. */
struct gguf_encoding gguf_encoding_choose(const struct gguf_model *like, enum dtype dtype);
/* Can tensors be encoded as this type? */
bool gguf_encoding_is_written(enum ggml_type type);
/* general.file_type of a file whose matrices have this type: enum llama_ftype of llama.h. */
uint32_t gguf_encoding_file_type(enum ggml_type type);
/* The type of a tensor in the new file, given the same one of the other file: vectors are F32; rows
 * that are not whole blocks of Q8_0 are F16; integers keep their type. */
enum ggml_type gguf_encoding_tensor_type(const struct gguf_encoding *g,
                                         const struct gguf_tensor *like);

/* Elements of one tensor. */
struct gguf_elements {
    const char *tensor; /* its name in messages */
    enum ggml_type type;
    size_t first, n; /* flat index, and number: whole blocks of the type */
    const float *x;  /* F32 */
};

/* The bytes of n elements of that type. */
size_t gguf_encoding_bytes(enum ggml_type type, size_t n);
/* Encodes elements. A number that overflows is an error, of Q8_0 always, of other types unless
 * `allow_nonfinite`. */
int gguf_encoding_encode(const struct gguf_elements *from, bool allow_nonfinite, unsigned char *to,
                         struct error *e);

#endif
