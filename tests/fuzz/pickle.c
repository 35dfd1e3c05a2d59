/* A pickle, without the zip around it. */
#include "fuzz.h"
#include "pickle.h"

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    uint8_t *copy = fuzz_copy(bytes, size);
    struct pickle p = {.file = "input", .bytes = copy, .size = size};
    while (p.position < size && pickle_load(&p, &e))
        pickle_stack_reset(&p);
    pickle_free(&p);
    free(copy);
}
