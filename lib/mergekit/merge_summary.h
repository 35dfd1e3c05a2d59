/* The summary of a merge, which tv merge prints on a terminal: what the steps that drop
 * elements left, the norm of the change by kind of tensor, and where the model card is. The numbers
 * are those that the run has counted (change_counts.h). */
#ifndef TV_MERGE_SUMMARY_H
#define TV_MERGE_SUMMARY_H

#include "config_command.h"
#include "run_report.h"

/* For the monitor of the run: NULL if its counts would not be those of one merge. */
change_counts_kind_of_tensor *merge_summary_kind_of_tensor(const struct config_command *c);
/* Prints the summary of a successful merge on standard error. */
void merge_summary_print(struct config_command *c, const struct run_report *report);

#endif
