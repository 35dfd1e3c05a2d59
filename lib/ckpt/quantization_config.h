/* The quantization of a model's weights, as its config describes it: the quantization_config or
 * compression_config of config.json, at the top level or in a section such as text_config, the
 * `quantization` of MLX, or hf_quant_config.json of ModelOpt.
 *
 * The texts of a quantization_config live in the arena that it was read into. */
#ifndef TV_QUANTIZATION_CONFIG_H
#define TV_QUANTIZATION_CONFIG_H

#include "model_files.h"

#define QUANTIZATION_CONFIG_MAX_BLOCKS 16

/* Rows and columns that share a scale. */
struct scale_block {
    uint64_t rows, columns;
};

struct quantization_config {
    bool is_present;
    const char *file;      /* that says it, for messages */
    const char *method;    /* quant_method: "fp8", "gptq", ...; "" if there is none */
    const char *format;    /* of compressed-tensors: "float-quantized", ...; "" */
    const char *algorithm; /* quant_algo of ModelOpt: "FP8", ...; "" */
    uint64_t bits;         /* 0: it does not say */
    bool is_transformed;   /* the weights were rotated (transform_config) or pruned */
    bool has_ue8m0_scales; /* scales stored as U8 are E8M0 */
    size_t n_blocks;       /* different ones, of all groups of layers */
    struct scale_block blocks[QUANTIZATION_CONFIG_MAX_BLOCKS];
};

/* Reads it from the files of the model. A config without any such key, or that is not valid JSON,
 * is none. An error if it cannot be read, or has a block size that is not positive. */
int quantization_config_read(struct quantization_config *q, struct model_files *files,
                             struct arena *a, struct error *e);

#endif
