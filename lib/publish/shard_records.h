/* Records of the finished shards of a checkpoint that is made in parts: small JSON files NAME.json
 * in one folder, replaced atomically, each with the fingerprints of what the shard was made from.
 */
#ifndef TV_SHARD_RECORDS_H
#define TV_SHARD_RECORDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What a shard was made from: the recipe (the layout and metadata of the shards, with the history)
 * and the input models. */
struct merge_fingerprint {
    uint64_t recipe, inputs;
};

enum shard_state {
    SHARD_FINISHED,
    SHARD_MISSING,
    SHARD_OTHER_RECIPE,
    SHARD_OTHER_INPUTS,
    SHARD_DAMAGED,
    SHARD_UNCHECKED
};
/* " is missing", " was made by another recipe", ...: to follow the name of a shard. */
const char *shard_records_state_text(enum shard_state state);

/* A hash as a JSON string of 16 hexadecimal digits. */
json_t *shard_records_encode_hash(uint64_t hash);
/* 0 if it is no such string. */
uint64_t shard_records_decode_hash(const json_t *text);
/* Is this the hash under a key of the object? */
bool shard_records_hash_equals(const json_t *object, const char *key, uint64_t hash);

/* "NAME.json"; the caller frees. */
char *shard_records_file_name(const char *name);
/* Reads a record, whatever it was made from; *record is NULL if there is none or it is damaged. The
 * caller drops the reference. Returns -1 with the reason in errno if it cannot be read. */
int shard_records_load(int folder, const char *name, json_t **record);
/* SHARD_FINISHED if the record has this fingerprint, else what is wrong with it. */
enum shard_state shard_records_find_state(const json_t *record, const struct merge_fingerprint *f);
/* Writes a record with the fingerprint and the fields of `more`, whose reference it takes. Returns
 * -1 with the reason in errno. */
int shard_records_save(int folder, const char *name, json_t *more,
                       const struct merge_fingerprint *f);

#endif
