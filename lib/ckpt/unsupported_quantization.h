/* Quantized weights that are not supported, recognized by the config and by the names and dtypes of
 * the tensors: bitsandbytes, GPTQ, AWQ, MXFP4 and others. No data are read.
 *
 * The formats are those of transformers' quantizers, compressed-tensors, ModelOpt and MLX. */
#ifndef TV_UNSUPPORTED_QUANTIZATION_H
#define TV_UNSUPPORTED_QUANTIZATION_H

#include "quantization_config.h"
#include "tensor_list.h"

/* An error "path: format cannot be merged; what to do" if the weights are in such a format. A
 * config of a supported or of such a format beside tensors that are all floating-point is none. */
int unsupported_quantization_check(const struct quantization_config *q, const struct tensor_list *l,
                                   struct error *e);

#endif
