/* The directory of a zip file and the bytes of its records. */
#include "fuzz.h"
#include "zip.h"

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct zip z;
    uint8_t *copy = fuzz_copy(bytes, size);
    if (zip_open(&z, "input", copy, size, &e) == 0) {
        for (size_t i = 0; i < z.n; i++) {
            const struct zip_entry *r = zip_find_entry(&z, z.entries[i].name);
            const unsigned char *record = r ? zip_find_entry_bytes(&z, r, &e) : NULL;
            if (record)
                free(fuzz_copy(record, r->size));
        }
        zip_free(&z);
    }
    free(copy);
}
