/* One sample: the token ids of a task, its images, and its file and line for errors. Its arrays
 * belong to the samples that contain it (samples.h). */
#ifndef TV_SAMPLE_H
#define TV_SAMPLE_H

#include "error.h"
#include "sample_images.h"

struct sample {
    size_t task; /* index among all tasks */
    size_t n;
    const uint32_t *ids;
    size_t prompt_tokens; /* 0: not given */
    struct sample_images images;
    const char *file;
    size_t line; /* counted from 1; 0: `file` is not a file */
};

/* Sets "FILE, line 7: sentence" or "FILE: sentence" and returns -1. */
int sample_error(const struct sample *s, struct error *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
