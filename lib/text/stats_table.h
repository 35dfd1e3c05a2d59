/* The table that the filter stats prints: a row for each vector of a tensor, with the columns that
 * the user chose, as far as they fit into the terminal. A table borrows the names of the models and
 * owns the rest. */
#ifndef TV_STATS_TABLE_H
#define TV_STATS_TABLE_H

#include "header.h"
#include "vector_stats.h"

/* The statistics of a vector. The last two belong to a pair of vectors; the row of the later vector
 * has them. */
#define STATS_KEYS "elements|zero|l1|l2|mean|max_abs|min|max|cosine|conflict"
enum stats_key {
    STATS_ELEMENTS,
    STATS_ZERO,
    STATS_L1,
    STATS_L2,
    STATS_MEAN,
    STATS_MAX_ABS,
    STATS_MIN,
    STATS_MAX,
    STATS_COSINE,
    STATS_CONFLICT,
    N_STATS_KEYS
};

/* A statistic of vector k, or of the pair of vector k and an earlier vector j. NaN if it is
 * undefined. */
double stats_table_value(const struct joint_stats *t, enum stats_key key, size_t k, size_t j);
/* The key by which tensors are sorted, largest first: the largest value of all vectors or pairs;
 * for the mean, the largest magnitude; for the minimum, the smallest value, negated. NaN if all are
 * undefined. */
double stats_table_sort_value(const struct joint_stats *t, enum stats_key key);

/* The columns that the user wants. */
struct stats_columns {
    size_t n; /* 0: all */
    enum stats_key keys[N_STATS_KEYS];
};

/* Parses "zero,l2,conflict", the value of the option `label`. */
int stats_columns_parse(struct stats_columns *c, const char *text, const char *label,
                        struct error *e);

struct stats_table;
/* A table of n models. `name_width` is that of the widest tensor name. The columns fit into `width`
 * columns of a terminal (0: any width), beginning with that of `sort_key` (-1: none). */
struct stats_table *stats_table_new(size_t n, const char *const *models, int name_width,
                                    const struct stats_columns *columns, int width, int sort_key);
void stats_table_free(struct stats_table *t);
void stats_table_print_titles(const struct stats_table *t);
/* Prints the rows of a tensor. Vector k is of model models[k], an index of stats_table_new's. */
void stats_table_print_rows(const struct stats_table *t, const char *tensor,
                            const struct joint_stats *stats, const size_t *models);
/* Names the columns that did not fit, if there are any. */
void stats_table_print_left_out(const struct stats_table *t);

#endif
