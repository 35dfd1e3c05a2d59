/* A language model in a file: its config.json, and its tensors, found by name and checked in shape,
 * as the weights that lm.h computes with. Only one layer is held in F32, and not even that where
 * the file is in F32: then the weights are used where they are mapped. A backbone owns all it
 * returns until backbone_close. */
#ifndef TV_BACKBONE_H
#define TV_BACKBONE_H

#include "input.h"
#include "lm.h"

struct backbone;

/* `operand` as for input_open. `config`: a file in place of the model's own config.json, needed for
 * a saved stream, which has none; NULL: the model's own. NULL on error, before any weight was read:
 * an architecture that is not known, a tensor that is missing, too many, or of another shape than
 * the config says. */
struct backbone *backbone_open(const char *operand, const char *config, const char *spool,
                               const char *tool, struct error *e);
void backbone_close(struct backbone *b);

/* Lets go of the layer that is held, until one is asked for again. */
void backbone_rest(struct backbone *b);

const struct arch *backbone_arch(const struct backbone *b);
const struct input *backbone_input(const struct backbone *b);
const struct lm_weights *backbone_weights(const struct backbone *b);

/* The tensor of the file that is this part, `layer` counting for a part of a layer: for a head that
 * is tied, the embedding. -1: the model has no such part. */
long backbone_tensor(const struct backbone *b, enum part part, size_t layer);
/* The element of that tensor at which the part begins: not 0 where a vision layer's q, k and v are
 * fused. */
size_t backbone_offset(const struct backbone *b, enum part part, size_t layer);
/* n elements of the part from `first` on. */
void backbone_read(const struct backbone *b, enum part part, size_t layer, size_t first, size_t n,
                   float *to);

#endif
