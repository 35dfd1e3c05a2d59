/* The models of a calibration: the base, and the experts, which are the models whose task vectors
 * the stream has, or checkpoints alone. An expert may have its own checkpoint: that of --expert,
 * or, where a filter has changed the task vectors, that which tv-extract reads in the same run. A
 * struct base_and_experts owns its models until base_and_experts_close; it borrows the header, to
 * which the names belong. */
#ifndef TV_BASE_AND_EXPERTS_H
#define TV_BASE_AND_EXPERTS_H

#include "model_weights.h"

struct base_and_experts {
    struct model_weights *base;
    size_t n;
    size_t *models;               /* [expert]: its index in the header */
    const char **names;           /* [expert] */
    struct model_weights **files; /* [expert]: its checkpoint; NULL: base + task vector is used */
};

struct base_and_experts_options {
    const char *base, *config; /* as for model_weights_open */
    bool accept_other_base;    /* the task vectors may have been extracted against another base */
    bool need_teachers;        /* the experts are run */
    struct string_list files;  /* PATH or MODEL=PATH, as for model_source_open */
};

/* Opens the base and the checkpoints, whose sizes must be the base's. A warning names experts
 * whose task vectors have been changed and that have no checkpoint. */
int base_and_experts_open(struct base_and_experts *x, const struct base_and_experts_options *o,
                          const struct stage *s, const struct header *h, struct error *e);
/* The same without a stream: the experts are the n checkpoints. `tool`: the program in warnings. */
int base_and_experts_open_checkpoints(struct base_and_experts *x,
                                      const struct base_and_experts_options *o, const char *spool,
                                      const char *tool, struct error *e);
void base_and_experts_close(struct base_and_experts *x);
/* An error if a file of the models has changed since it was opened. */
int experts_check_unchanged(const struct base_and_experts *x, struct error *e);

/* The index of the expert whose name is the first n letters of `name`; -1: none. */
long base_and_experts_find_by_name(const struct base_and_experts *x, const char *name, size_t n);

/* Is every vector of the stream exactly checkpoint - base? This is the case if tv-extract alone
 * made the stream, from these same files and without options that change numbers. */
bool base_and_experts_files_match_stream(const struct base_and_experts *x, const struct header *h);

#endif
