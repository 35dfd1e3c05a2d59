/* The state of training that calibrate --resume reads. */
#include "fuzz.h"
#include "training_state.h"

static void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct saved_training_state s;
    training_state_load(fuzz_file(0, bytes, size), 0x1234, 2, &s, &e);
    saved_training_state_free(&s);
}
