/* Several selections over the same numbers, found in the same rounds (select.h says how). What
 * stands in a selects is its own until selects_free. */
#ifndef TV_SELECTS_H
#define TV_SELECTS_H

#include "select.h"

#define SELECTS_MAX 3

struct selects {
    struct select *each[SELECTS_MAX]; /* NULL: none */
};

void selects_free(struct selects *s);
bool selects_are_known(const struct selects *s);

/* As those of one select: what a round wants of those that are not known yet. */
size_t selects_head(const struct selects *s);
size_t selects_work_size(const struct selects *s, size_t n);
void selects_observe(const struct selects *s, const float *x, uint64_t first, size_t n, void *work);
/* With the same n. */
void selects_merge(struct selects *s, size_t n, const void *work);
bool selects_decide(struct selects *s);

#endif
