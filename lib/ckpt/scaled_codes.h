/* The encoding of a matrix of F8 or I8 codes with scales that are stored in another tensor: each
 * element is its code times the scale of its block, rounded once to F32.
 *
 *     one scale        [] or [1]
 *     row scales       [out] or [out, 1]
 *     blocks of h x w  [ceil(out / h), ceil(in / w)]; those at the right and lower edge are cut
 *
 * A weight of more dimensions is a list of such matrices [..., out, in]; except for the single
 * scale, its scales have the same leading dimensions. "inv" in the name of a scale is historic: the
 * stored number multiplies. */
#ifndef TV_SCALED_CODES_H
#define TV_SCALED_CODES_H

#include "quantization_config.h"
#include "stored_tensors.h"

/* Makes the encoding of `weight` in the arena and sets its dtype to F32. `scale`: the tensor with
 * the scales; NULL: the elements are the codes' values. The scheme follows from its shape, the size
 * of blocks from the config. An error if they do not fit, or if a scale is NaN, infinite or
 * negative. `path` is the model's, for messages. */
int scaled_codes_set_encoding(const char *path, const struct quantization_config *q,
                              struct stored_tensor *weight, const struct stored_tensor *scale,
                              struct arena *a, struct error *e);

#endif
