/* What a stage of a run has cost so far: time inside its functions and bytes of payload. Several
 * threads may add to one cost at once. */
#ifndef TV_STAGE_COST_H
#define TV_STAGE_COST_H

#include "process_stats.h"

#include <stdatomic.h>
#include <stdint.h>

struct stage_cost {
    _Atomic uint64_t nanoseconds; /* inside its functions, summed over threads */
    _Atomic uint64_t bytes;       /* that it received; of a source: that it delivered */
};

/* Adds the time since `start` (process_stats_monotonic_ns) and bytes of payload. */
static inline void stage_cost_add(struct stage_cost *c, uint64_t start, uint64_t bytes)
{
    c->nanoseconds += process_stats_monotonic_ns() - start;
    c->bytes += bytes;
}

#endif
