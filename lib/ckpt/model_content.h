/* Whether a file is a model, by its content: a weight file, or an archive of a model's folder. For
 * files that are about to be replaced; nothing is unpacked. */
#ifndef TV_MODEL_CONTENT_H
#define TV_MODEL_CONTENT_H

#include "error.h"

#include <stdbool.h>

/* Is the open regular file one of weights and nothing else, to its last byte: safetensors, GGUF, an
 * .npz, or a state dict of torch.save? `title` names it in messages. False also if it cannot be
 * read. */
bool model_content_is_weight_file(int fd, const char *title);
/* Is it a tar, compressed or not, in which every file is of safetensors or has a name that
 * `is_known`, and at least one is of safetensors? If not, *foreign is the first other name (freed
 * by the caller), or NULL if it is no archive of a model at all. The archive is read to its end,
 * behind which nothing may follow. */
bool model_content_is_archive(int fd, bool (*is_known)(const char *name), char **foreign);

#endif
