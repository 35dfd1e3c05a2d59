/* Where coefficients start: at numbers by rule, at the weights that vectors came with, or at a
 * table's. A start owns what it notes until start_free. */
#ifndef TV_START_H
#define TV_START_H

#include "coefficients.h"
#include "filter.h"
#include "table.h"

enum start_from { START_RULES, START_STREAM, START_SEARCH };

struct start {
    enum start_from from;
    struct rules rules;
    double otherwise; /* where no rule matches */
    double max;       /* all lie between 0 and this */
    size_t tensors, experts;
    struct start_weights *stream; /* [tensor][expert] */
    struct table *table;          /* of where to move from there; may be NULL */
};

/* The texts of --init: rules, or "stream" or "auto" alone. */
int start_read(struct start *s, const struct texts *texts, double otherwise, double max,
               struct error *e);
void start_size(struct start *s, size_t tensors, size_t experts);
void start_free(struct start *s);

/* Notes the weights that a vector came with. */
void start_note(struct start *s, size_t tensor, size_t expert, const struct vector *v);
/* Puts the coefficients of tensor j, `t`, and expert k, called `model`, at their start, where the
 * regulariser will hold them; then, if `moved`, where the table says. */
int start_put(const struct start *s, struct coefficients *c, size_t j, size_t k,
              const struct tensor *t, const char *model, bool moved, struct error *e);

#endif
