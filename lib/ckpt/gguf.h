/* Reader of the container of one GGUF file: its metadata and the list of its tensors. Layout
 * (docs/gguf.md of ggml-org/ggml), little-endian, without padding up to the data:
 *
 *     "GGUF" | u32 version | u64 tensors | u64 metadata pairs
 *     pairs (gguf_metadata.h)
 *     tensors: string name | u32 rank | u64 dimensions[rank] | u32 type | u64 offset
 *     zeros up to a multiple of the alignment | data; offsets count from here
 *
 * The first dimension is the length of a row. Each tensor begins at the first multiple of the
 * alignment after the one before it in the list.
 *
 * A gguf owns its lists and names until gguf_free; data are in the bytes of the file. */
#ifndef TV_GGUF_H
#define TV_GGUF_H

#include "ggml_type.h"
#include "gguf_metadata.h"

#define GGUF_MAX_RANK 4
#define GGUF_MAX_NAME 63 /* bytes of a tensor's name: llama.cpp's limit */

struct gguf_tensor {
    const char *name;
    size_t rank;
    uint64_t shape[GGUF_MAX_RANK]; /* as in safetensors: the last dimension is the row */
    enum ggml_type type;
    const unsigned char *data;
    size_t size; /* bytes */
};

struct gguf {
    const char *file; /* in messages; borrowed */
    struct gguf_metadata metadata;
    uint64_t alignment;
    struct gguf_tensor *tensors; /* in the order of the file */
    size_t n;
    const unsigned char *header; /* everything before the padding */
    size_t header_size;
    struct arena arena;
};

/* Reads the header of a file of `size` bytes and checks everything in it. Zeroed except for `file`
 * *g is ready; call gguf_free also after an error. */
int gguf_read(struct gguf *g, const unsigned char *bytes, size_t size, struct error *e);
void gguf_free(struct gguf *g);

static inline uint64_t gguf_tensor_elements(const struct gguf_tensor *t)
{
    uint64_t n = 1;
    for (size_t i = 0; i < t->rank; i++)
        n *= t->shape[i];
    return n;
}

/* x rounded up to a multiple of the alignment, a power of two. */
static inline uint64_t gguf_align(uint64_t x, uint64_t alignment)
{
    return (x + alignment - 1) & ~(alignment - 1);
}

#endif
