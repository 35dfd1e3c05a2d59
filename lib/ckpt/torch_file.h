/* Reader of files that torch.save writes: a zip with a pickle and a record for each storage, or,
 * before torch 1.6, a sequence of pickles followed by the storages. Format: torch/serialization.py
 * and caffe2/serialize/inline_container.cc of pytorch/pytorch. */
#ifndef TV_TORCH_FILE_H
#define TV_TORCH_FILE_H

#include "stored_tensors.h"

/* 1 if these bytes are a torch file of either format, 0 if they are something else, -1 if they are
 * a damaged zip, or one of weights in another format, which the error names. */
int torch_file_recognise(const char *file, const unsigned char *bytes, size_t size,
                         struct error *e);
/* Adds every tensor of the file's dict to `s`, and sets its header and the key of the dict
 * (state_dict.h). Values that are not tensors are skipped with a note. */
int torch_file_list_tensors(struct stored_tensors *s, const unsigned char *bytes, size_t size,
                            struct error *e);

#endif
