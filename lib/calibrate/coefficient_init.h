/* Initial values of the coefficients: numbers by rule (--init), the weights of the stream's vectors
 * (--init stream), one number found by a search (--init auto), or a table (--start). A struct
 * coefficient_init owns what it stores until coefficient_init_free. */
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
    double default_alpha; /* of tensors that no rule matches */
    double max;           /* all values lie in (0, max) */
    size_t tensors, experts;
    struct coefficient_init_weights *stream_weights; /* [tensor][expert] */
    struct coefficient_table *start_table;           /* of --start; may be NULL */
};

/* Before anything is read: are these values of --init possible, with coefficients below `max`?
 * Files of rules are not opened. */
int coefficient_init_check(const struct string_list *texts, double max, struct error *e);
/* Parses the values of --init: rules, or "stream" or "auto" alone. */
int coefficient_init_parse(struct coefficient_init *s, const struct string_list *texts,
                           double default_alpha, double max, struct error *e);
void coefficient_init_allocate(struct coefficient_init *s, size_t tensors, size_t experts);
void coefficient_init_free(struct coefficient_init *s);

/* Stores the weights of a vector in the stream. */
void coefficient_init_store_weights(struct coefficient_init *s, size_t tensor, size_t expert,
                                    const struct vector *v);

/* Which coefficients are set: those of a learned tensor and an expert. */
struct coefficient_init_target {
    size_t tensor, expert; /* indices of struct coefficients */
    const struct tensor *stream_tensor;
    const char *model; /* the expert's name */
};

/* Sets these coefficients, and the regularizer's center, to their initial values; then, with
 * `use_start_table`, the coefficients alone to the table's values. */
int coefficient_init_set_coefficients(const struct coefficient_init *s, struct coefficients *c,
                                      const struct coefficient_init_target *t, bool use_start_table,
                                      struct error *e);

#endif
