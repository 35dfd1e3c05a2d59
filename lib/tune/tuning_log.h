/* The table of tv tune: a line for each evaluation, with its numbers and losses, separated by tabs.
 * The log is this table in a file, after a line with the key of the run; an interrupted run
 * continues after its last complete line.
 *
 * A tuning_log is open between tuning_log_open and tuning_log_close; it borrows what it is opened
 * with. */
#ifndef TV_TUNING_LOG_H
#define TV_TUNING_LOG_H

#include "pipeline_template.h"
#include "tuning_loss.h"

#include <stdio.h>

struct evaluation {
    char numbers[PIPELINE_TEMPLATE_MAX_NUMBERS][PIPELINE_TEMPLATE_NUMBER_SIZE];
    double values[TUNING_LOSS_COLUMNS]; /* as they are printed */
};

struct evaluation_list {
    size_t n;
    struct evaluation *items; /* the caller frees them */
};

struct tuning_log {
    const char *path; /* NULL: there is only the table on standard output */
    uint64_t key;     /* what must be the same when a run continues */
    const struct pipeline_template *template;
    size_t n_values;
    const char *values[TUNING_LOSS_COLUMNS]; /* names of columns */
    FILE *file;
};

/* Opens the file at l->path, whose evaluations are appended to `found`; an incomplete line at its
 * end is removed. An error if the file is not a log of this run: it stays as it is. Prints the head
 * of the table and what was found. */
int tuning_log_open(struct tuning_log *l, struct evaluation_list *found, struct error *e);
/* Rounds the values to the digits of the table, appends the evaluation to the list, and writes and
 * prints its line. */
int tuning_log_add(struct tuning_log *l, struct evaluation_list *list, const struct evaluation *x,
                   struct error *e);
int tuning_log_close(struct tuning_log *l, struct error *e);

#endif
