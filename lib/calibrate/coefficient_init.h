/* Where coefficients start: at numbers by rule, at the weights that vectors came with, or at a
 * table's. A start owns what it notes until coefficient_init_free. */
#ifndef TV_COEFFICIENT_INIT_H
#define TV_COEFFICIENT_INIT_H

#include "coefficients.h"
#include "filter.h"
#include "coefficient_table.h"

enum coefficient_init_source {
    COEFFICIENT_INIT_RULES,
    COEFFICIENT_INIT_STREAM,
    COEFFICIENT_INIT_SEARCH
};

struct coefficient_init {
    enum coefficient_init_source source;
    struct tensor_rules rules;
    double default_alpha; /* where no rule matches */
    double max;           /* all lie between 0 and this */
    size_t tensors, experts;
    struct coefficient_init_weights *stream_weights; /* [tensor][expert] */
    struct coefficient_table *start_table;           /* of where to move from there; may be NULL */
};

/* The texts of --init: rules, or "stream" or "auto" alone. */
int coefficient_init_parse(struct coefficient_init *s, const struct string_list *texts,
                           double otherwise, double max, struct error *e);
void coefficient_init_allocate(struct coefficient_init *s, size_t tensors, size_t experts);
void coefficient_init_free(struct coefficient_init *s);

/* Notes the weights that a vector came with. */
void coefficient_init_store_weights(struct coefficient_init *s, size_t tensor, size_t expert,
                                    const struct vector *v);
/* Puts the coefficients of tensor j, `t`, and expert k, called `model`, at their start, where the
 * regulariser will hold them; then, if `moved`, where the table says. */
int coefficient_init_apply(const struct coefficient_init *s, struct coefficients *c, size_t j,
                           size_t k, const struct tensor *t, const char *model, bool moved,
                           struct error *e);

#endif
