/* The tensors of a GGUF model as stored tensors: their Hugging Face names, and the decoding of
 * their blocks (ggml_blocks.h) and of interleaved rows. */
#ifndef TV_GGUF_STORED_TENSORS_H
#define TV_GGUF_STORED_TENSORS_H

#include "gguf_model.h"
#include "stored_tensors.h"

/* Adds the tensors of file i to `s`, and sets its header. */
int gguf_stored_tensors_list(const struct gguf_model *m, size_t i, struct stored_tensors *s,
                             struct error *e);
/* The name of a tensor in that list, in the arena; NULL if it is not in it. */
const char *gguf_stored_tensors_name(const struct gguf_model *m, const struct gguf_tensor *t,
                                     struct arena *a);

#endif
