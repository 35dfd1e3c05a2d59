/* A safetensors file. The mutator keeps the length of the header right. */
#include "fuzz.h"
#include "safetensors.h"
#include "stored.h"

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct stored_tensors s = {.file = "input"};
    uint8_t *copy = fuzz_copy(bytes, size);
    if (safetensors_list_tensors(&s, copy, size, &e) == 0)
        read_stored_tensors(&s);
    stored_tensors_free(&s);
    free(copy);
}

/* Mutates the header, or one time in four the data. */
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    uint64_t n;
    if (size < 8 || seed % 16 == 0)
        return LLVMFuzzerMutate(bytes, size, max);
    memcpy(&n, bytes, 8);
    if (n > size - 8)
        n = size - 8;
    if (seed % 4 == 0) {
        fuzz_mutate_part(bytes, &size, max, 8 + n, size - 8 - n);
        return size;
    }
    n = fuzz_mutate_part(bytes, &size, max, 8, n);
    memcpy(bytes, &n, 8);
    return size;
}
