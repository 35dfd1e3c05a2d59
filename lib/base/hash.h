/* XXH3 (https://xxhash.com), chosen for the processor when the program runs where the library can.
 */
#ifndef TV_HASH_H
#define TV_HASH_H

#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#endif

#endif
