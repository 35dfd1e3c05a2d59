/* The files of a model that contain its weights: model.safetensors, the shards of an index, shards
 * without an index, the only .safetensors file, their pytorch_model*.bin counterparts, GGUF files,
 * or the only .npz file. In the folder of a LoRA adapter of peft only adapter_model.safetensors or
 * adapter_model.bin is read.
 * The files of a model of a diffusers pipeline begin with diffusion_pytorch_model; variants beside
 * them (.fp16) are not read.
 *
 * A weight_files owns its list until weight_files_free, but not the files. Zeroed except for what
 * describes the model it is empty. */
#ifndef TV_WEIGHT_FILES_H
#define TV_WEIGHT_FILES_H

#include "model_files.h"

#include <stdio.h>

struct weight_files {
    const struct model_files *files;
    const char *path;       /* the model's in messages, without "#KEY"; borrowed */
    const char *key;        /* of the dict in torch files (state_dict.h); NULL: not given */
    bool is_standard_input; /* the operand is "-", which `path` describes */
    FILE *notes;            /* notes.h; may be NULL */
    struct model_file **list;
    size_t n;
    struct model_file *index; /* NULL: none was read */
    bool is_adapter;          /* they are those of a LoRA adapter */
    bool tokenizer_is_enough; /* a folder with a tokenizer.json may have none */
};

/* Finds the weight files among all files of the model, in the order of their names. It is an error
 * if there are none, unless a tokenizer is enough. */
int weight_files_find(struct weight_files *w, struct error *e);
/* Adds one file to the list. */
void weight_files_add(struct weight_files *w, struct model_file *file);
bool weight_files_contain(const struct weight_files *w, const struct model_file *file);
void weight_files_free(struct weight_files *w);

#endif
