#include "hash.h"

#include "mem.h"

XXH3_state_t *hash_new_state(void)
{
    XXH3_state_t *state = mem_check(XXH3_createState());
    XXH3_64bits_reset(state);
    return state;
}
