/* The record of a finished shard; and any object saved as a record must be read as a finished one.
 */
#include "fuzz.h"
#include "shard_records.h"
#include "strict_json.h"

static char folder[] = "/dev/shm/fuzz-records-XXXXXX";

static void remove_folder(void)
{
    char path[64];
    snprintf(path, sizeof path, "%s/shard.json", folder);
    unlink(path);
    rmdir(folder);
}

static int open_folder(void)
{
    static int fd = -1;
    if (fd < 0 && mkdtemp(folder)) {
        atexit(remove_folder);
        fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return fd;
}

static void write_record(int at, const uint8_t *bytes, size_t size)
{
    int fd = openat(at, "shard.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        abort();
    close(fd);
}

static void save_and_load(int at, const uint8_t *bytes, size_t size)
{
    const struct merge_fingerprint f = {1, 2};
    struct error e;
    json_t *fields = strict_json_parse("input", "record", bytes, size, &e);
    if (!fields || shard_records_save(at, "shard", fields, &f))
        return;
    json_t *record = NULL;
    if (shard_records_load(at, "shard", &record) ||
        shard_records_find_state(record, &f) != SHARD_FINISHED)
        abort();
    json_decref(record);
}

static void fuzz_one(const uint8_t *bytes, size_t size)
{
    int at = open_folder();
    write_record(at, bytes, size);
    json_t *record = NULL;
    if (shard_records_load(at, "shard", &record))
        abort(); /* it can be read */
    struct merge_fingerprint f = {
        shard_records_decode_hash(json_object_get(record, "recipe")),
        shard_records_decode_hash(json_object_get(record, "inputs")),
    };
    shard_records_find_state(record, &f);
    json_decref(record);
    save_and_load(at, bytes, size);
}
