/* Reader of the directory of a zip file whose records are stored uncompressed, as torch.save writes
 * it. Format: APPNOTE.TXT (PKWARE), sections 4.3 and 4.5.3. Sizes come from the central directory,
 * because torch leaves those in the local headers 0.
 *
 * A zip owns its list of entries until zip_free; names and data of entries live as long as the
 * bytes that zip_open was given. */
#ifndef TV_ZIP_H
#define TV_ZIP_H

#include "error.h"
#include "mem.h"

#include <stddef.h>
#include <stdint.h>

struct zip_entry {
    const char *name;
    unsigned method, flags;
    uint64_t packed_size, size;
    uint64_t local_header; /* offset in the file */
};

struct zip {
    const char *file; /* the file's name in messages; borrowed */
    const unsigned char *bytes;
    uint64_t directory_start; /* all records are before it */
    struct arena arena;
    struct zip_entry *entries; /* sorted by name */
    size_t n;
    const char *top_folder; /* of the first record, without a slash; "" if it is in no folder */
};

/* Reads the directory. After an error there is nothing to free. */
int zip_open(struct zip *z, const char *file, const unsigned char *bytes, size_t size,
             struct error *e);
void zip_free(struct zip *z);
/* NULL if there is no record of that name. */
const struct zip_entry *zip_find_entry(const struct zip *z, const char *name);
/* The bytes of a record; NULL on error, which a compressed or encrypted record is. */
const unsigned char *zip_find_entry_bytes(const struct zip *z, const struct zip_entry *r,
                                          struct error *e);

#endif
