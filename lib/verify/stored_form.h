/* How the tensors of a merged model are stored, if pack has written it: recomputed elements are
 * converted to that form, and compared in it.
 *
 * A stored_form owns its list until stored_form_free, and borrows the model. Several threads may
 * use it at once. */
#ifndef TV_STORED_FORM_H
#define TV_STORED_FORM_H

#include "ckpt.h"
#include "gguf_encoding.h"

/* Zeroed for a model that is not GGUF: pack stores its elements as they are. */
struct stored_form {
    struct gguf_encoding encoding;
    const struct gguf_tensor **tensors; /* [tensor of the model] */
    const struct gguf_model *like; /* the file that it is like; NULL: unknown, the model itself */
};

/* `dtype` is that of gguf_encoding_choose; `like` may be NULL; `file` names the model in messages.
 * An error for a GGUF model of a type that pack does not write. Call stored_form_free also after an
 * error. */
int stored_form_init(struct stored_form *f, const struct ckpt *model, const struct gguf_model *like,
                     const char *file, enum dtype dtype, struct error *e);
void stored_form_free(struct stored_form *f);

/* Would pack store tensor i, recomputed as `dtype`, in the type that it has in the model? Names
 * both: the one in the model, and the one of pack. */
bool stored_form_has_dtype(const struct stored_form *f, const struct ckpt *model, size_t i,
                           enum dtype dtype, const char **stored, const char **recomputed);
/* Makes what ckpt_read_elements reads if tensor i of the model has these n recomputed elements,
 * from flat index `first` on: x itself, or *to, which the caller frees. NULL on error. */
const void *stored_form_convert(const struct stored_form *f, const struct ckpt *model, size_t i,
                                size_t first, size_t n, const void *x, void **to, struct error *e);

#endif
