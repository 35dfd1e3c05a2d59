/* The experts as models that can be run: an expert's own checkpoint (--expert), or base + task
 * vector. A struct teacher_weights owns the merged models until teacher_weights_free; it borrows
 * experts and task vectors. */
#ifndef TV_TEACHER_WEIGHTS_H
#define TV_TEACHER_WEIGHTS_H

#include "experts.h"
#include "task_vectors.h"

struct teacher_weights;

/* A teacher uses its own weights instead of the base's for the kinds below this one: of all kinds
 * with `own_vision`, otherwise of all but the vision tower's. */
enum weight_kind teacher_weights_own_end(bool own_vision);

/* `rounding`: of the base's elements, as for merged_model_new. */
struct teacher_weights *teacher_weights_new(const struct experts *x, struct task_vectors *tv,
                                            bool own_vision, enum dtype rounding);
void teacher_weights_free(struct teacher_weights *t);

const struct arch *teacher_weights_arch(const struct teacher_weights *t, size_t expert);
const struct weight_source *teacher_weights_source(const struct teacher_weights *t, size_t expert);
/* Frees the layer that the expert's model has in memory. */
void teacher_weights_release_layer(struct teacher_weights *t, size_t expert);

#endif
