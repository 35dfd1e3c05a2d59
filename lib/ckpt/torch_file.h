/* Reader of files that torch.save writes: a zip with a pickle and a record for each storage, or the
 * format of before torch 1.6 (torch_legacy.h). Format: torch/serialization.py and
 * caffe2/serialize/inline_container.cc of pytorch/pytorch.
 *
 *     NAME/data.pkl    the whole, a pickle (pickle.h), in which a storage is a key
 *     NAME/data/KEY    the elements of a storage
 *     NAME/byteorder   "little"; missing in older files */
#ifndef TV_TORCH_FILE_H
#define TV_TORCH_FILE_H

#include "stored_tensors.h"

#include <stdbool.h>

/* 1 if these bytes are a torch file of either format, 0 if they are something else, -1 if they are
 * a damaged zip, or one of weights in another format, which the error names. */
int torch_file_recognize(const char *file, const unsigned char *bytes, size_t size,
                         struct error *e);
/* Adds every tensor of the file's dict to `s`, and sets its header and the key of the dict
 * (state_dict.h). Values that are not tensors are skipped with a note. */
int torch_file_list_tensors(struct stored_tensors *s, const unsigned char *bytes, size_t size,
                            struct error *e);
/* Is it a state dict and nothing else: a valid file in which every value of the outermost dict is a
 * tensor, without foreign records or bytes behind the last storage? A training checkpoint is not.
 */
bool torch_file_is_state_dict(const char *file, const unsigned char *bytes, size_t size);

#endif
