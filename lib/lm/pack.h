/* Samples packed one after another, so that a matrix product takes the tokens of all of them. A
 * pack owns its arrays until pack_free, but for its parts, which borrow from the whole. */
#ifndef TV_PACK_H
#define TV_PACK_H

#include "arch.h"

#include <stdint.h>

/* N tokens in all: sample s has the tokens starts[s] - starts[0] .. starts[s + 1] - starts[0] - 1.
 */
struct pack {
    size_t samples;
    size_t *starts;     /* [samples + 1] */
    uint32_t *ids;      /* (N) */
    float *cos_, *sin_; /* (N, D/2): the angles of each token's position (rope.h) */
};

struct sequence {
    const uint32_t *ids;
    size_t n;
};

/* `samples` sequences, copied, with positions 0, 1, ... in each. */
void pack_fill(struct pack *p, const struct arch *a, const struct sequence *sequences,
               size_t samples);
void pack_free(struct pack *p);

/* The part that begins with sample `first` and has as many as fit into `room` tokens, at least
 * one. */
struct pack pack_part(const struct pack *p, const struct arch *a, size_t first, size_t room);

static inline size_t pack_tokens(const struct pack *p)
{
    return p->starts[p->samples] - p->starts[0];
}

size_t pack_longest(const struct pack *p);

#endif
