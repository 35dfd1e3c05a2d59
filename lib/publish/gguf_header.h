/* The header of a new GGUF file, encoded (gguf.h has the layout): the metadata of another file with
 * changes, and the list of the tensors. */
#ifndef TV_GGUF_HEADER_H
#define TV_GGUF_HEADER_H

#include "gguf.h"

/* One tensor of the file, in the order of its data. */
struct gguf_header_tensor {
    const char *name;
    size_t rank;
    const uint64_t *shape; /* the last dimension is the row */
    enum ggml_type type;
    uint64_t offset; /* in the data */
};

struct gguf_header {
    const struct gguf_metadata *metadata; /* of the other file: copied as they are, except for those
                                             of its split, its quantization and its history */
    uint64_t alignment;                   /* of the other file */
    uint32_t file_type;                   /* gguf_encoding_file_type */
    bool is_quantized;
    size_t n_texts; /* pairs "tvtools_KEY", text; added as general.tvtools_KEY */
    const char *const (*texts)[2];
    size_t n; /* tensors */
    const struct gguf_header_tensor *tensors;
};

/* Encodes the metadata alone, without the texts; *n is the number of pairs. The caller frees. */
struct bytes gguf_header_encode_metadata(const struct gguf_header *h, uint64_t *n);
/* Encodes the header with the padding before the data; *used are its bytes without the padding, and
 * *text_offsets is where the text of each pair begins. The caller frees header and offsets. */
struct bytes gguf_header_encode(const struct gguf_header *h, size_t *used, size_t **text_offsets);

#endif
