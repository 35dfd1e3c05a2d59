/* Checks for the unit tests: a failed one is named and counted; unit_end gives the exit status. */
#ifndef UNIT_H
#define UNIT_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int unit_failures;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                \
            unit_failures++;                                                                       \
        }                                                                                          \
    } while (0)

static inline int unit_end(void)
{
    return unit_failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
