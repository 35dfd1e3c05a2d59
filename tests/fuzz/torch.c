/* A file of torch.save: a zip with a pickle, or the older format. The mutator changes one record of
 * the zip, the pickle opcode by opcode, and writes the directory anew. */
#include "fuzz.h"
#include "pickle_mutator.h"
#include "stored.h"
#include "torch_file.h"
#include "zip.h"

static void read_dict(const uint8_t *bytes, size_t size, const char *key)
{
    struct error e;
    struct stored_tensors s = {.file = "input", .model = "input", .key = key};
    if (torch_file_list_tensors(&s, bytes, size, &e) == 0)
        read_stored_tensors(&s);
    stored_tensors_free(&s);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    static const char *const keys[] = {"", "model", "model.state_dict", "state_dict.0", "a.b.c."};
    struct error e;
    uint8_t *copy = fuzz_copy(bytes, size);
    if (torch_file_recognize("input", copy, size, &e) > 0) {
        read_dict(copy, size, NULL);
        read_dict(copy, size, keys[size % (sizeof keys / sizeof *keys)]);
    }
    free(copy);
}

/* ---- writing zips ---------------------------------------------------------------------------- */

struct output {
    uint8_t *bytes;
    size_t size, max;
};

static void put(struct output *o, const void *bytes, size_t n)
{
    if (n <= o->max - o->size)
        memcpy(o->bytes + o->size, bytes, n);
    o->size += n <= o->max - o->size ? n : 0;
}

static void put_integer(struct output *o, size_t x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(o, &(uint8_t){(uint8_t)(i < 8 ? x >> 8 * i : 0)}, 1);
}

/* The fields that a local header and an entry of the directory share, from the version on. */
static void put_record_fields(struct output *o, const char *name, size_t size)
{
    put_integer(o, 20, 2); /* version */
    put_integer(o, 0, 12); /* flags, method, time, CRC */
    put_integer(o, size, 4);
    put_integer(o, size, 4);
    put_integer(o, strlen(name), 2);
    put_integer(o, 0, 2);
}

/* Writes the zip again, with other bytes for record `changed`. */
static size_t write_zip(const struct zip *z, size_t changed, const uint8_t *new, size_t new_size,
                        uint8_t *to, size_t max)
{
    struct output o = {.max = max, .bytes = malloc(max)},
                  directory = {.max = max, .bytes = malloc(max)};
    struct error e;
    for (size_t i = 0; i < z->n; i++) {
        const char *name = z->entries[i].name;
        const uint8_t *record = i == changed ? new : zip_find_entry_bytes(z, &z->entries[i], &e);
        size_t size = i == changed ? new_size : z->entries[i].size, at = o.size;
        if (!record)
            continue;
        put(&o, "PK\3\4", 4);
        put_record_fields(&o, name, size);
        put(&o, name, strlen(name));
        put(&o, record, size);
        put(&directory, "PK\1\2\24\0", 6);
        put_record_fields(&directory, name, size);
        put_integer(&directory, 0, 10); /* comment, disk, attributes */
        put_integer(&directory, at, 4);
        put(&directory, name, strlen(name));
    }
    size_t at = o.size;
    put(&o, directory.bytes, directory.size);
    put(&o, "PK\5\6\0\0\0\0", 8);
    put_integer(&o, z->n, 2);
    put_integer(&o, z->n, 2);
    put_integer(&o, directory.size, 4);
    put_integer(&o, at, 4);
    put_integer(&o, 0, 2);
    memcpy(to, o.bytes, o.size);
    free(o.bytes);
    free(directory.bytes);
    return o.size;
}

/* ---- mutation -------------------------------------------------------------------------------- */

static size_t mutate_record(const struct zip *z, size_t i, uint8_t *bytes, size_t size, size_t max,
                            unsigned seed)
{
    struct error e;
    const char *name = z->entries[i].name, *slash = strrchr(name, '/');
    const uint8_t *record = zip_find_entry_bytes(z, &z->entries[i], &e);
    size_t n = z->entries[i].size, room = n + (max - size);
    if (!record)
        return LLVMFuzzerMutate(bytes, size, max);
    uint8_t *changed = malloc(room ? room : 1);
    memcpy(changed, record, n);
    n = slash && strcmp(slash, "/data.pkl") == 0 ? fuzz_mutate_pickle(changed, n, room, seed)
                                                 : LLVMFuzzerMutate(changed, n, room);
    size = write_zip(z, i, changed, n, bytes, max);
    free(changed);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    struct error e;
    struct zip z;
    uint8_t *copy = fuzz_copy(bytes, size);
    if (seed % 8 == 0 || zip_open(&z, "input", copy, size, &e)) {
        free(copy);
        return LLVMFuzzerMutate(bytes, size, max);
    }
    size_t i = z.n ? seed / 8 % z.n : 0; /* half of the time, the pickle */
    for (size_t p = 0; seed / 8 % 2 && p < z.n; p++)
        if (strstr(z.entries[p].name, "data.pkl"))
            i = p;
    size = z.n ? mutate_record(&z, i, bytes, size, max, seed / 16)
               : LLVMFuzzerMutate(bytes, size, max);
    zip_free(&z);
    free(copy);
    return size;
}
