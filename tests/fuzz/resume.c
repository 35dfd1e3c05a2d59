/* The state of training that calibrate --resume reads. The mutator keeps a checksum right with
 * which it begins: {"xxh3":"0123456789abcdef", and then the bytes that it is of. */
#include "fuzz.h"
#include "hash.h"
#include "training_state.h"

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct saved_training_state s;
    training_state_load(fuzz_file(0, "state", bytes, size), 0x1234, 2, &s, &e);
    saved_training_state_free(&s);
}

#define CHECKSUM_SIZE 27

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    char text[CHECKSUM_SIZE + 1];
    if (seed % 8 == 0 || size < CHECKSUM_SIZE || memcmp(bytes, "{\"xxh3\":", 8) != 0)
        return LLVMFuzzerMutate(bytes, size, max);
    fuzz_mutate_part(bytes, &size, max, CHECKSUM_SIZE, size - CHECKSUM_SIZE);
    uint64_t hash = XXH3_64bits(bytes + CHECKSUM_SIZE, size - CHECKSUM_SIZE);
    snprintf(text, sizeof text, "{\"xxh3\":\"%016llx\",", (unsigned long long)hash);
    memcpy(bytes, text, CHECKSUM_SIZE);
    return size;
}
