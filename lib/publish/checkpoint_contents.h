/* The tensors of the checkpoint that pack writes: those of the stream, in the dtypes of the file,
 * then those of the base that the stream lacks.
 *
 * A checkpoint_contents owns its header and list until checkpoint_contents_free. */
#ifndef TV_CHECKPOINT_CONTENTS_H
#define TV_CHECKPOINT_CONTENTS_H

#include "base_model.h"

struct checkpoint_contents {
    struct header *header; /* one vector per tensor, in the dtype of the file */
    size_t n_stream;       /* the first tensors are the stream's */
    size_t *filled;        /* [i - n_stream]: the base's tensor for tensor i of the header */
};

struct checkpoint_contents_options {
    enum dtype dtype; /* of floating-point tensors; DTYPE_NONE: the sources', else as stored */
    bool fill;        /* add the base's tensors that the stream lacks */
};

/* Describes the checkpoint from the stream's header, which is taken over. `base` is NULL for a
 * stream of weights. */
int checkpoint_contents_init(struct checkpoint_contents *c, struct header *stream,
                             const struct base_model *base,
                             const struct checkpoint_contents_options *o, struct error *e);
void checkpoint_contents_free(struct checkpoint_contents *c);

/* n elements of tensor i of the base, of dtype *d: as stored, or rounded as the sources were. They
 * are where they are mapped, or in *buffer, which the caller frees; NULL: there is none. */
const void *checkpoint_contents_read_base_tensor(const struct checkpoint_contents *c,
                                                 const struct model_source *base, size_t i,
                                                 size_t first, size_t n, void **buffer,
                                                 enum dtype *d);

/* The bytes of all tensors. */
uint64_t checkpoint_contents_size(const struct checkpoint_contents *c);
/* Does the stream have an LM head? */
bool checkpoint_contents_has_own_head(const struct checkpoint_contents *c);

#endif
