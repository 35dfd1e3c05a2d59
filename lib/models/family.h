/* Models of one family side by side: their tensors matched by name, compared in shape, and read
 * block by block. A family owns its models until family_close; after family_open it may be used by
 * several threads at once. */
#ifndef TV_FAMILY_H
#define TV_FAMILY_H

#include "slice.h"

struct family;

/* What to do where models differ; otherwise it is an error before any work. */
struct family_options {
    enum dtype rounding;  /* --dtype: every input is rounded to this on reading */
    int missing;          /* --missing: FAMILY_BASE or FAMILY_SKIP, -1: an error */
    int embed;            /* --embed: FAMILY_TRUNCATE or FAMILY_EMBED_BASE, -1: an error */
    int mismatch;         /* --mismatch: 0 drop, -1: an error */
    const char *stack;    /* --stack: which layers a range in an operand means; NULL: the text's */
    uint64_t first_layer; /* --first-layer, if it was given */
    int outside;          /* --outside: FAMILY_FIRST, _INNER or _LAST of several slices, -1: all */
};
enum { FAMILY_BASE, FAMILY_SKIP };
enum { FAMILY_TRUNCATE, FAMILY_EMBED_BASE };
enum { FAMILY_FIRST, FAMILY_INNER, FAMILY_LAST };

/* The option rows for these, for a filter whose options hold them in `field`. */
#define FAMILY_ROWS(type, field)                                                                   \
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
        "stack", OPTION_TEXT, offsetof(struct type, field.stack), "PREFIX",                        \
            .help = "what the names of the layers begin with that MODEL[from:to] means, such as "  \
                    "model.visual.blocks (default: those of the text)"                             \
    }

/* Opens the models that the stage's operands name and fills in the empty header: models, tensors
 * sorted bytewise by the first model's names, layers, a vector per model in its stored dtype (or
 * the rounding). As task vectors the first model is the base: the others' vectors are F32, and
 * tensors that are not floating are left out, with a warning where an expert changed one. */
struct family *family_open(struct stage *s, const struct family_options *o, bool task_vectors,
                           struct header *h, struct error *e);
void family_close(struct family *f);

/* A block of vector k of tensor `index`, as it travels, or as F32 or F64; FAMILY_OF_BASE is the
 * base's. Keeps the block's hash, and lets the pages go that it lies in. */
#define FAMILY_OF_BASE SIZE_MAX
void family_read(struct family *f, size_t index, size_t k, const struct block *b, void *to);
void family_read_f32(struct family *f, size_t index, size_t k, const struct block *b, float *to);
void family_read_f64(struct family *f, size_t index, size_t k, const struct block *b, double *to);
/* Is it, or the base it is compared with, stored in F64? */
bool family_needs_f64(const struct family *f, size_t index, size_t k);
/* After the last block of a tensor, and of the last tensor: what was read, for the run. */
void family_tensor_read(struct family *f, size_t index, struct stage *s);
void family_add_hashes(const struct family *f, struct stage *s);

#endif
