/* A merged task vector as a LoRA adapter of peft: each matrix D as the factors B A of its best
 * approximation of a rank k (Eckart and Young 1936), from its singular values and vectors:
 *
 *     D = U S V'        A = sqrt(S_k) V_k'        B = U_k sqrt(S_k)        |D - B A|^2 = sum_{i>k}
 * s_i^2
 *
 * Other tensors that the task vector changes are stored whole. The factors are kept until the last
 * tensor has come, for only then all ranks are known; memory follows the adapter, not the model.
 *
 * A lora_output owns what it is made of until lora_output_free; it borrows the header and the
 * base. */
#ifndef TV_LORA_OUTPUT_H
#define TV_LORA_OUTPUT_H

#include "base_model.h"
#include "checkpoint_writer.h"
#include "matrix.h"
#include "model_card.h"

struct lora_output;

struct lora_output_options {
    struct tensor_rules rank;   /* the most singular values of a tensor; 0: left out */
    struct tensor_rules energy; /* the share of |D|^2 to keep; without rules: all */
    struct tensor_rules whole;  /* stored whole (selectors) */
    double epsilon;             /* only singular values above this one are kept */
    bool embeddings;            /* decompose embeddings and heads too */
    bool skips_others;          /* leave out what cannot be decomposed, such as norms */
    bool undistributed;         /* A = S_k V_k', B = U_k */
    enum dtype dtype;           /* of all tensors; DTYPE_NONE: those of the base's */
};

/* The option rows of a filter whose struct options holds them, but for the dtype, in `field`. */
#define LORA_OUTPUT_OPTION_ROWS(type, field)                                                       \
    {"lora",                                                                                       \
     OPTION_RULES,                                                                                 \
     offsetof(struct type, field.rank),                                                            \
     "RANK",                                                                                       \
     .help = "write a LoRA adapter of BASE: each matrix as factors of this rank, or by "           \
             "rules such as '/*mlp*=64' (0 leaves a matrix out)",                                  \
     .range = {.low = 0, .high = MATRIX_EIGEN_MAX},                                                \
     .per_tensor = true},                                                                          \
        {"energy",                                                                                 \
         OPTION_RULES,                                                                             \
         offsetof(struct type, field.energy),                                                      \
         "SHARE",                                                                                  \
         .help = "the smallest rank that keeps this share of the squared norm of a "               \
                 "matrix's change, such as 0.95; --lora limits it",                                \
         .range = {.low = 0, .high = 1, .low_open = true},                                         \
         .per_tensor = true},                                                                      \
        {"sv-epsilon",                                                                             \
         OPTION_NUMBER,                                                                            \
         offsetof(struct type, field.epsilon),                                                     \
         "S",                                                                                      \
         .help = "adapter: keep only singular values above S (default 0)",                         \
         .range = {.low = 0, .high = INFINITY},                                                    \
         .default_value = "0"},                                                                    \
        {"embed-lora", OPTION_FLAG, offsetof(struct type, field.embeddings), NULL,                 \
         .help = "adapter: decompose embeddings and the LM head, which are stored whole "          \
                 "otherwise"},                                                                     \
        {"whole",                                                                                  \
         OPTION_SELECTORS,                                                                         \
         offsetof(struct type, field.whole),                                                       \
         "/GLOB",                                                                                  \
         .help = "adapter: store these tensors whole; may be repeated",                            \
         .per_tensor = true},                                                                      \
        {"skip-undecomposable", OPTION_FLAG, offsetof(struct type, field.skips_others), NULL,      \
         .help = "adapter: leave out norms, biases and other tensors that are no matrices"},       \
    {                                                                                              \
        "no-distribute-scale", OPTION_FLAG, offsetof(struct type, field.undistributed), NULL,      \
            .help = "adapter: A has the singular values, B only directions (default: both have "   \
                    "their square roots)"                                                          \
    }

/* Chooses what becomes of each tensor of the stream. Loads OpenBLAS. NULL on error. */
struct lora_output *lora_output_new(const struct header *h, const struct base_model *base,
                                    const struct lora_output_options *options, struct error *e);
void lora_output_free(struct lora_output *l);

/* The n tensors of an adapter with the highest ranks that the options allow, in the arena: names,
 * shapes, and dtypes of their vectors. */
struct tensor *lora_output_largest_tensors(const struct lora_output *l, size_t *n, struct arena *a);
/* Is tensor `index` of the stream in the adapter? */
bool lora_output_wants_tensor(const struct lora_output *l, size_t index);
/* Takes all elements of a tensor, its task vector. One at a time, in any order. */
int lora_output_add_tensor(struct lora_output *l, size_t index, const float *x, struct error *e);

/* What became of a tensor that was taken: *n tensors of the adapter, the factors A and B or the
 * whole; none if it is zero. The elements belong to the adapter. */
struct lora_output_part {
    const char *name;
    enum dtype dtype;
    size_t rank;
    const uint64_t *shape;
    const void *bytes;
};
size_t lora_output_parts(const struct lora_output *l, size_t index,
                         struct lora_output_part parts[2]);
/* The text of adapter_config.json; the caller frees. */
char *lora_output_config(const struct lora_output *l);

/* Of the tensors of the adapter, when all have been taken. */
uint64_t lora_output_bytes(const struct lora_output *l);
/* Writes the adapter, apart from the card: `result` describes the merge, with its history. */
int lora_output_write(const struct lora_output *l, struct checkpoint_writer *w,
                      const struct header *result, struct error *e);
/* Prints a note if the adapter changes an embedding that is also the head of the base. */
void lora_output_print_tied_note(const struct lora_output *l, const char *path, const char *tool);
/* What is kept of the change, as sections of the card; the caller frees. */
char *lora_output_card_text(const struct lora_output *l);
/* The same in one sentence, for the terminal; the caller frees. */
char *lora_output_summary(const struct lora_output *l);

#endif
