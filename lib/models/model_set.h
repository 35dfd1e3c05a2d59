/* Models of one family side by side: their tensors matched by name, compared in shape, and read
 * block by block. A family owns its models until model_set_close; after model_set_open it may be
 * used by several threads at once. */
#ifndef TV_MODEL_SET_H
#define TV_MODEL_SET_H

#include "layer_slice.h"

struct model_set;

/* What to do where models differ; otherwise it is an error before any work. */
struct model_set_options {
    enum dtype rounding; /* --dtype: every input is rounded to this on reading */
    int missing;  /* --missing: MODEL_SET_MISSING_BASE or MODEL_SET_MISSING_SKIP, -1: an error */
    int embed;    /* --embed: MODEL_SET_EMBED_TRUNCATE or MODEL_SET_EMBED_BASE, -1: an error */
    int mismatch; /* --mismatch: 0 drop, -1: an error */
    const char *stack;    /* --stack: which layers a range in an operand means; NULL: the text's */
    uint64_t first_layer; /* --first-layer, if it was given */
    int outside; /* --outside: MODEL_SET_OUTSIDE_FIRST, _INNER or _LAST of several slices, -1: all
                  */
};
enum { MODEL_SET_MISSING_BASE, MODEL_SET_MISSING_SKIP };
enum { MODEL_SET_EMBED_TRUNCATE, MODEL_SET_EMBED_BASE };
enum { MODEL_SET_OUTSIDE_FIRST, MODEL_SET_OUTSIDE_NONE, MODEL_SET_OUTSIDE_LAST };

/* The option rows for these, for a filter whose options hold them in `field`. */
#define MODEL_SET_OPTION_ROWS(type, field)                                                         \
    {"dtype", OPTION_DTYPE, offsetof(struct type, field.rounding), "DTYPE",                        \
     .help = "round every input to DTYPE on reading (mergekit's dtype)"},                          \
        {"missing",                                                                                \
         OPTION_CHOICE,                                                                            \
         offsetof(struct type, field.missing),                                                     \
         "base|skip",                                                                              \
         .help = "a tensor that a model lacks: the first model's stands in, or that model is "     \
                 "left out of the tensor",                                                         \
         .choices = "base|skip"},                                                                  \
        {"embed",                                                                                  \
         OPTION_CHOICE,                                                                            \
         offsetof(struct type, field.embed),                                                       \
         "truncate|base",                                                                          \
         .help = "an embedding or head of another size: cut it to what is common, or take the "    \
                 "first model's",                                                                  \
         .choices = "truncate|base"},                                                              \
        {"mismatch",                                                                               \
         OPTION_CHOICE,                                                                            \
         offsetof(struct type, field.mismatch),                                                    \
         "drop",                                                                                   \
         .help = "another tensor of another shape: leave that model out of it",                    \
         .choices = "drop"},                                                                       \
        {"outside",                                                                                \
         OPTION_CHOICE,                                                                            \
         offsetof(struct type, field.outside),                                                     \
         "first|none|last",                                                                        \
         .help = "of the tensors outside the layers put out those that stack takes from its "      \
                 "first stream, none, or those that it takes from its last (default: all)",        \
         .choices = "first|none|last"},                                                            \
        {"first-layer", OPTION_COUNT, offsetof(struct type, field.first_layer), "N",               \
         .help = "number of the first layer in the stream; the others follow it"},                 \
    {                                                                                              \
        "stack", OPTION_STRING, offsetof(struct type, field.stack), "PREFIX",                      \
            .help = "what the names of the layers begin with that MODEL[from:to] means, such as "  \
                    "model.visual.blocks (default: those of the text)"                             \
    }

/* Opens the models that the stage's operands name and fills in the empty header: models, tensors
 * sorted bytewise by the first model's names, layers, a vector per model in its stored dtype (or
 * the rounding). As task vectors the first model is the base: the others' vectors are F32, and
 * tensors that are not floating are left out, with a warning where an expert changed one. */
struct model_set *model_set_open(struct stage *s, const struct model_set_options *o,
                                 bool task_vectors, struct header *h, struct error *e);
void model_set_close(struct model_set *f);

/* A block of vector k of tensor `index`, as it travels, or as F32 or F64; MODEL_SET_BASE_VECTOR is
 * the base's. Keeps the block's hash, and lets the pages go that it lies in. */
#define MODEL_SET_BASE_VECTOR SIZE_MAX
void model_set_read_block(struct model_set *f, size_t index, size_t k, const struct block *b,
                          void *to);
void model_set_read_block_f32(struct model_set *f, size_t index, size_t k, const struct block *b,
                              float *to);
void model_set_read_block_f64(struct model_set *f, size_t index, size_t k, const struct block *b,
                              double *to);
/* Is it, or the base it is compared with, stored in F64? */
bool model_set_needs_f64(const struct model_set *f, size_t index, size_t k);
/* After the last block of a tensor, and of the last tensor: what was read, for the run. */
void model_set_hash_tensor(struct model_set *f, size_t index, struct stage *s);
void model_set_report_hashes(const struct model_set *f, struct stage *s);

#endif
