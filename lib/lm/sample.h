/* What is known of one sample (samples.h says where it comes from), and of all that were read. */
#ifndef TV_SAMPLE_H
#define TV_SAMPLE_H

#include "error.h"
#include "mem.h"
#include "pack.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sample {
    size_t task; /* index into tasks */
    size_t n;
    const uint32_t *ids;
    size_t prompt; /* ids of the prompt; 0: it was not said */
    struct images images;
    const char *file;
    size_t line; /* counted from 1 */
};

struct samples {
    size_t n;
    struct sample *samples; /* in the order of files and lines */
    size_t n_tasks;
    const char **tasks; /* in the order in which they first come */
    size_t n_pictures;
    struct picture *pictures;
    size_t n_files;
    struct input **files; /* of the pictures */
    size_t room;
    uint64_t hash; /* of what was read last: XXH3-64 of a file, with a container's fingerprint */
    struct arena arena;
};

/* "FILE, line 7: sentence". Returns -1. */
int sample_error(const struct sample *s, struct error *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
