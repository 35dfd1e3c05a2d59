/* One sentence about what went wrong, without a newline: the printer owns layout.
 * An error belongs to the caller; the library fills it in and returns -1. */
#ifndef TV_ERROR_H
#define TV_ERROR_H

#include <stdbool.h>

struct error {
    char text[1024];
    char stage[64]; /* the stage that failed, where it is another one than the caller */
    bool printed;   /* that stage has printed the sentence already: say nothing */
};

/* Writes the sentence, replacing an earlier one. Always returns -1, so that a function can
 * say `return error_set(e, ...)`. Control characters (from hostile names) become '?'. */
int error_set(struct error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
