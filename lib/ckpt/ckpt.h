/* Checkpoints on disk: what tensors are there, and their bytes. Knows files, not merging.
 *
 * A ckpt owns what its functions return until ckpt_close. Tensors are sorted bytewise by name.
 * After ckpt_open everything may be used by several threads at once. Formats: safetensors
 * (README and tensor.rs of huggingface/safetensors), the zip that torch.save writes
 * (torch/serialization.py), Hugging Face folders; any of these folders in a tar or zip. */
#ifndef TV_CKPT_H
#define TV_CKPT_H

#include "dtype.h"
#include "error.h"

#include <stdint.h>
#include <stdio.h>

struct ckpt;

struct ckpt_tensor {
    const char *name;
    enum dtype dtype;
    size_t rank;
    const uint64_t *shape;
    size_t elements;
    /* Mapped bytes, little-endian, dense, C order, at any alignment; NULL if the tensor is a
     * strided view (then only ckpt_read_elements gives its elements). */
    const unsigned char *data;
};

/* A checkpoint: a folder (model.safetensors, shards with an index, or pytorch_model*.bin), one
 * .safetensors or .bin file, or an archive of such a folder. Recognised by content. An archive is
 * unpacked to unlinked files in `spool` (NULL: $TMPDIR, else /var/tmp). NULL on error. Notes that
 * a person should see (a tensor the index does not name, a value that is no tensor) are written
 * to `notes`, one a line, unless it is NULL. */
struct ckpt *ckpt_open(const char *path, const char *spool, FILE *notes, struct error *e);
void ckpt_close(struct ckpt *c);

/* 1 if the path looks like a checkpoint (folder, safetensors, torch zip, tar or zip, also
 * compressed), 0 if it is something else (a stream, say), -1 if it cannot be read. */
int ckpt_is_checkpoint(const char *path, struct error *e);

/* What a model is called when the user did not say: the last part of its path; the folder's for
 * .../model.safetensors, the repository's for a snapshot in the Hugging Face cache; without
 * .tar.zst, .safetensors and the like. Caller frees. */
char *model_name_from_path(const char *path);

size_t ckpt_tensor_count(const struct ckpt *c);
const struct ckpt_tensor *ckpt_tensor(const struct ckpt *c, size_t i);
/* Index of the tensor with that name; -1 if there is none. */
long ckpt_find_tensor(const struct ckpt *c, const char *name);
/* `n` elements of tensor i from flat index `first` on, as stored, into `to`; views are gathered.
 * For dtypes of less than a byte: first and n cover whole bytes. */
void ckpt_read_elements(const struct ckpt *c, size_t i, size_t first, size_t n, void *to);
/* Tells the kernel that these elements will not be read again soon. */
void ckpt_release_pages(const struct ckpt *c, size_t i, size_t first, size_t n);

/* XXH3-64 over, for each weight file in name order: its size, its header (safetensors: the JSON;
 * torch: data.pkl) and 64 pages sampled evenly. The same whether folder or archive. */
uint64_t ckpt_fingerprint(const struct ckpt *c);

/* The small files beside the weights (config.json, tokenizer*, ...): no weights, no index, no
 * sub-folders, nothing hidden, each under 256 MiB. */
size_t ckpt_auxiliary_file_count(const struct ckpt *c);
const char *ckpt_auxiliary_file_name(const struct ckpt *c, size_t i);
/* Contents of a small file, terminated by a zero byte beyond `size`; NULL if there is none of
 * that name or it cannot be read. Caller frees. */
char *ckpt_read_auxiliary_file(const struct ckpt *c, const char *name, size_t *size);

#endif
