/* Unsigned little-endian integers in the headers of weight files. */
#ifndef TV_LITTLE_ENDIAN_H
#define TV_LITTLE_ENDIAN_H

#include <stddef.h>
#include <stdint.h>

/* Integers of n <= 8 bytes, at any alignment. */
static inline uint64_t little_endian_read(const unsigned char *p, size_t n)
{
    uint64_t x = 0;
    while (n-- > 0)
        x = x << 8 | p[n];
    return x;
}

static inline void little_endian_write(unsigned char *p, uint64_t x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(x >> 8 * i);
}

#endif
