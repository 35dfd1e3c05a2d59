/* Sums over K vectors side by side and over all pairs of them, tile by tile: what stats prints.
 * Tallies own nothing: their numbers stand in the memory that they were made in. */
#ifndef TV_TALLY_H
#define TV_TALLY_H

#include <stddef.h>
#include <stdint.h>

/* One vector. Only what is finite counts, elements and floating apart. */
struct tally {
    uint64_t elements, floating, finite, zeros;
    double sum, l1, squares;
    float min, max;
};

/* Two vectors. */
struct pair {
    double dot;
    uint64_t both, opposite; /* elements where neither is 0; and the signs differ */
};

/* K vectors, and their pairs (1, 0), (2, 0), (2, 1), ... */
struct tallies {
    size_t n;
    struct tally *one;
    struct pair *two;
};

size_t tallies_size(size_t n);
/* Empty ones in `memory` of that size; and those that are there already. */
struct tallies tallies_in(void *memory, size_t n);
struct tallies tallies_at(void *memory, size_t n);
struct pair *pair_of(const struct tallies *t, size_t later, size_t earlier);

/* Adds n <= KERN_TILE elements of vector k, after those of the vectors before it; x is NULL for
 * what is not floating. `tiles` holds (K, KERN_TILE) floats from one vector to the next. */
void tallies_look(struct tallies *t, size_t k, const float *x, size_t n, float *tiles);
void tally_add(const struct tally *from, struct tally *to);
void pair_add(const struct pair *from, struct pair *to);

/* NAN where there is nothing to say. */
double tally_zeros(const struct tally *t); /* share of the finite elements */
double tally_magnitude(const struct tally *t);
double tallies_cosine(const struct tallies *t, size_t later, size_t earlier);
double tallies_opposite(const struct tallies *t, size_t later, size_t earlier);

#endif
