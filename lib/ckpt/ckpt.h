/* Checkpoints on disk: their tensors, the elements of these, and their auxiliary files. Nothing
 * here knows about merging.
 *
 * A ckpt owns what its functions return until ckpt_close. Tensors are sorted bytewise by name.
 * After ckpt_open several threads may use it at once. Formats: safetensors (safetensors.h), files
 * of torch.save (torch_file.h), GGUF files (gguf_model.h), Hugging Face folders, and tar or zip
 * archives of such folders. */
#ifndef TV_CKPT_H
#define TV_CKPT_H

#include "byte_input.h"
#include "ckpt_tensor.h"
#include "error.h"
#include "hf_cache.h"

#include <stdbool.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

struct ckpt;
struct gguf_model;

/* A path is one of a model, or "PATH#KEY" (model_path.h). Opens a folder (model.safetensors, shards
 * with an index, pytorch_model*.bin, one GGUF model, or an adapter of peft), one weight file, or an
 * archive of such a folder, recognized by content. Of a split GGUF model the path of any file names
 * all. An archive is unpacked to unlinked files in `spool` (NULL: $TMPDIR, else /var/tmp). Notes to
 * the user are written to `notes`, one per line, unless it is NULL. NULL on error. */
struct ckpt *ckpt_open(const char *path, const char *spool, FILE *notes, struct error *e);
/* Opens what arrives through standard input, "-" or "-#KEY": a safetensors file is read as it
 * arrives (ckpt_is_pipe); an archive or another weight file is first copied to temporary files.
 * `title` names it in messages, `key` may be NULL. Takes over `in`, also on error. */
struct ckpt *ckpt_open_pipe(struct byte_input *in, const char *title, const char *key,
                            const char *spool, FILE *notes, struct error *e);
void ckpt_close(struct ckpt *c);

/* ---- read as it arrives through a pipe ---- */

/* Such a checkpoint has no fingerprint and no auxiliary files. Its elements must be loaded before
 * they are read, by one thread at a time, in the order of ckpt_pipe_offset. */
bool ckpt_is_pipe(const struct ckpt *c);
/* Where tensor i begins in the data. */
uint64_t ckpt_pipe_offset(const struct ckpt *c, size_t i);
/* Makes n elements available, until others are loaded; does nothing for other checkpoints. */
int ckpt_load_elements(const struct ckpt *c, size_t i, size_t first, size_t n, struct error *e);
/* Before any elements are loaded: copies the file to a temporary file. It is no pipe then. */
int ckpt_copy_pipe(struct ckpt *c, const char *spool, struct error *e);

/* ---- all checkpoints ---- */

/* An error if a file that was read from the checkpoint has changed since; an archive is checked
 * while it is unpacked. A pipe is read to its end, which must be where the header says. */
int ckpt_check_unchanged(const struct ckpt *c, struct error *e);

/* 1 if the path is a folder or looks like a weight file or an archive, or is "BASE+ADAPTER"; 0 if
 * it is something else (such as a stream), -1 if it cannot be read. */
int ckpt_is_checkpoint(const char *path, struct error *e);

/* Is it the folder of a LoRA adapter of peft, or an archive of one? Its tensors are then factors of
 * changes to the weights of another model. */
bool ckpt_is_adapter(const struct ckpt *c);

/* The model as GGUF files have it; NULL if its weights are in other files. */
const struct gguf_model *ckpt_gguf_model(const struct ckpt *c);

size_t ckpt_tensor_count(const struct ckpt *c);
const struct ckpt_tensor *ckpt_tensor(const struct ckpt *c, size_t i);
/* The index of the tensor with that name; -1 if there is none. */
long ckpt_find_tensor(const struct ckpt *c, const char *name);
/* Copies n elements of tensor i, from flat index `first` on, in its dtype; views are gathered and
 * quantized elements decoded to F32. For dtypes of less than a byte, `first` and `n` cover whole
 * bytes. */
void ckpt_read_elements(const struct ckpt *c, size_t i, size_t first, size_t n, void *to);
/* XXH3-64 of n elements as they are stored; for an encoding, of the blocks that contain them,
 * seeded with its hash. */
uint64_t ckpt_hash_elements(const struct ckpt *c, size_t i, size_t first, size_t n);
/* Tells the kernel that these elements will not be read again soon. Call it in the order of the
 * elements. */
void ckpt_release_pages(const struct ckpt *c, size_t i, size_t first, size_t n);

/* XXH3-64 over, for each weight file in name order: its size, its header (safetensors: the JSON;
 * torch: the pickle, and the key of the dict, "" for the whole) and 64 pages sampled evenly. A
 * folder and its archive have the same one. Of an adapter also over adapter_config.json. */
uint64_t ckpt_fingerprint(const struct ckpt *c);
/* The formats of quantized weights and the relative size of their error, such as "FP8 E4M3 (128x128
 * blocks), error 2.6 %"; NULL if no tensor is quantized. */
const char *ckpt_quantization(const struct ckpt *c);
/* Its name on the Hugging Face Hub, if it is in the local cache. */
struct hub_model ckpt_hub_model(const struct ckpt *c);

/* The weight files, in name order: how many, and what messages call them. */
size_t ckpt_shard_count(const struct ckpt *c);
const char *ckpt_shard_file(const struct ckpt *c, size_t shard);
/* The fingerprint that this weight file has as a checkpoint of its own. */
uint64_t ckpt_shard_fingerprint(const struct ckpt *c, size_t shard);
/* Reads the metadata of a weight file: a JSON object of strings. 1: read; the caller drops the
 * reference. 0: there are none, and *metadata is NULL. -1: error. */
int ckpt_read_metadata(const struct ckpt *c, size_t shard, json_t **metadata, struct error *e);

/* The auxiliary files: config.json, tokenizer files, code, licenses; not weights, indexes,
 * sub-folders or hidden files. A GGUF model without a config.json has one from its metadata. */
size_t ckpt_auxiliary_file_count(const struct ckpt *c);
const char *ckpt_auxiliary_file_name(const struct ckpt *c, size_t i);
/* Opens a checkpoint for its auxiliary files alone, whose tensors are not read; a folder with a
 * tokenizer.json needs no weights. Of "BASE+ADAPTER" they are the base's. NULL on error. */
struct ckpt *ckpt_open_auxiliary_files(const char *path, const char *spool, struct error *e);
/* Reads an auxiliary file: `size` bytes, followed by a zero byte. 1: read; the caller frees *text.
 * 0: there is no such file, and *text is NULL. -1: it cannot be read, or is above 256 MiB. */
int ckpt_read_auxiliary_file(const struct ckpt *c, const char *name, char **text, size_t *size,
                             struct error *e);
/* The same for the model at `path`; of "BASE+ADAPTER" the base's. 0 also if there is no such model,
 * or it is a saved stream. */
int ckpt_read_model_file(const char *path, const char *name, char **text, size_t *size,
                         struct error *e);
/* The hidden files and sub-folders, which are not auxiliary files, as a list for messages; NULL if
 * there are none. */
const char *ckpt_omitted_files(const struct ckpt *c);

#endif
