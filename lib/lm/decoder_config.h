/* Reads a decoder's sizes, biases, sliding windows and RoPE from the object of config.json that
 * has its keys. Missing keys get the defaults of the decoder's class in transformers. */
#ifndef TV_DECODER_CONFIG_H
#define TV_DECODER_CONFIG_H

#include "arch.h"
#include "config_json.h"

enum decoder_kind {
    DECODER_MISTRAL,
    DECODER_LLAMA,
    DECODER_QWEN2,
    DECODER_QWEN3,
    DECODER_QWEN2VL,
    DECODER_NESTED /* no decoder: a nested config names one of the others */
};

int decoder_config_read(struct arch *a, const struct config_object *c, enum decoder_kind kind,
                        struct error *e);

#endif
