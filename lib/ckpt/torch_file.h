/* What torch.save writes: a zip with a pickle and a record for each storage, or, before torch
 * 1.6, a row of pickles with the storages behind them. Format: torch/serialization.py and
 * caffe2/serialize/inline_container.cc of pytorch/pytorch. */
#ifndef TV_TORCH_FILE_H
#define TV_TORCH_FILE_H

#include "stored_tensors.h"

/* 1 if these bytes are a zip as torch.save writes it, or its older format; 0 if they are something
 * else; -1 if they are a damaged zip. */
int torch_file_recognise(const char *file, const unsigned char *bytes, size_t size,
                         struct error *e);
/* Adds every tensor of the dict to w; what is no tensor is left out with a note. */
int torch_file_list_tensors(struct stored_tensors *w, const unsigned char *bytes, size_t size,
                            struct error *e);

#endif
