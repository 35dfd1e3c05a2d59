/* Records of what is finished of a checkpoint that is made in parts: small JSON files NAME.json in
 * one folder, replaced as a whole, with the fingerprints of what they were made of. */
#ifndef TV_SHARD_RECORDS_H
#define TV_SHARD_RECORDS_H

#include <dirent.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What a shard was made of: how, and from which models. */
struct parts_print {
    uint64_t recipe, inputs;
};

enum parts_state {
    PARTS_SOUND,
    PARTS_ABSENT,
    PARTS_OTHER_RECIPE,
    PARTS_OTHER_INPUTS,
    PARTS_DAMAGED,
    PARTS_UNKNOWN
};

/* Hashes as text of 16 digits. */
json_t *shard_records_hash(uint64_t hash);
bool shard_records_hash_is(const json_t *object, const char *key, uint64_t hash);
uint64_t shard_records_hash_value(const json_t *text); /* 0: it is none */

/* NAME.json; caller frees. */
char *shard_records_file(const char *name);
/* The record of that name, whosever; NULL: there is none that can be read. */
json_t *shard_records_load(int folder, const char *name);
/* Is it of that print? PARTS_SOUND, or what is wrong with it. */
enum parts_state shard_records_compare(const json_t *record, const struct parts_print *print);
/* Takes over `more`. -1 with the reason in errno. */
int shard_records_save(int folder, const char *name, json_t *more, const struct parts_print *print);

/* The files of a folder; NULL if it cannot be read. */
DIR *shard_records_list(int folder);

#endif
