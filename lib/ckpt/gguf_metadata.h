/* The metadata of a GGUF file: values by key. Layout of a pair (docs/gguf.md of ggml-org/ggml):
 *
 *     string key | u32 type | value     string: u64 length, bytes
 *                                       array:  u32 type of its elements, u64 count, elements
 *
 * Metadata point into the bytes of the file; their list lives in the arena that they were read
 * with. */
#ifndef TV_GGUF_METADATA_H
#define TV_GGUF_METADATA_H

#include "gguf_cursor.h"
#include "name_index.h"

#include <stdbool.h>

/* Before the keys of texts that pack records, such as "tvtools_version". */
#define GGUF_RECORDED_PREFIX "general."

enum gguf_value_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_VALUE_TYPES
};

struct gguf_value {
    const char *key;
    enum gguf_value_type type, element_type; /* the latter of an array */
    uint64_t count;                          /* elements of an array, bytes of a string, else 1 */
    const unsigned char *data;               /* of the value; of a string or an array: after its
                                                length or count */
    size_t data_size;
    const unsigned char *pair; /* key, type and value as stored */
    size_t pair_size;
};

struct gguf_metadata {
    const char *file; /* in messages; borrowed */
    struct gguf_value *values;
    size_t n;
    struct name_index keys;
};

/* Reads n pairs at the cursor. Keys that are empty, too long, not UTF-8 or there twice, and values
 * of unknown types are errors. */
int gguf_metadata_read(struct gguf_metadata *m, struct gguf_cursor *c, uint64_t n, struct arena *a,
                       struct error *e);
/* Is it a key that pack adds: general.tvtools_KEY? */
bool gguf_metadata_is_recorded_key(const char *key);
/* NULL if there is no such key. */
const struct gguf_value *gguf_metadata_find(const struct gguf_metadata *m, const char *key);

/* These return 1 if the key is there, 0 if not; -1, an error, if its value is of another type. */

/* An integer of any width, not negative. */
int gguf_metadata_find_count(const struct gguf_metadata *m, const char *key, uint64_t *x,
                             struct error *e);
/* The same, or an array of equal ones that is not empty. */
int gguf_metadata_find_constant(const struct gguf_metadata *m, const char *key, uint64_t *x,
                                struct error *e);
int gguf_metadata_find_f32(const struct gguf_metadata *m, const char *key, float *x,
                           struct error *e);
/* In the arena; an error also if it is not UTF-8 without NUL. */
int gguf_metadata_find_text(const struct gguf_metadata *m, const char *key, const char **text,
                            struct arena *a, struct error *e);

#endif
