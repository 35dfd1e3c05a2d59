#include "multi_select.h"

#define ALIGN 64 /* of each one's part of the work area */

static bool is_unknown(const struct multi_select *s, size_t i)
{
    return s->selections[i] && !magnitude_select_is_done(s->selections[i]);
}

static size_t part_size(const struct multi_select *s, size_t i, size_t n)
{
    return (magnitude_select_work_size(s->selections[i], n) + ALIGN - 1) / ALIGN * ALIGN;
}

void multi_select_free(struct multi_select *s)
{
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++)
        magnitude_select_free(s->selections[i]);
}

bool multi_select_is_done(const struct multi_select *s)
{
    bool known = true;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++)
        known &= !is_unknown(s, i);
    return known;
}

size_t multi_select_sample_elements(const struct multi_select *s)
{
    size_t most = 0;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++) {
        if (!is_unknown(s, i))
            continue;
        size_t head = magnitude_select_sample_elements(s->selections[i]);
        if (head == 0)
            return 0;
        most = head > most ? head : most;
    }
    return most;
}

size_t multi_select_work_size(const struct multi_select *s, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++)
        size += is_unknown(s, i) ? part_size(s, i, n) : 0;
    return size;
}

void multi_select_observe(const struct multi_select *s, const float *x, uint64_t first, size_t n,
                          void *work)
{
    char *part = work;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++) {
        if (!is_unknown(s, i))
            continue;
        size_t head = magnitude_select_sample_elements(s->selections[i]);
        magnitude_select_observe(s->selections[i], x, first, head && head < n ? head : n, part);
        part += part_size(s, i, n);
    }
}

void multi_select_merge(struct multi_select *s, size_t n, const void *work)
{
    const char *part = work;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++) {
        if (!is_unknown(s, i))
            continue;
        magnitude_select_merge(s->selections[i], part);
        part += part_size(s, i, n);
    }
}

bool multi_select_decide(struct multi_select *s)
{
    bool known = true;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++)
        known &= !is_unknown(s, i) || magnitude_select_decide(s->selections[i]);
    return known;
}
