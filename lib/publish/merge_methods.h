/* The published methods whose steps a merge took, found in its history, with their papers. */
#ifndef TV_MERGE_METHODS_H
#define TV_MERGE_METHODS_H

#include "header.h"

#include <stdio.h>

/* Prints a paragraph and a Markdown list: "- TIES-Merging: `trim`, `elect-sign`; Yadav et al. 2023;
 * ...". Nothing if there are none. */
void merge_methods_print(FILE *out, const struct history *h);

#endif
