/* A sample: the token ids of a task with their images, and where they stand, for sentences. What it
 * points to belongs to the samples that it is one of (samples.h). */
#ifndef TV_SAMPLE_H
#define TV_SAMPLE_H

#include "error.h"
#include "image.h"

struct sample {
    size_t task; /* index into the tasks of all */
    size_t n;
    const uint32_t *ids;
    size_t prompt_tokens; /* ids of the prompt; 0: it was not said */
    struct sample_images images;
    const char *file;
    size_t line; /* counted from 1 */
};

/* "FILE, line 7: sentence". Returns -1. */
int sample_error(const struct sample *s, struct error *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
