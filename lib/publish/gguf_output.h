/* A new GGUF file like another one: which tensor has which type at which offset, and the encoding
 * of elements. Metadata, the order of tensors, their names and the order of rows are those of the
 * other file.
 *
 * A gguf_output owns what it points to until gguf_output_free, but not the other file's model. */
#ifndef TV_GGUF_OUTPUT_H
#define TV_GGUF_OUTPUT_H

#include "gguf_encoding.h"
#include "header.h"
#include "shard_layout.h"

struct gguf_output;

struct gguf_output_spec {
    const struct gguf_model *like;
    const struct header *result; /* one vector per tensor; all floating-point ones are F32 */
    enum dtype dtype;            /* of matrices: F32, F16, BF16, GGUF_ENCODING_Q8_0; DTYPE_NONE: as
                                    most of the other file's. Vectors are F32. */
    size_t n_metadata;           /* keys and values to add */
    const char *const (*metadata)[2];
};

/* An error if there is no other file, whose metadata and tokenizer a new one needs. */
int gguf_output_check_like(const struct gguf_model *like, struct error *e);
/* An error if the tensors of the result are not those of the other file, with the same shapes, or
 * if they cannot be written as `dtype`. NULL on error. */
struct gguf_output *gguf_output_new(const struct gguf_output_spec *spec, struct error *e);
void gguf_output_free(struct gguf_output *o);
/* The file as a layout of one shard. Tensor i of it is tensor i of the result; those that the
 * result has no tensors for follow. The caller frees. */
struct shard_layout *gguf_output_layout(const struct gguf_output *o);

/* Writes bytes of tensor i of the layout at `offset` in it. */
typedef int gguf_output_writer(void *to, size_t i, uint64_t offset, const void *bytes, size_t size,
                               struct error *e);
/* Encodes n elements of tensor i of the result, from flat index `first` on, and writes them. They
 * are F32 and finite, or of another dtype that is not floating-point. A number that overflows is an
 * error unless `allow_nonfinite`. */
int gguf_output_write_elements(const struct gguf_output *o, size_t i, size_t first, size_t n,
                               const void *x, bool allow_nonfinite, gguf_output_writer *write,
                               void *to, struct error *e);
/* Writes the tensors that the result has none for, as they are in the other file. */
int gguf_output_write_carried_tensors(const struct gguf_output *o, gguf_output_writer *write,
                                      void *to, struct error *e);

#endif
