/* The record of a finished shard; and any object saved as a record must be read as a finished one.
 */
#include "fuzz.h"
#include "shard_records.h"
#include "strict_json.h"

static const struct merge_fingerprint saved = {1, 2};

static json_t *load(const void *bytes, size_t size)
{
    json_t *record = NULL;
    fuzz_file(0, "shard.json", bytes, size);
    if (shard_records_load(-1, "shard", &record))
        abort(); /* it can be read */
    return record;
}

/* Loads what shard_records_save writes. */
int __wrap_fs_replace_file(int folder, const char *name, const void *bytes, size_t size);
int __wrap_fs_replace_file(int folder, const char *name, const void *bytes, size_t size)
{
    json_t *record = load(bytes, size);
    if (shard_records_find_state(record, &saved) != SHARD_FINISHED)
        abort();
    json_decref(record);
    return 0;
}

static void save_and_load(const uint8_t *bytes, size_t size)
{
    struct error e;
    json_t *fields = strict_json_parse("input", "record", bytes, size, &e);
    if (fields)
        shard_records_save(-1, "shard", fields, &saved);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    json_t *record = load(bytes, size);
    struct merge_fingerprint f = {
        shard_records_decode_hash(json_object_get(record, "recipe")),
        shard_records_decode_hash(json_object_get(record, "inputs")),
    };
    shard_records_find_state(record, &f);
    json_decref(record);
    save_and_load(bytes, size);
}
