/* An .npz: a zip of .npy files, compressed or not. The mutator changes the bytes of one array, most
 * often in its header, so that the directory stays right. */
#include "fuzz.h"
#include "npz.h"
#include "npz_decompress.h"
#include "stored.h"
#include "zip.h"

#include <sys/mman.h>
#include <unistd.h>

#define HEADER 128 /* bytes of a header of numpy, in most files */

static void list_and_read(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct stored_tensors s = {.file = "input"};
    if (npz_list_tensors(&s, bytes, size, &e) == 0)
        read_stored_tensors(&s);
    stored_tensors_free(&s);
}

static void decompress_and_read(const uint8_t *bytes, size_t size)
{
    struct error e;
    int fd = memfd_create("decompressed", MFD_CLOEXEC);
    if (npz_decompress_records("input", bytes, size, fd, &e) == 0) {
        size_t n = (size_t)lseek(fd, 0, SEEK_END);
        void *copy = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (npz_recognize("input", copy, n) && !npz_decompress_is_needed("input", copy, n))
            list_and_read(copy, n);
        munmap(copy, n);
    }
    close(fd);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = fuzz_copy(bytes, size);
    if (npz_recognize("input", copy, size)) {
        if (npz_decompress_is_needed("input", copy, size))
            decompress_and_read(copy, size);
        else
            list_and_read(copy, size);
    }
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
    else
        size = LLVMFuzzerMutate(bytes, size, max);
    zip_free(&z);
    return size;
}
