/* Quantized weights of a model: finds the scales of F8 and I8 tensors by their names, gives these
 * tensors their encodings (scaled_codes.h), and omits scales and other tensors that only a
 * quantized model has. Formats that are not supported are an error (unsupported_quantization.h).
 *
 * A tensor is quantized if its dtype is F8_E4M3 or F8_E5M2, whatever lists of modules the config
 * has; I8 if the config says int-quantized (compressed-tensors). The scales of X are X_scale_inv or
 * X_scale. */
#ifndef TV_QUANTIZED_WEIGHTS_H
#define TV_QUANTIZED_WEIGHTS_H

#include "model_files.h"
#include "tensor_list.h"

#include <stdio.h>

/* Sets l->omitted, and the encodings of tensors, in the arena of `files`, where the config is. */
int quantized_weights_resolve(struct tensor_list *l, struct model_files *files, FILE *notes,
                              struct error *e);
/* The formats of the quantized tensors and the relative size of their error, such as "FP8 E4M3
 * (128x128 blocks), error 2.6 %", in the arena; NULL if there are none. */
const char *quantized_weights_describe(const struct tensor_list *l, struct arena *a);

#endif
