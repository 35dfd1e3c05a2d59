/* An .npz: a zip of .npy files. The mutator changes the bytes of one array, most often in its
 * header, so that the directory stays right. */
#include "fuzz.h"
#include "npz.h"
#include "stored.h"
#include "zip.h"

#define HEADER 128 /* bytes of a header of numpy, in most files */

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct stored_tensors s = {.file = "input"};
    uint8_t *copy = fuzz_copy(bytes, size);
    if (npz_recognise("input", copy, size) && !npz_is_compressed("input", copy, size) &&
        npz_list_tensors(&s, copy, size, &e) == 0)
        read_stored_tensors(&s);
    stored_tensors_free(&s);
    free(copy);
}

/* Mutates n bytes in place. */
static void mutate_record(uint8_t *record, size_t n)
{
    uint8_t *changed = fuzz_copy(record, n);
    memcpy(record, changed, LLVMFuzzerMutate(changed, n, n));
    free(changed);
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    struct error e;
    struct zip z;
    if (seed % 8 == 0 || zip_open(&z, "input", bytes, size, &e))
        return LLVMFuzzerMutate(bytes, size, max);
    const struct zip_entry *r = z.n ? &z.entries[seed / 8 % z.n] : NULL;
    const uint8_t *record = r ? zip_find_entry_bytes(&z, r, &e) : NULL;
    if (record && r->size)
        mutate_record(bytes + (record - bytes),
                      seed % 8 < 6 && r->size > HEADER ? HEADER : r->size);
    zip_free(&z);
    return size;
}
