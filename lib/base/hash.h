/* The hash function XXH3 (https://xxhash.com). Where the library supports it, the implementation
 * for the processor is chosen at run time. A state belongs to its caller until XXH3_freeState. */
#ifndef TV_HASH_H
#define TV_HASH_H

#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#endif

/* A state that has hashed nothing; never NULL. */
XXH3_state_t *hash_new_state(void);

#endif
