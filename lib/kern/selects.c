#include "selects.h"

#define ALIGN 64 /* of each one's part of the work area */

static bool is_unknown(const struct selects *s, size_t i)
{
    return s->each[i] && !select_is_known(s->each[i]);
}

static size_t part_size(const struct selects *s, size_t i, size_t n)
{
    return (select_work_size(s->each[i], n) + ALIGN - 1) / ALIGN * ALIGN;
}

void selects_free(struct selects *s)
{
    for (size_t i = 0; i < SELECTS_MAX; i++)
        select_free(s->each[i]);
}

bool selects_are_known(const struct selects *s)
{
    bool known = true;
    for (size_t i = 0; i < SELECTS_MAX; i++)
        known &= !is_unknown(s, i);
    return known;
}

size_t selects_head(const struct selects *s)
{
    size_t most = 0;
    for (size_t i = 0; i < SELECTS_MAX; i++) {
        if (!is_unknown(s, i))
            continue;
        size_t head = select_head(s->each[i]);
        if (head == 0)
            return 0;
        most = head > most ? head : most;
    }
    return most;
}

size_t selects_work_size(const struct selects *s, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < SELECTS_MAX; i++)
        size += is_unknown(s, i) ? part_size(s, i, n) : 0;
    return size;
}

void selects_observe(const struct selects *s, const float *x, uint64_t first, size_t n, void *work)
{
    char *part = work;
    for (size_t i = 0; i < SELECTS_MAX; i++) {
        if (!is_unknown(s, i))
            continue;
        size_t head = select_head(s->each[i]);
        select_observe(s->each[i], x, first, head && head < n ? head : n, part);
        part += part_size(s, i, n);
    }
}

void selects_merge(struct selects *s, size_t n, const void *work)
{
    const char *part = work;
    for (size_t i = 0; i < SELECTS_MAX; i++) {
        if (!is_unknown(s, i))
            continue;
        select_merge(s->each[i], part);
        part += part_size(s, i, n);
    }
}

bool selects_decide(struct selects *s)
{
    bool known = true;
    for (size_t i = 0; i < SELECTS_MAX; i++)
        known &= !is_unknown(s, i) || select_decide(s->each[i]);
    return known;
}
