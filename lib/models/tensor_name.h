/* What the names of tensors tell, whatever the architecture: layers, embeddings, heads. */
#ifndef TV_TENSOR_NAME_H
#define TV_TENSOR_NAME_H

#include "header.h"

/* The layer that a tensor's name says (the first all-digit component after layers, layer, h, block
 * or blocks), -1 if none; `stack` is the length of the name up to it. */
long tensor_name_layer(const char *name, size_t *stack);
/* The same for a stack, the first `length` bytes of `stack`: -1 too if it is in another. */
long tensor_name_layer_in_stack(const char *name, const char *stack, size_t length);
/* Is this what the user calls that stack? A dot at its end need not be given. */
bool tensor_name_is_stack_prefix(const char *stack, size_t length, const char *asked);
/* Sets layer and layers of each tensor from its name; layers are counted per stack. */
void tensor_name_set_layer_numbers(struct header *h);

/* What makes logits of hidden states. */
bool tensor_name_is_lm_head(const char *name);
/* What makes hidden states of tokens. */
bool tensor_name_is_token_embedding(const char *name);
/* One of the two whose rows are the tokens of a vocabulary, embed_tokens or head. */
bool tensor_name_has_vocabulary_rows(const char *name);
/* Something that comes before the layers: of tokens, positions, images. */
bool tensor_name_is_embedding(const char *name);
/* Is it of a part that sees or hears? */
bool tensor_name_is_vision_or_audio(const char *name);

#endif
