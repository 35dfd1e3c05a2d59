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
#include "model_card.h"

struct lora_output;

struct lora_output_options {
    const struct tensor_rules *rank;   /* the most singular values of a tensor; 0: left out */
    const struct tensor_rules *energy; /* the share of |D|^2 to keep; without rules: all */
    const struct tensor_rules *whole;  /* stored whole (selectors) */
    double epsilon;                    /* only singular values above this one are kept */
    bool embeddings;                   /* decompose embeddings and heads too */
    bool skips_others;                 /* leave out what cannot be decomposed, such as norms */
    bool undistributed;                /* A = S_k V_k', B = U_k */
    enum dtype dtype;                  /* of all tensors; DTYPE_NONE: those of the base's */
};

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
