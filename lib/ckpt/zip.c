#include "zip.h"

#include "stored_tensors.h"

#include <stdlib.h>
#include <string.h>

#define ENTRY_HEAD  46 /* bytes of a directory entry before its name */
#define LOCAL_HEAD  30
#define END_HEAD    22
#define MAX_COMMENT 65535

/* A little-endian field, and a signature at p. */
static uint64_t field(const unsigned char *p, size_t offset, size_t n)
{
    return little_endian_read(p + offset, n);
}

static bool is_signed(const unsigned char *p, const char *signature)
{
    return memcmp(p, signature, 4) == 0;
}

/* The end record: the last one whose comment reaches exactly to the end of the file. */
static const unsigned char *find_end(const unsigned char *bytes, size_t size)
{
    for (size_t back = END_HEAD; back <= size && back <= END_HEAD + MAX_COMMENT; back++) {
        const unsigned char *p = bytes + size - back;
        if (is_signed(p, "PK\5\6") && field(p, 20, 2) == back - END_HEAD)
            return p;
    }
    return NULL;
}

struct directory {
    uint64_t start, size, entries;
};

/* end record:     sig 4, disk 2, disk 2, entries here 2, entries 2, size 4, start 4, comment 2
 * zip64 locator:  sig 4, disk 4, where the zip64 end is 8, disks 4; just before the end record
 * zip64 end:      sig 4, length 8, version 2+2, disk 4+4, entries here 8, entries 8, size 8, start
 * 8 */
static int find_directory(const struct zip *z, size_t size, struct directory *d, struct error *e)
{
    const unsigned char *end = find_end(z->bytes, size);
    if (!end)
        return error_set(e, "%s is cut short, or no zip: it has no directory at its end", z->file);
    size_t room = (size_t)(end - z->bytes);
    *d = (struct directory){field(end, 16, 4), field(end, 12, 4), field(end, 10, 2)};
    if (room >= 20 && is_signed(end - 20, "PK\6\7")) {
        uint64_t at = field(end - 20, 8, 8);
        if (at > room - 20 || room - 20 - at < 56 || !is_signed(z->bytes + at, "PK\6\6"))
            return error_set(e, "%s: its zip64 end record is not where it should be", z->file);
        room = at;
        const unsigned char *p = z->bytes + at;
        *d = (struct directory){field(p, 48, 8), field(p, 40, 8), field(p, 32, 8)};
    }
    if (d->start > room || d->size > room - d->start)
        return error_set(e, "%s: its directory is %llu bytes from byte %llu on, beyond the file",
                         z->file, (unsigned long long)d->size, (unsigned long long)d->start);
    if (d->entries > d->size / ENTRY_HEAD)
        return error_set(e, "%s: its directory claims %llu records in %llu bytes", z->file,
                         (unsigned long long)d->entries, (unsigned long long)d->size);
    return 0;
}

/* Extra field 1 holds, in this order, those of size, packed size and offset that are all ones. */
static int read_zip64(struct zip_entry *r, const unsigned char *extra, size_t n)
{
    uint64_t *wide[] = {&r->size, &r->packed, &r->local};
    size_t missing = 0;
    for (size_t i = 0; i < 3; i++)
        missing += *wide[i] == UINT32_MAX;
    while (missing && n >= 4) {
        size_t id = field(extra, 0, 2), length = field(extra, 2, 2);
        extra += 4;
        n -= 4;
        if (length > n)
            return -1;
        for (size_t i = 0; i < 3 && id == 1; i++)
            if (*wide[i] == UINT32_MAX) {
                if (length < 8)
                    return -1;
                *wide[i] = field(extra, 0, 8);
                extra += 8;
                n -= 8;
                length -= 8;
            }
        if (id == 1)
            return 0;
        extra += length;
        n -= length;
    }
    return missing ? -1 : 0;
}

/* entry: sig 4, versions 2+2, flags 2 at 8, method 2 at 10, time 4, crc 4, packed 4 at 20, size 4
 * at 24, lengths of name, extra, comment 2+2+2 at 28, disk 2, attributes 2+4, local 4 at 42 */
static int read_entry(struct zip *z, const unsigned char **p, size_t *left, struct error *e)
{
    const unsigned char *h = *p;
    if (*left < ENTRY_HEAD || !is_signed(h, "PK\1\2"))
        return error_set(e, "%s: its directory is damaged at record %zu", z->file, z->n);
    size_t name = field(h, 28, 2), extra = field(h, 30, 2), comment = field(h, 32, 2);
    size_t length = ENTRY_HEAD + name + extra + comment;
    if (length > *left || memchr(h + ENTRY_HEAD, 0, name))
        return error_set(e, "%s: its directory is damaged at record %zu", z->file, z->n);
    struct zip_entry *r = &z->entries[z->n];
    *r =
        (struct zip_entry){.name = arena_copy_text_n(&z->arena, (const char *)h + ENTRY_HEAD, name),
                           .flags = (unsigned)field(h, 8, 2),
                           .method = (unsigned)field(h, 10, 2),
                           .packed = field(h, 20, 4),
                           .size = field(h, 24, 4),
                           .local = field(h, 42, 4)};
    if (read_zip64(r, h + ENTRY_HEAD + name, extra) < 0)
        return error_set(e, "%s: record %.200s has damaged sizes", z->file, r->name);
    z->n++;
    *p += length;
    *left -= length;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct zip_entry *)a)->name, ((const struct zip_entry *)b)->name);
}

static int read_entries(struct zip *z, const struct directory *d, struct error *e)
{
    const unsigned char *p = z->bytes + d->start;
    size_t left = d->size;
    for (uint64_t i = 0; i < d->entries; i++)
        if (read_entry(z, &p, &left, e) < 0)
            return -1;
    if (z->n > 0) {
        const char *first = z->entries[0].name, *slash = strchr(first, '/');
        z->top = arena_copy_text_n(&z->arena, first, slash ? (size_t)(slash - first) : 0);
    }
    qsort(z->entries, z->n, sizeof *z->entries, by_name);
    for (size_t i = 1; i < z->n; i++)
        if (by_name(&z->entries[i - 1], &z->entries[i]) == 0)
            return error_set(e, "%s has two records called %.200s", z->file, z->entries[i].name);
    return 0;
}

int zip_open(struct zip *z, const char *file, const unsigned char *bytes, size_t size,
             struct error *e)
{
    struct directory d = {0};
    *z = (struct zip){.file = file, .bytes = bytes, .top = ""};
    if (find_directory(z, size, &d, e) < 0)
        return -1;
    z->end = d.start;
    z->entries = mem_alloc(d.entries, sizeof *z->entries);
    if (read_entries(z, &d, e) == 0)
        return 0;
    zip_free(z);
    return -1;
}

void zip_free(struct zip *z)
{
    free(z->entries);
    arena_free(&z->arena);
    z->entries = NULL;
    z->n = 0;
}

const struct zip_entry *zip_find_entry(const struct zip *z, const char *name)
{
    struct zip_entry key = {.name = name};
    return bsearch(&key, z->entries, z->n, sizeof key, by_name);
}

/* local header: sig 4, ..., lengths of name and extra 2+2 at 26 (the extra one is the padding that
 * aligns the data, and differs from the directory's), name, extra, data */
const unsigned char *zip_entry_bytes(const struct zip *z, const struct zip_entry *r,
                                     struct error *e)
{
    if (r->method != 0 || r->packed != r->size) {
        error_set(e, "%s: record %.200s is compressed; torch.save stores records as they are",
                  z->file, r->name);
        return NULL;
    }
    if (r->flags & 1) {
        error_set(e, "%s: record %.200s is encrypted", z->file, r->name);
        return NULL;
    }
    const unsigned char *local = z->bytes + r->local;
    if (r->local > z->end || z->end - r->local < LOCAL_HEAD || !is_signed(local, "PK\3\4")) {
        error_set(e, "%s: record %.200s is not where the directory says", z->file, r->name);
        return NULL;
    }
    uint64_t head = LOCAL_HEAD + field(local, 26, 2) + field(local, 28, 2);
    if (head > z->end - r->local || r->size > z->end - r->local - head) {
        error_set(e, "%s: record %.200s claims %llu bytes, more than there are", z->file, r->name,
                  (unsigned long long)r->size);
        return NULL;
    }
    return local + head;
}
