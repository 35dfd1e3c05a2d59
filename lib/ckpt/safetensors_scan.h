/* A fast scanner of the JSON header of a safetensors file, in the form that programs write: names
 * without escapes, and for each tensor exactly dtype, shape and data_offsets. It never accepts what
 * strict_json.h rejects. Where it stops, that parser reads the header, or says what is wrong.
 *
 * A safetensors_scan owns the names that it returns until safetensors_scan_free; the header is
 * borrowed. */
#ifndef TV_SAFETENSORS_SCAN_H
#define TV_SAFETENSORS_SCAN_H

#include "name_index.h"
#include "stored_tensors.h"

#include <stdbool.h>

struct safetensors_scan {
    const char *at, *end; /* what is left of the header */
    bool started, has_metadata;
    size_t n; /* tensors so far */
    struct name_index names;
    struct arena arena;
};

struct scanned_tensor {
    const char *name;
    enum dtype dtype;
    size_t rank;
    uint64_t shape[STORED_TENSORS_MAX_RANK], offsets[2];
};

/* Starts zeroed, with `at` and `end`. 1: the next tensor; 0: the header has ended; -1: it is not in
 * this form. */
int safetensors_scan_next(struct safetensors_scan *s, struct scanned_tensor *t);
void safetensors_scan_free(struct safetensors_scan *s);

#endif
