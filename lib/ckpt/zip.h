/* The directory of a zip whose records are stored as they are, as torch.save writes it.
 * Format: APPNOTE.TXT (PKWARE), sections 4.3 and 4.5.3. A zip owns its list until zip_free; `data`
 * points into the bytes that zip_open was given. Local headers give no sizes (torch leaves them 0),
 * so the central directory is what is read. */
#ifndef TV_ZIP_H
#define TV_ZIP_H

#include "error.h"
#include "mem.h"

#include <stddef.h>
#include <stdint.h>

struct zip_entry {
    const char *name;
    unsigned method, flags;
    uint64_t packed, size;
    uint64_t local; /* where its local header is */
};

struct zip {
    const char *file; /* what sentences call it; borrowed */
    const unsigned char *bytes;
    uint64_t end; /* records lie before the directory, which starts here */
    struct arena arena;
    struct zip_entry *entries; /* sorted by name */
    size_t n;
    const char *top; /* the first record's folder, without its slash; "" if it is in none */
};

/* After a failure there is nothing to free. */
int zip_open(struct zip *z, const char *file, const unsigned char *bytes, size_t size,
             struct error *e);
void zip_free(struct zip *z);
/* NULL if there is no record of that name. */
const struct zip_entry *zip_find_entry(const struct zip *z, const char *name);
/* The bytes of a record; NULL on error. Refuses what is compressed or encrypted. */
const unsigned char *zip_entry_bytes(const struct zip *z, const struct zip_entry *r,
                                     struct error *e);

#endif
