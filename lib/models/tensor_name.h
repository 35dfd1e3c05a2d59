/* What the name of a tensor says about it, for any architecture: its layer, and whether it is an
 * embedding or a head.
 *
 * A layer stack (the decoder, a vision tower) is given by the prefix of its tensors' names up to
 * the layer number, such as "model.layers.". */
#ifndef TV_TENSOR_NAME_H
#define TV_TENSOR_NAME_H

#include "header.h"

/* The layer number in a name: the first all-digit component after layers, layer, h, block or
 * blocks; -1 if there is none. *length is the length of the prefix before it. */
long tensor_name_layer(const char *name, size_t *length);
/* The layer number in a name of the stack with this prefix; -1 for any other name. */
long tensor_name_layer_in_stack(const char *name, const char *prefix, size_t length);
/* Is `stack`, as the user wrote it, this prefix? The dot at its end may be omitted. */
bool tensor_name_is_stack_prefix(const char *prefix, size_t length, const char *stack);
/* Sets `layer` and `layers` of every tensor from its name. Layers are counted per stack. */
void tensor_name_set_layer_numbers(struct header *h);

/* The language-model head, which turns hidden states into logits. */
bool tensor_name_is_lm_head(const char *name);
/* The embedding of text tokens. */
bool tensor_name_is_token_embedding(const char *name);
/* An embed_tokens or a head, whose rows are the entries of a vocabulary. */
bool tensor_name_has_vocabulary_rows(const char *name);
/* Any embedding: of tokens, positions or images. */
bool tensor_name_is_embedding(const char *name);
/* A tensor of a vision or audio tower. */
bool tensor_name_is_vision_or_audio(const char *name);

#endif
