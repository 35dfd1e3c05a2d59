/* A pipeline with placeholders for numbers:
 *
 *     {density:0.1..1}        a number from 0.1 to 1
 *     {lr:1e-5..1e-2:log}     on a logarithmic scale
 *     {k:1..8:int}            a whole number
 *     {density}               the same number as that placeholder
 *
 * Other braces are text. A pipeline_template lives in the arena that it was parsed into. */
#ifndef TV_PIPELINE_TEMPLATE_H
#define TV_PIPELINE_TEMPLATE_H

#include "error.h"
#include "mem.h"

#include <stddef.h>

#define PIPELINE_TEMPLATE_MAX_NUMBERS 10
#define PIPELINE_TEMPLATE_NUMBER_SIZE 32 /* bytes of a number as text, at most */

enum number_scale { SCALE_LINEAR, SCALE_LOG, SCALE_INT };

struct template_number {
    const char *name, *range; /* "0.1..1", "1..8:int" */
    double low, high;
    enum number_scale scale;
};

struct pipeline_template {
    const char *text;
    size_t n; /* numbers, in the order of their first ranges */
    struct template_number numbers[PIPELINE_TEMPLATE_MAX_NUMBERS];
};

/* An error if there is no placeholder, or one that is wrong. */
int pipeline_template_parse(struct pipeline_template *t, const char *text, struct arena *a,
                            struct error *e);
/* The pipeline with numbers, values[n], in place of its placeholders. */
const char *pipeline_template_fill(const struct pipeline_template *t, const char *const *values,
                                   struct arena *a);

/* A number between 0, the low end of its range, and 1, the high end, as text: with four significant
 * digits, or the end itself. `text` has PIPELINE_TEMPLATE_NUMBER_SIZE bytes and is returned. */
const char *template_number_format(const struct template_number *number, double x, char *text);
/* The reverse. -1 if the text is not a number in the range. */
int template_number_parse(const struct template_number *number, const char *text, double *x);

#endif
