/* Masks of one bit per element: marking elements, keeping those that are marked, and converting
 * from and to one byte per element, for loops. Byte arrays must have space up to the next multiple
 * of eight. */
#ifndef TV_BITMASK_H
#define TV_BITMASK_H

#include "simd.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Packs n bytes, each 0 or 1, into bits; zeroes the bytes after them. */
TV_INLINE void bitmask_pack(unsigned char *bytes, size_t n, unsigned char *bits)
{
    memset(bytes + n, 0, (8 - n % 8) % 8);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t eight;
        memcpy(&eight, bytes + i, sizeof eight);
        bits[i / 8] = (unsigned char)(eight * 0x0102040810204080 >> 56);
    }
}

/* Unpacks n bits into bytes: 0, or not 0 for a set bit. */
TV_INLINE void bitmask_unpack(const unsigned char *bits, size_t n, unsigned char *bytes)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t eight = (uint64_t)bits[i / 8] * 0x0101010101010101 & 0x8040201008040201;
        memcpy(bytes + i, &eight, sizeof eight);
    }
}

/* Bit i of `bits` = (u[i] < bound), compared in double; writes whole bytes. */
void bitmask_mark_below(const float *u, double bound, size_t n, unsigned char *bits);
/* y[i] = x[i] where bit i is set, else +0; y may be x. */
void bitmask_keep_marked(const float *x, const unsigned char *bits, size_t n, float *y);

#endif
