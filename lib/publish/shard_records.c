#include "shard_records.h"

#include "fs.h"
#include "hash.h"
#include "mem.h"
#include "strict_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECKSUM "record_checksum" /* of the record itself */

const char *shard_records_state_text(enum shard_state state)
{
    static const char *const texts[] = {
        [SHARD_FINISHED] = " is finished",
        [SHARD_MISSING] = " is missing",
        [SHARD_OTHER_RECIPE] = " was made by another recipe",
        [SHARD_OTHER_INPUTS] = " was made from other models",
        [SHARD_DAMAGED] = " is damaged (its checksum differs from the recorded one)",
        [SHARD_UNCHECKED] = ""};
    return texts[state];
}

/* ---- hashes ---------------------------------------------------------------------------------- */

json_t *shard_records_encode_hash(uint64_t hash)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    return json_string(text);
}

uint64_t shard_records_decode_hash(const json_t *text)
{
    return json_is_string(text) ? strtoull(json_string_value(text), NULL, 16) : 0;
}

bool shard_records_hash_equals(const json_t *object, const char *key, uint64_t hash)
{
    const char *text = json_string_value(json_object_get(object, key));
    char *end;
    return text && strlen(text) == 16 && strtoull(text, &end, 16) == hash && !*end;
}

/* ---- records --------------------------------------------------------------------------------- */

char *shard_records_file_name(const char *name)
{
    return mem_printf("%s.json", name);
}

int shard_records_load(int folder, const char *name, json_t **record)
{
    struct error ignored;
    size_t size;
    char *file = shard_records_file_name(name), *text = fs_read_file(folder, file, &size);
    int failed = !text && !fs_is_missing(errno) ? -1 : 0, reason = errno;
    *record = text ? strict_json_parse(file, "record", (const unsigned char *)text, size, &ignored)
                   : NULL;
    free(text);
    free(file);
    errno = reason;
    return failed;
}

/* The hash of all fields but the checksum. */
static uint64_t hash_record_fields(const json_t *record)
{
    json_t *fields = json_copy((json_t *)record);
    json_object_del(fields, CHECKSUM);
    char *text = json_dumps(fields, JSON_COMPACT | JSON_SORT_KEYS);
    uint64_t hash = text ? XXH3_64bits(text, strlen(text)) : 0;
    free(text);
    json_decref(fields);
    return hash;
}

enum shard_state shard_records_find_state(const json_t *record, const struct merge_fingerprint *f)
{
    if (!record)
        return SHARD_MISSING;
    if (!shard_records_hash_equals(record, "inputs", f->inputs)) /* then the recipe differs too */
        return SHARD_OTHER_INPUTS;
    if (!shard_records_hash_equals(record, "recipe", f->recipe))
        return SHARD_OTHER_RECIPE;
    return shard_records_hash_equals(record, CHECKSUM, hash_record_fields(record)) ? SHARD_FINISHED
                                                                                   : SHARD_DAMAGED;
}

int shard_records_save(int folder, const char *name, json_t *more,
                       const struct merge_fingerprint *f)
{
    json_object_set_new(more, "tvtools", json_string(TV_VERSION));
    json_object_set_new(more, "recipe", shard_records_encode_hash(f->recipe));
    json_object_set_new(more, "inputs", shard_records_encode_hash(f->inputs));
    json_object_set_new(more, CHECKSUM, shard_records_encode_hash(hash_record_fields(more)));
    char *text = json_dumps(more, JSON_INDENT(1)), *file = shard_records_file_name(name);
    int failed = fs_replace_file(folder, file, text, strlen(text)) || fsync(folder) ? -1 : 0;
    int reason = errno;
    free(file);
    free(text);
    json_decref(more);
    errno = reason;
    return failed;
}
