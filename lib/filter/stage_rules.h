/* The numbers that rules give to the vectors and tensors of a stream, and checks of rules against
 * its header. The texts that messages contain belong to the stage. */
#ifndef TV_STAGE_RULES_H
#define TV_STAGE_RULES_H

#include "filter.h"

/* The value of the last rule that matches a vector, else `missing`. Globs are matched against
 * stage_rules_name_to_match. */
double stage_rules_vector_value(const struct stage *s, const struct tensor_rules *r,
                                const struct tensor *t, const struct vector *v, double missing);
/* The value of the last rule that matches a tensor by its output name, else `missing`. */
double stage_rules_tensor_value(const struct tensor_rules *r, const struct tensor *t,
                                double missing);
/* The name against which globs are matched: in the layers the tensor's name in the vector's own
 * model, whose layers may have other numbers; elsewhere the output name, because another tensor may
 * stand for the model's own (the embedding for a tied head). */
const char *stage_rules_name_to_match(const struct tensor *t, const struct vector *v);

/* Before open: an error for rules among options and operands that name unknown models, give a
 * number outside the option's range, or leave out a tensor of an every_tensor option; a warning for
 * a glob that matches no tensor. */
int stage_rules_check_all(struct stage *s, const struct header *h, struct error *e);
/* For rules per vector that are not in the table of options: an error if one names a model that the
 * stream does not have. `what` is what the message calls them. */
int stage_rules_check_models(const struct tensor_rules *r, const char *what, const struct header *h,
                             struct error *e);

#endif
