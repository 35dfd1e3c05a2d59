/* An error message: one sentence, without a newline. The caller owns the struct error; a function
 * that fails fills it in and returns -1. */
#ifndef TV_ERROR_H
#define TV_ERROR_H

#include <stdbool.h>

struct error {
    char text[1024];
    char stage[64]; /* the stage that failed, if it is not the caller's; else "" */
    bool printed;   /* the failed stage has printed the sentence: do not print it again */
};

/* Replaces the sentence. Always returns -1, so that a function can write
 * `return error_set(e, ...)`. Control characters (printable.h) become '?'. */
int error_set(struct error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
