#include "magnitude_multi_select.h"

#define ALIGN 64 /* alignment of each selection within the work area */

static bool selection_needs_round(const struct magnitude_multi_select *s, size_t i)
{
    return s->selections[i] && !magnitude_select_is_done(s->selections[i]);
}

static size_t aligned_work_size_of_selection(const struct magnitude_multi_select *s, size_t i,
                                             size_t n)
{
    return (magnitude_select_work_size(s->selections[i], n) + ALIGN - 1) / ALIGN * ALIGN;
}

void magnitude_multi_select_free(struct magnitude_multi_select *s)
{
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++)
        magnitude_select_free(s->selections[i]);
}

bool magnitude_multi_select_is_done(const struct magnitude_multi_select *s)
{
    bool done = true;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++)
        done &= !selection_needs_round(s, i);
    return done;
}

size_t magnitude_multi_select_sample_elements(const struct magnitude_multi_select *s)
{
    size_t most = 0;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++) {
        if (!selection_needs_round(s, i))
            continue;
        size_t wanted = magnitude_select_sample_elements(s->selections[i]);
        if (wanted == 0)
            return 0;
        most = wanted > most ? wanted : most;
    }
    return most;
}

size_t magnitude_multi_select_work_size(const struct magnitude_multi_select *s, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++)
        size += selection_needs_round(s, i) ? aligned_work_size_of_selection(s, i, n) : 0;
    return size;
}

void magnitude_multi_select_observe_block(const struct magnitude_multi_select *s, const float *x,
                                          uint64_t first, size_t n, void *work)
{
    char *own_work = work;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++) {
        if (!selection_needs_round(s, i))
            continue;
        size_t wanted = magnitude_select_sample_elements(s->selections[i]);
        size_t m = wanted && wanted < n ? wanted : n;
        magnitude_select_observe_block(s->selections[i], x, first, m, own_work);
        own_work += aligned_work_size_of_selection(s, i, n);
    }
}

void magnitude_multi_select_accumulate_block(struct magnitude_multi_select *s, size_t n,
                                             const void *work)
{
    const char *own_work = work;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++) {
        if (!selection_needs_round(s, i))
            continue;
        magnitude_select_accumulate_block(s->selections[i], own_work);
        own_work += aligned_work_size_of_selection(s, i, n);
    }
}

bool magnitude_multi_select_decide_after_round(struct magnitude_multi_select *s)
{
    bool done = true;
    for (size_t i = 0; i < MULTI_SELECT_MAX; i++)
        done &=
            !selection_needs_round(s, i) || magnitude_select_decide_after_round(s->selections[i]);
    return done;
}
