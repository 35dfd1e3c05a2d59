/* A pickle, without the zip around it, and the dict of tensors in it. */
#include "fuzz.h"
#include "pickle.h"
#include "pickle_mutator.h"
#include "state_dict.h"

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    uint8_t *copy = fuzz_copy(bytes, size);
    struct pickle p = {.file = "input", .bytes = copy, .size = size};
    struct stored_tensors s = {.file = "input", .model = "input"};
    struct pickle_value *v;
    while (p.position < size && (v = pickle_load(&p, &e))) {
        s.key = NULL;
        state_dict_find(&s, v, &e);
        pickle_stack_reset(&p);
    }
    stored_tensors_free(&s);
    pickle_free(&p);
    free(copy);
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    return fuzz_mutate_pickle(bytes, size, max, seed);
}
