/* The summary that tv merge prints on a terminal: how many elements each step that drops elements
 * keeps, the norm of the change by kind of tensor, and where the model card is. The numbers are
 * those that the run has counted (change_counts.h). */
#ifndef TV_MERGE_SUMMARY_H
#define TV_MERGE_SUMMARY_H

#include "config_command.h"
#include "run_report.h"

/* For the monitor of the run. NULL if the run consists of several merges: it would add up their
 * counts. */
change_counts_kind_of_tensor *merge_summary_kind_of_tensor(const struct config_command *c);
/* Prints the summary of a successful merge on standard error. */
void merge_summary_print(struct config_command *c, const struct run_report *report);

#endif
