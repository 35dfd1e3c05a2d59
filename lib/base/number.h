/* Parsing and formatting numbers independently of the locale, and the ranges that options accept.
 */
#ifndef TV_NUMBER_H
#define TV_NUMBER_H

#include <stdbool.h>

/* Parses a finite decimal number that is the whole text. Returns 0, or -1 if it is not. */
int number_parse(const char *text, double *x);
/* Writes the fraction that a percentage is, "0.2" for "20%", to a buffer of 32 bytes. Returns the
 * buffer; NULL if the text is no percentage. */
const char *number_fraction_of_percentage(const char *text, char *fraction);
/* Writes the shortest text that parses as the same number ("0.1") to a buffer of 32 bytes, and
 * returns the buffer. */
const char *number_format(double x, char *text);

/* low <= x <= high; an open end is excluded. A range from 0 to 0 is unset: it contains all
 * numbers. */
struct range {
    double low, high;
    bool low_open, high_open;
};

bool range_contains(const struct range *range, double x);
/* The number of the range that is nearest to x; x itself if it lies beyond an open end. */
double range_clamp(const struct range *range, double x);
/* Writes "in (0, 1]", "above 0" or "at least 1" to a buffer of at least 80 bytes, and returns the
 * buffer. */
const char *range_format(const struct range *range, char *text);

#endif
