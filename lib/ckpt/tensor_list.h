/* The tensors that the weight files of a model store, sorted bytewise by name, scales of quantized
 * weights among them. A tensor_list borrows the tensors; the caller owns its arrays. */
#ifndef TV_TENSOR_LIST_H
#define TV_TENSOR_LIST_H

#include "stored_tensors.h"

struct tensor_list {
    const char *path; /* of the model, for messages */
    size_t n;
    struct stored_tensor **tensors;
    bool *omitted; /* [tensor]: it is not read as a tensor of the model, such as a scale */
};

/* The tensor whose name is the first `length` bytes of `name`, followed by `suffix`; -1 if there is
 * none. */
long tensor_list_find(const struct tensor_list *l, const char *name, size_t length,
                      const char *suffix);
/* If the name ends with the suffix, the number of bytes before it; otherwise 0. */
size_t tensor_list_stem_length(const char *name, const char *suffix);

#endif
