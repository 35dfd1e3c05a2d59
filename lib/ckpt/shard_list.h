/* The weight files of a checkpoint, mapped, with the tensors that their headers list. In a
 * checkpoint of several weight files each of them is a shard.
 *
 * A shard_list owns its list, its stored tensors and its GGUF model until shard_list_free; the
 * files are borrowed. Zeroed it is empty. */
#ifndef TV_SHARD_LIST_H
#define TV_SHARD_LIST_H

#include "gguf_model.h"
#include "stored_tensors.h"
#include "weight_files.h"

#include <jansson.h>

struct shard {
    struct model_file *file;
    struct stored_tensors tensors;
};

struct shard_list {
    struct shard *list; /* sorted by name */
    size_t n;
    struct gguf_model *gguf; /* NULL: the weights are not in GGUF files */
};

/* Maps the weight files and reads their headers. An .npz with compressed records is decompressed to
 * an unlinked file in `spool`. The caller frees `s`, also after an error. */
int shard_list_read(struct shard_list *s, const struct weight_files *w, const char *spool,
                    struct error *e);
/* Reads the header of one shard that is mapped and not a GGUF file. */
int shard_list_read_header(struct shard *s, struct error *e);
/* Is it a mapped GGUF file? */
bool shard_list_is_gguf(const struct model_file *file);
void shard_list_free(struct shard_list *s);

/* The tensors of all shards. */
size_t shard_list_tensor_count(const struct shard_list *s);
/* The metadata of shard i, a JSON object of strings. 1: read; the caller drops the reference. 0:
 * there are none, and *metadata is NULL. -1: error. */
int shard_list_read_metadata(const struct shard_list *s, size_t i, json_t **metadata,
                             struct error *e);
/* ckpt_fingerprint (ckpt.h). */
uint64_t shard_list_fingerprint(const struct shard_list *s);
/* The fingerprint of a checkpoint that has only shard i. */
uint64_t shard_list_shard_fingerprint(const struct shard_list *s, size_t i);

#endif
