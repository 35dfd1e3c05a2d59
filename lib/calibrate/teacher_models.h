/* The experts as models that can be run: an expert's own checkpoint (--expert), or base + task
 * vector. A struct teacher_models owns the merged models until teacher_models_free; it borrows
 * experts and task vectors. */
#ifndef TV_TEACHER_MODELS_H
#define TV_TEACHER_MODELS_H

#include "base_and_experts.h"
#include "task_vectors.h"

struct teacher_models;

/* A teacher uses its own weights instead of the base's for the kinds below this one: of all kinds
 * with `own_vision`, otherwise of all but the vision tower's. */
enum weight_kind teacher_models_end_of_own_kinds(bool own_vision);

/* `rounding`: of the base's elements, as for merged_model_new. */
struct teacher_models *teacher_models_new(const struct base_and_experts *x, struct task_vectors *tv,
                                          bool own_vision, enum dtype rounding);
void teacher_models_free(struct teacher_models *t);

const struct arch *teacher_models_arch(const struct teacher_models *t, size_t expert);
const struct weight_source *teacher_models_weight_source(const struct teacher_models *t,
                                                         size_t expert);
/* Frees the layer that the expert's model has in memory. */
void teacher_models_release_layer(struct teacher_models *t, size_t expert);

#endif
