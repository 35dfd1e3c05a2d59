/* Reader of files that torch.save wrote before torch 1.6. Layout (_legacy_save in
 * torch/serialization.py of pytorch/pytorch):
 *
 *     five pickles: magic number | protocol, 1001 | system information | the whole |
 *         list of the keys of the storages
 *     for each key: i64 elements | the elements */
#ifndef TV_TORCH_LEGACY_H
#define TV_TORCH_LEGACY_H

#include "stored_tensors.h"

/* As torch_file_list_tensors. */
int torch_legacy_list_tensors(struct stored_tensors *s, const unsigned char *bytes, size_t size,
                              struct error *e);

#endif
