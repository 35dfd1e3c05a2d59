/* Numbers as text, whatever the locale; and the ranges in which options take them. */
#ifndef TV_NUMBER_H
#define TV_NUMBER_H

#include <stdbool.h>

/* A whole decimal number, nothing before or after it, finite; 0 or -1. */
int number_parse(const char *text, double *x);
/* "0.1": the shortest text that reads back as the same number; into a buffer of 32 bytes. */
const char *number_format(double x, char *text);

/* low <= x <= high, the ends left out where `open` says so. 0 to 0 is none: it holds all numbers.
 */
struct range {
    double low, high;
    bool low_open, high_open;
};

bool range_contains(const struct range *range, double x);
/* x, or the end that it lies beyond where that end belongs to the range. */
double range_clamp(const struct range *range, double x);
/* "in (0, 1]"; into a buffer of at least 80 bytes. */
const char *range_format(const struct range *range, char *text);

#endif
