#include "multi_select.h"

#define ALIGN 64 /* alignment of each selection within the work area */

static bool needs_round(const struct multi_select *s, size_t i)
{
    return s->selections[i] && !magnitude_select_is_done(s->selections[i]);
}

static size_t work_size_of(const struct multi_select *s, size_t i, size_t n)
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
    bool done = true;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++)
        done &= !needs_round(s, i);
    return done;
}

size_t multi_select_sample_elements(const struct multi_select *s)
{
    size_t most = 0;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++) {
        if (!needs_round(s, i))
            continue;
        size_t wanted = magnitude_select_sample_elements(s->selections[i]);
        if (wanted == 0)
            return 0;
        most = wanted > most ? wanted : most;
    }
    return most;
}

size_t multi_select_work_size(const struct multi_select *s, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++)
        size += needs_round(s, i) ? work_size_of(s, i, n) : 0;
    return size;
}

void multi_select_observe(const struct multi_select *s, const float *x, uint64_t first, size_t n,
                          void *work)
{
    char *own_work = work;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++) {
        if (!needs_round(s, i))
            continue;
        size_t wanted = magnitude_select_sample_elements(s->selections[i]);
        size_t m = wanted && wanted < n ? wanted : n;
        magnitude_select_observe(s->selections[i], x, first, m, own_work);
        own_work += work_size_of(s, i, n);
    }
}

void multi_select_accumulate(struct multi_select *s, size_t n, const void *work)
{
    const char *own_work = work;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++) {
        if (!needs_round(s, i))
            continue;
        magnitude_select_accumulate(s->selections[i], own_work);
        own_work += work_size_of(s, i, n);
    }
}

bool multi_select_decide(struct multi_select *s)
{
    bool done = true;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++)
        done &= !needs_round(s, i) || magnitude_select_decide(s->selections[i]);
    return done;
}
