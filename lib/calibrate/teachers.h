/* What the experts compute on the samples: their hidden states, computed once and kept (in memory
 * up to a limit, beyond it in a temporary file), and their logits, made again from the last state
 * whenever they are wanted. A teachers owns what it keeps until teachers_free; the examples are
 * borrowed, and what each expert computes with must stay. */
#ifndef TV_TEACHERS_H
#define TV_TEACHERS_H

#include "lm.h"

/* A sample to learn from. Positions first .. last count. */
struct example {
    const uint32_t *ids;
    size_t n;
    size_t first_position, last_position;
    size_t expert;
    bool on_other_rank; /* another process computes it (mpi.h) */
    struct sample_images images;
    const struct image *pictures; /* all that there are */
};

static inline struct sequence example_sequence(const struct example *x)
{
    return (struct sequence){x->ids, x->n, x->images, x->pictures};
}

struct teachers;

/* `wanted`: hidden states h_0 .. h_L (h_L behind the final norm) that are kept beside h_L. */
struct teachers *teachers_new(const struct arch *a, size_t experts, const struct example *examples,
                              size_t n, const bool *wanted, uint64_t memory, const char *spool);
void teachers_free(struct teachers *t);

/* Lets an expert compute on its examples; `sights` of their pictures; NULL will do where
 * there are none. */
int teachers_run_expert(struct teachers *t, size_t expert, const struct arch *a,
                        const struct weight_source *w, const struct image_features *sights,
                        struct error *e);

/* h_state of an example, positions from .. from + n - 1, into `to` (n, d). */
int teachers_read_states(const struct teachers *t, size_t example, size_t state, size_t from,
                         size_t n, float *to, struct error *e);
/* The expert's logits z (n, V) of normed states h (n, d). */
int teachers_compute_logits(struct teachers *t, size_t expert, const float *h, size_t n, float *z,
                            struct error *e);
/* Bytes that are kept in memory or a file. */
uint64_t teachers_stored_bytes(const struct teachers *t);

#endif
