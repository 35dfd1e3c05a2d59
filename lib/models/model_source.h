/* A model that an operand names, opened for reading: a checkpoint or a saved stream of weights,
 * recognized by content, or a model with a LoRA adapter, "BASE+ADAPTER": the sum of the base and
 * what the adapter adds to it. A range of its layers can be selected.
 *
 * A model_source owns what its functions return until model_source_close. After model_source_open
 * (and model_source_select_layers) several threads may use it at once. */
#ifndef TV_MODEL_SOURCE_H
#define TV_MODEL_SOURCE_H

#include "adapter_base.h"
#include "ckpt.h"
#include "filter.h"
#include "selected_layers.h"

struct model_source;

/* `operand` is "path" or "name=path". Temporary files go to `spool`; notes are printed to standard
 * error under the name `tool`. NULL on error. */
struct model_source *model_source_open(const char *operand, const char *spool, const char *tool,
                                       struct error *e);
/* The same for a checkpoint or a saved stream of one of these kinds (KIND_... or-ed), with one
 * vector per tensor: what `forward` writes for each weight is not a model. */
struct model_source *model_source_open_of_kinds(const char *operand, int kinds, const char *spool,
                                                const char *tool, struct error *e);
/* The same for a checkpoint that may be an adapter alone, which is applied to `base` as a whole,
 * whatever layers of it are selected. The base must stay open. `base_operand` (which may have a
 * range) names it, so that "BASE+ADAPTER" on the same base does not open it again. */
struct model_source *model_source_open_on(const char *operand, const struct model_source *base,
                                          const char *base_operand, const char *spool,
                                          const char *tool, struct error *e);
/* Is the operand "-" or "-#KEY", perhaps after "name="? */
bool model_source_is_standard_input(const char *operand);
/* The same for a model, or with a `base` an adapter, that arrives through standard input, called
 * "stdin" unless it has a name: a safetensors file, compressed or not, is read as it arrives
 * (model_source_is_pipe); everything else is copied to temporary files. */
struct model_source *model_source_open_standard_input(const char *operand,
                                                      const struct model_source *base,
                                                      const char *spool, const char *tool,
                                                      struct error *e);
void model_source_close(struct model_source *m);

/* A model that is read as it arrives (ckpt.h): it has no fingerprint; elements are loaded before
 * they are read or hashed, in the order of model_source_pipe_offset. */
bool model_source_is_pipe(const struct model_source *m);
uint64_t model_source_pipe_offset(const struct model_source *m, size_t i);
/* Makes n elements available; does nothing for other models. */
int model_source_load(const struct model_source *m, size_t i, size_t first, size_t n,
                      struct error *e);
/* Before anything is loaded: copies the rest of the input to a temporary file. A note says so. */
int model_source_copy_pipe(struct model_source *m, const char *spool, const char *tool,
                           const char *reason, struct error *e);

/* An error if a file of the model has changed since it was opened. To be called after the last
 * read, before the result is complete. NULL is unchanged. */
int model_source_check_unchanged(const struct model_source *m, struct error *e);
/* The path in "name=path". An operand with a slash before its '=' is a path as a whole. */
const char *model_source_strip_name_from_operand(const char *operand);
const char *model_source_name(const struct model_source *m);
uint64_t model_source_fingerprint(const struct model_source *m);
/* The fingerprint of a base with an adapter, from the fingerprints of both. */
uint64_t model_source_fingerprint_with_adapter(uint64_t base, uint64_t adapter);
/* The format of its quantized weights (ckpt_quantization); NULL if there are none. */
const char *model_source_quantization(const struct model_source *m);
/* Sets what identifies the model in a header: its fingerprint, its name and commit on the Hub if
 * it is in the local Hugging Face cache, and the format of quantized weights. */
void model_source_set_identity(const struct model_source *m, struct header *h, size_t model);
/* The checkpoint, with its config and tokenizer files; NULL for a saved stream. Of a model with an
 * adapter, this and the next one are those of the base. */
const struct ckpt *model_source_checkpoint(const struct model_source *m);
/* The header of a saved stream; NULL for a checkpoint. */
const struct header *model_source_stream_header(const struct model_source *m);
/* Is it in the history of a result with its own history? True for a stream, and for a file without
 * a name, which nobody can open after the run. */
bool model_source_brings_history(const struct model_source *m);
/* Fills in an empty header: kind weights, this model, a vector for each of its tensors. */
int model_source_fill_header(const struct model_source *m, struct header *h, struct error *e);

/* ---- models with an adapter ---- */

/* The model as the base of an adapter, without its config. */
struct adapter_base model_source_adapter_base(const struct model_source *m);

/* The adapter, if the model is `base` with an adapter; otherwise NULL. */
const struct ckpt *model_source_adapter_of(const struct model_source *m,
                                           const struct model_source *base);
/* Does the adapter of the model change tensor i? False for models without an adapter. */
bool model_source_is_adapted(const struct model_source *m, size_t i);
/* What the adapter adds to n elements of a tensor that it changes, rounded once to F32. */
void model_source_read_delta(const struct model_source *m, size_t i, size_t first, size_t n,
                             float *to);
/* XXH3-64 of what determines it, besides the base. */
uint64_t model_source_hash_delta(const struct model_source *m, size_t i);

/* ---- tensors, sorted bytewise by name ---- */

size_t model_source_tensor_count(const struct model_source *m);
const struct ckpt_tensor *model_source_tensor(const struct model_source *m, size_t i);
/* The index of the tensor with that name; -1 if there is none. */
long model_source_find_tensor(const struct model_source *m, const char *name);
/* The name of tensor i in the model itself, which differs where selected layers were renumbered. */
const char *model_source_stored_name(const struct model_source *m, size_t i);

/* ---- tensors that are computed from those of models ---- */

/* A matrix that replaces a tensor of the model, or adds one: it has the columns of the tensor
 * `from`. `read` sets n elements of its dtype, from flat index `first` on; several threads may call
 * it at once. */
struct computed_tensor {
    const char *name; /* must live as long as the model */
    size_t from;      /* index of the model's tensor that it is computed from */
    uint64_t rows;
    enum dtype dtype;
    void (*read)(const void *state, size_t first, size_t n, void *to);
    const void *state;
};
/* Call it at most once, before the tensors are used, for a model that is no pipe. stored[i] is the
 * index by which the functions on elements read tensor `from` of computed[i] from then on; no
 * other function has it. */
void model_source_set_computed_tensors(struct model_source *m, size_t n,
                                       const struct computed_tensor *computed, size_t *stored);

/* ---- elements: n of tensor i, from flat index `first` on ---- */

/* In the tensor's dtype. */
void model_source_read_stored(const struct model_source *m, size_t i, size_t first, size_t n,
                              void *to);
/* As F32 or F64, first rounded to `rounding` unless that is DTYPE_NONE. What an adapter changes is
 * not rounded to the dtype of the base. */
void model_source_read_f32(const struct model_source *m, size_t i, size_t first, size_t n,
                           enum dtype rounding, float *to);
void model_source_read_f64(const struct model_source *m, size_t i, size_t first, size_t n,
                           enum dtype rounding, double *to);
/* XXH3-64 of the stored bytes (ckpt_hash_elements), and of what determines an adapter's change. */
uint64_t model_source_hash_elements(const struct model_source *m, size_t i, size_t first, size_t n);
/* Tells the kernel that these elements will not be read again soon. */
void model_source_release_pages(const struct model_source *m, size_t i, size_t first, size_t n);

/* ---- layer stacks, given by the prefix of their tensors' names: "model.layers." ---- */

/* The number of layers of a stack in the whole model. */
long model_source_count_layers(const struct model_source *m, const char *prefix, size_t length);
/* The prefix of the stack with `layers` layers (0: with any number); if several have that many, one
 * that is not for images or sound. NULL if there is none. */
const char *model_source_find_text_stack(const struct model_source *m, long layers, size_t *length);

/* Drops the other layers of the stack; tensors outside it stay. `total` need not be set. Call it at
 * most once, before the tensors are used. */
void model_source_select_layers(struct model_source *m, const struct selected_layers *layers);
/* NULL if no layers were selected. */
const struct selected_layers *model_source_selected_layers(const struct model_source *m);

#endif
