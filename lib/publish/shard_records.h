/* Records of what is finished of a checkpoint that is made in parts: small JSON files NAME.json in
 * one folder, replaced as a whole, with the fingerprints of what they were made of. */
#ifndef TV_SHARD_RECORDS_H
#define TV_SHARD_RECORDS_H

#include <dirent.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What a shard was made of: how, and from which models. */
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

/* Hashes as text of 16 digits. */
json_t *shard_records_hash_to_json(uint64_t hash);
bool shard_records_hash_equals(const json_t *object, const char *key, uint64_t hash);
uint64_t shard_records_hash_from_json(const json_t *text); /* 0: it is none */

/* NAME.json; caller frees. */
char *shard_records_file_name(const char *name);
/* The record of that name, whosever; NULL: there is none that can be read. */
json_t *shard_records_load(int folder, const char *name);
/* Is it of that print? SHARD_FINISHED, or what is wrong with it. */
enum shard_state shard_records_check(const json_t *record, const struct merge_fingerprint *print);
/* Takes over `more`. -1 with the reason in errno. */
int shard_records_save(int folder, const char *name, json_t *more,
                       const struct merge_fingerprint *print);

/* The files of a folder; NULL if it cannot be read. */
DIR *fs_open_folder(int folder);

#endif
