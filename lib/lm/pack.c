#include "pack.h"

#include "mem.h"
#include "rope.h"
#include "threads.h"

#include <stdlib.h>
#include <string.h>

struct filling {
    struct pack *pack;
    const struct arch *arch;
    const struct sequence *sequences;
};

static void fill_sample(void *context, size_t s, size_t member)
{
    const struct filling *f = context;
    const struct pack *p = f->pack;
    size_t at = p->starts[s], n = f->sequences[s].n, half = f->arch->head_dim / 2;
    (void)member;
    memcpy(p->ids + at, f->sequences[s].ids, n * sizeof *p->ids);
    if (n)
        rope_tables(f->arch, n, p->cos_ + at * half, p->sin_ + at * half);
}

void pack_fill(struct pack *p, const struct arch *a, const struct sequence *sequences,
               size_t samples)
{
    size_t half = a->head_dim / 2;
    p->samples = samples;
    p->starts = mem_alloc(samples + 1, sizeof *p->starts);
    for (size_t s = 0; s < samples; s++)
        p->starts[s + 1] = p->starts[s] + sequences[s].n;
    size_t tokens = p->starts[samples];
    p->ids = mem_alloc(tokens, sizeof *p->ids);
    p->cos_ = mem_alloc(tokens * half, sizeof *p->cos_);
    p->sin_ = mem_alloc(tokens * half, sizeof *p->sin_);
    if (samples)
        threads_run(samples, tokens / samples * half, fill_sample,
                    &(struct filling){p, a, sequences});
}

void pack_free(struct pack *p)
{
    free(p->starts);
    free(p->ids);
    free(p->cos_);
    free(p->sin_);
    *p = (struct pack){0};
}

struct pack pack_part(const struct pack *p, const struct arch *a, size_t first, size_t room)
{
    size_t n = 1, at = p->starts[first] - p->starts[0], half = a->head_dim / 2;
    while (first + n < p->samples && p->starts[first + n + 1] - p->starts[first] <= room)
        n++;
    return (struct pack){.samples = n,
                         .starts = p->starts + first,
                         .ids = p->ids + at,
                         .cos_ = p->cos_ + at * half,
                         .sin_ = p->sin_ + at * half};
}

size_t pack_longest(const struct pack *p)
{
    size_t most = 0;
    for (size_t s = 0; s < p->samples; s++)
        if (p->starts[s + 1] - p->starts[s] > most)
            most = p->starts[s + 1] - p->starts[s];
    return most;
}
