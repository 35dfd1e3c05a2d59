/* Where coefficients start: at numbers by rule, at the weights that vectors came with, or at a
 * table's. A start owns what it notes until coefficient_init_free. */
#ifndef TV_COEFFICIENT_INIT_H
#define TV_COEFFICIENT_INIT_H

#include "coefficients.h"
#include "filter.h"
#include "coefficient_table.h"

enum coefficient_init_from {
    COEFFICIENT_INIT_RULES,
    COEFFICIENT_INIT_STREAM,
    COEFFICIENT_INIT_SEARCH
};

struct coefficient_init {
    enum coefficient_init_from from;
    struct rules rules;
    double otherwise; /* where no rule matches */
    double max;       /* all lie between 0 and this */
    size_t tensors, experts;
    struct coefficient_init_weights *stream; /* [tensor][expert] */
    struct coefficient_table *table;         /* of where to move from there; may be NULL */
};

/* The texts of --init: rules, or "stream" or "auto" alone. */
int coefficient_init_read(struct coefficient_init *s, const struct texts *texts, double otherwise,
                          double max, struct error *e);
void coefficient_init_size(struct coefficient_init *s, size_t tensors, size_t experts);
void coefficient_init_free(struct coefficient_init *s);

/* Notes the weights that a vector came with. */
void coefficient_init_note(struct coefficient_init *s, size_t tensor, size_t expert,
                           const struct vector *v);
/* Puts the coefficients of tensor j, `t`, and expert k, called `model`, at their start, where the
 * regulariser will hold them; then, if `moved`, where the table says. */
int coefficient_init_put(const struct coefficient_init *s, struct coefficients *c, size_t j,
                         size_t k, const struct tensor *t, const char *model, bool moved,
                         struct error *e);

#endif
