#include "rounding_difference.h"

#include "mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 1e-6

static uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffff;
}

static float float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void raise_to(_Atomic uint32_t *largest, uint32_t bits)
{
    uint32_t known = *largest;
    while (bits > known && !atomic_compare_exchange_weak(largest, &known, bits))
        ;
}

/* The bits of an element of 2 or 4 bytes; neighbors of one sign differ by 1. */
static int64_t element_bits(const void *elements, size_t width, size_t i)
{
    if (width == 2)
        return ((const uint16_t *)elements)[i];
    return ((const uint32_t *)elements)[i];
}

static bool are_neighbors(const void *x, const void *stored, size_t width, size_t i)
{
    return width <= 4 && llabs(element_bits(x, width, i) - element_bits(stored, width, i)) <= 1;
}

void rounding_difference_add(struct rounding_difference *d, enum dtype dtype, const void *x,
                             const void *stored, size_t n)
{
    size_t width = dtype_bits(dtype) / 8;
    if (!dtype_is_float(dtype)) {
        if (memcmp(x, stored, dtype_bytes(dtype, n)) != 0)
            raise_to(&d->difference, float_bits(INFINITY));
        return;
    }
    float *a = mem_alloc(n, sizeof *a), *b = mem_alloc(n, sizeof *b);
    uint32_t difference = 0, magnitude = 0;
    dtype_to_f32(dtype, x, a, n);
    dtype_to_f32(dtype, stored, b, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t apart = float_bits(a[i] - b[i]), size = float_bits(b[i]);
        magnitude = size > magnitude ? size : magnitude;
        if (apart > difference && !are_neighbors(x, stored, width, i))
            difference = apart;
    }
    raise_to(&d->difference, difference);
    raise_to(&d->magnitude, magnitude);
    free(a);
    free(b);
}

bool rounding_difference_is_small(const struct rounding_difference *d)
{
    return (double)float_of_bits(d->difference) <= TOLERANCE * (double)float_of_bits(d->magnitude);
}
