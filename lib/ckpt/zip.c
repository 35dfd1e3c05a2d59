#include "zip.h"

#include "little_endian.h"

#include <stdlib.h>
#include <string.h>

/* Bytes before the variable part of each header. */
#define ENTRY_HEADER 46
#define LOCAL_HEADER 30
#define END_RECORD   22
#define MAX_COMMENT  65535

static uint64_t read_little_endian_field(const unsigned char *p, size_t offset, size_t n)
{
    return little_endian_read(p + offset, n);
}

static bool has_signature(const unsigned char *p, const char *signature)
{
    return memcmp(p, signature, 4) == 0;
}

/* The last end record whose comment ends exactly where the file ends. */
static const unsigned char *find_end_record(const unsigned char *bytes, size_t size)
{
    for (size_t back = END_RECORD; back <= size && back <= END_RECORD + MAX_COMMENT; back++) {
        const unsigned char *p = bytes + size - back;
        if (has_signature(p, "PK\5\6") && read_little_endian_field(p, 20, 2) == back - END_RECORD)
            return p;
    }
    return NULL;
}

/* ---- the directory -------------------------------------------------------------------------- */

struct directory {
    uint64_t start, size, entries;
};

/* Fields and their sizes in bytes:
 *
 *     end record      signature 4, disk 2, disk 2, entries here 2, entries 2, size 4, start 4,
 *                     comment length 2
 *     zip64 locator   signature 4, disk 4, offset of the zip64 end record 8, disks 4; just before
 *                     the end record
 *     zip64 end       signature 4, length 8, version 2+2, disk 4+4, entries here 8, entries 8,
 *                     size 8, start 8 */
static int find_central_directory(const struct zip *z, size_t size, struct directory *d,
                                  struct error *e)
{
    const unsigned char *end = find_end_record(z->bytes, size);
    if (!end)
        return error_set(
            e,
            "%s is truncated or not a zip file: it has no directory at its end; is it still "
            "being downloaded?",
            z->file);
    size_t room = (size_t)(end - z->bytes);
    *d = (struct directory){read_little_endian_field(end, 16, 4),
                            read_little_endian_field(end, 12, 4),
                            read_little_endian_field(end, 10, 2)};
    if (room >= 20 && has_signature(end - 20, "PK\6\7")) {
        uint64_t at = read_little_endian_field(end - 20, 8, 8);
        if (at > room - 20 || room - 20 - at < 56 || !has_signature(z->bytes + at, "PK\6\6"))
            return error_set(
                e, "%s: its zip64 end record is not at the offset that the locator gives", z->file);
        room = at;
        const unsigned char *p = z->bytes + at;
        *d = (struct directory){read_little_endian_field(p, 48, 8),
                                read_little_endian_field(p, 40, 8),
                                read_little_endian_field(p, 32, 8)};
    }
    if (d->start > room || d->size > room - d->start)
        return error_set(e,
                         "%s: its directory, %llu bytes from byte %llu on, extends beyond the file",
                         z->file, (unsigned long long)d->size, (unsigned long long)d->start);
    if (d->entries > d->size / ENTRY_HEADER)
        return error_set(e, "%s: its directory claims %llu records in %llu bytes", z->file,
                         (unsigned long long)d->entries, (unsigned long long)d->size);
    return 0;
}

/* Replaces those of size, packed size and offset that are all ones by the values in extra field 1,
 * which has them in this order. */
static int read_zip64_sizes(struct zip_entry *r, const unsigned char *extra, size_t n)
{
    uint64_t *wide[] = {&r->size, &r->packed_size, &r->local_header};
    size_t missing = 0;
    for (size_t i = 0; i < 3; i++)
        missing += *wide[i] == UINT32_MAX;
    while (missing && n >= 4) {
        size_t id = read_little_endian_field(extra, 0, 2),
               length = read_little_endian_field(extra, 2, 2);
        extra += 4;
        n -= 4;
        if (length > n)
            return -1;
        for (size_t i = 0; i < 3 && id == 1; i++)
            if (*wide[i] == UINT32_MAX) {
                if (length < 8)
                    return -1;
                *wide[i] = read_little_endian_field(extra, 0, 8);
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

/* Directory entry: signature 4, versions 2+2, flags 2 at 8, method 2 at 10, time 4, crc 4, packed
 * size 4 at 20, size 4 at 24, lengths of name, extra and comment 2+2+2 at 28, disk 2, attributes
 * 2+4, offset of the local header 4 at 42. */
static int read_directory_entry(struct zip *z, const unsigned char **p, size_t *left,
                                struct error *e)
{
    const unsigned char *h = *p;
    if (*left < ENTRY_HEADER || !has_signature(h, "PK\1\2"))
        return error_set(e, "%s: its directory is damaged at record %zu", z->file, z->n);
    size_t name = read_little_endian_field(h, 28, 2), extra = read_little_endian_field(h, 30, 2),
           comment = read_little_endian_field(h, 32, 2);
    size_t length = ENTRY_HEADER + name + extra + comment;
    if (length > *left || memchr(h + ENTRY_HEADER, 0, name))
        return error_set(e, "%s: its directory is damaged at record %zu", z->file, z->n);
    struct zip_entry *r = &z->entries[z->n];
    *r = (struct zip_entry){.name =
                                arena_copy_text_n(&z->arena, (const char *)h + ENTRY_HEADER, name),
                            .flags = (unsigned)read_little_endian_field(h, 8, 2),
                            .method = (unsigned)read_little_endian_field(h, 10, 2),
                            .packed_size = read_little_endian_field(h, 20, 4),
                            .size = read_little_endian_field(h, 24, 4),
                            .local_header = read_little_endian_field(h, 42, 4)};
    if (read_zip64_sizes(r, h + ENTRY_HEADER + name, extra) < 0)
        return error_set(e, "%s: record %.200s has damaged sizes", z->file, r->name);
    z->n++;
    *p += length;
    *left -= length;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct zip_entry *)a)->name, ((const struct zip_entry *)b)->name);
}

static int read_directory_entries(struct zip *z, const struct directory *d, struct error *e)
{
    const unsigned char *p = z->bytes + d->start;
    size_t left = d->size;
    for (uint64_t i = 0; i < d->entries; i++)
        if (read_directory_entry(z, &p, &left, e) < 0)
            return -1;
    if (z->n > 0) {
        const char *first = z->entries[0].name, *slash = strchr(first, '/');
        z->top_folder = arena_copy_text_n(&z->arena, first, slash ? (size_t)(slash - first) : 0);
    }
    qsort(z->entries, z->n, sizeof *z->entries, compare_names);
    for (size_t i = 1; i < z->n; i++)
        if (compare_names(&z->entries[i - 1], &z->entries[i]) == 0)
            return error_set(e, "%s has two records named %.200s", z->file, z->entries[i].name);
    return 0;
}

int zip_open(struct zip *z, const char *file, const unsigned char *bytes, size_t size,
             struct error *e)
{
    struct directory d = {0};
    *z = (struct zip){.file = file, .bytes = bytes, .top_folder = ""};
    if (find_central_directory(z, size, &d, e) < 0)
        return -1;
    z->directory_start = d.start;
    z->entries = mem_alloc(d.entries, sizeof *z->entries);
    if (read_directory_entries(z, &d, e) == 0)
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
    return bsearch(&key, z->entries, z->n, sizeof key, compare_names);
}

/* Local header: signature 4, ..., lengths of name and extra 2+2 at 26, name, extra, data. The extra
 * field pads the data to their alignment; its length differs from that in the directory. */
const unsigned char *zip_find_entry_bytes(const struct zip *z, const struct zip_entry *r,
                                          struct error *e)
{
    if (r->method != 0 || r->packed_size != r->size) {
        error_set(e, "%s: record %.200s is compressed; torch.save stores records uncompressed",
                  z->file, r->name);
        return NULL;
    }
    if (r->flags & 1) {
        error_set(e, "%s: record %.200s is encrypted", z->file, r->name);
        return NULL;
    }
    const unsigned char *local = z->bytes + r->local_header;
    if (r->local_header > z->directory_start ||
        z->directory_start - r->local_header < LOCAL_HEADER || !has_signature(local, "PK\3\4")) {
        error_set(e, "%s: record %.200s is not at the offset that the directory gives", z->file,
                  r->name);
        return NULL;
    }
    uint64_t head = LOCAL_HEADER + read_little_endian_field(local, 26, 2) +
                    read_little_endian_field(local, 28, 2);
    if (head > z->directory_start - r->local_header ||
        r->size > z->directory_start - r->local_header - head) {
        error_set(e, "%s: record %.200s has %llu bytes, which extend into the directory", z->file,
                  r->name, (unsigned long long)r->size);
        return NULL;
    }
    return local + head;
}
