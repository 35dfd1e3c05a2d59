#include "magnitude_select.h"

#include "magnitude_scan.h"
#include "mem.h"

#include <math.h>
#include <stdlib.h>

#define BINS                   MAGNITUDE_SCAN_BINS
#define SAMPLED_PER_BLOCK_LONG 4096      /* elements of each block in a sample; long tensors */
#define SAMPLED_PER_BLOCK      8192      /* the same; other tensors */
#define LONG_TENSOR            (1 << 26) /* elements of the shortest long tensor */
#define BLOCK                  65536     /* elements of most blocks */
#define SAMPLE_MIN             (1 << 15) /* a sample has about n / 128 magnitudes, within bounds */
#define SAMPLE_MAX             (1 << 18)
#define CALLS_MIN              16 /* for an estimate of the sample's error */
#define LIST_MIN               (1 << 18)
#define LIST_MAX               (1 << 24)

/* What one call of magnitude_select_observe_block contributed to a round. */
struct call {
    uint64_t first, n;
    uint64_t equal_low; /* elements at the bracket's lower end */
    size_t listed_end;  /* candidates (or sampled magnitudes) of the calls up to this one */
};

enum round {
    ROUND_SAMPLE,    /* collects the magnitudes of some elements */
    ROUND_BRACKET,   /* counts above the bracket and at its lower end, lists inside */
    ROUND_HISTOGRAM, /* counts above the bracket, counts inside by bins */
    ROUND_LOCATE,    /* finds one element among those equal to the cut's magnitude */
    ROUND_NONE       /* the cut is known */
};

struct magnitude_select {
    uint64_t n, above;
    size_t list_max, sampled_per_block, stride;
    enum round round;
    struct magnitude_cut cut;
    magnitude low, high;            /* ROUND_BRACKET: low < |x| <= high, and |x| == low is counted;
                                       ROUND_HISTOGRAM: low <= |x| <= high */
    struct magnitude_counts counts; /* of the bracket; equal_low is in `calls` */
    magnitude *sample;
    size_t n_sample, sample_capacity;
    struct magnitude_candidates list;
    size_t n_list, list_capacity;
    struct call *calls; /* of this round, in order */
    size_t n_calls, calls_capacity;
    uint64_t bins[BINS];
    uint64_t locate_first, locate_rank; /* ROUND_LOCATE: `first` of the call that has the element,
                                           and its rank there, from 1 */
    uint64_t located;                   /* its flat index; UINT64_MAX: not found yet */
};

/* A work area. `data` holds the candidates (`capacity` magnitudes, and as many offsets), the sample
 * or the bins (uint32_t) of the call. */
struct observation {
    uint64_t first, n;
    struct magnitude_counts counts;
    uint64_t located; /* flat index of the located element; UINT64_MAX: not in this call */
    size_t listed, capacity;
    magnitude data[];
};

/* ---- rounds --------------------------------------------------------------------------------- */

static void set_cut(struct magnitude_select *s, magnitude bits, uint64_t index)
{
    s->cut.bits = (uint32_t)bits;
    s->cut.index = index;
    s->round = ROUND_NONE;
}

static void begin_round(struct magnitude_select *s, enum round round, magnitude low, magnitude high)
{
    s->round = round;
    s->low = low;
    s->high = high;
    s->counts = (struct magnitude_counts){0};
    s->n_list = s->n_calls = 0;
    memset(s->bins, 0, sizeof s->bins);
}

struct magnitude_select *magnitude_select_new(uint64_t n, uint64_t above, enum tie_rule tie_rule,
                                              size_t list_max)
{
    struct magnitude_select *s = mem_alloc(1, sizeof *s);
    size_t default_max = LIST_MIN + n / 64 < LIST_MAX ? LIST_MIN + n / 64 : LIST_MAX;
    uint64_t sample = n / 128 < SAMPLE_MIN   ? SAMPLE_MIN
                      : n / 128 < SAMPLE_MAX ? n / 128
                                             : SAMPLE_MAX;
    s->n = n;
    s->above = above;
    s->list_max = list_max ? list_max : default_max;
    s->sampled_per_block = n < LONG_TENSOR ? SAMPLED_PER_BLOCK : SAMPLED_PER_BLOCK_LONG;
    /* An odd stride samples all columns in turn. */
    s->stride = (n / BLOCK * s->sampled_per_block / sample) | 1;
    s->cut = (struct magnitude_cut){
        .tie_rule = tie_rule, .none = above == 0, .all = above && above >= n};
    if (s->cut.none || s->cut.all)
        set_cut(s, 0, 0);
    else if (n <= s->list_max)
        begin_round(s, ROUND_BRACKET, -1, MAGNITUDE_SCAN_MAX); /* lists everything */
    else
        begin_round(s, ROUND_SAMPLE, -1, MAGNITUDE_SCAN_MAX);
    return s;
}

void magnitude_select_set_count_above(struct magnitude_select *s, uint64_t above)
{
    s->above = above;
    s->cut.none = above == 0;
    s->cut.all = above && above >= s->n;
    if (s->cut.none || s->cut.all)
        set_cut(s, 0, 0);
}

void magnitude_select_free(struct magnitude_select *s)
{
    if (!s)
        return;
    free(s->sample);
    free(s->list.bits);
    free(s->list.offset);
    free(s->calls);
    free(s);
}

size_t magnitude_select_sample_elements(const struct magnitude_select *s)
{
    return s->round == ROUND_SAMPLE ? s->sampled_per_block : 0;
}

/* ---- observing ------------------------------------------------------------------------------ */

static size_t count_sampled_elements(const struct magnitude_select *s, size_t n)
{
    return (n + s->stride - 1) / s->stride;
}

/* Of the list of a call for n elements. */
static size_t list_capacity(const struct magnitude_select *s, size_t n)
{
    size_t end = s->list_max + MAGNITUDE_SCAN_TILE;
    return (n < end ? n : end) + MAGNITUDE_SCAN_PADDING;
}

static struct magnitude_candidates listed_candidates(const struct observation *o)
{
    magnitude *bits = (magnitude *)o->data;
    return (struct magnitude_candidates){bits, (uint32_t *)(bits + o->capacity)};
}

size_t magnitude_select_work_size(const struct magnitude_select *s, size_t n)
{
    size_t data = 0;
    if (s->round == ROUND_SAMPLE)
        data = count_sampled_elements(s, n) * sizeof(magnitude);
    else if (s->round == ROUND_BRACKET)
        data = list_capacity(s, n) * (sizeof(magnitude) + sizeof(uint32_t));
    else if (s->round == ROUND_HISTOGRAM)
        data = (BINS + 1) * sizeof(uint32_t);
    return sizeof(struct observation) + data;
}

static void locate_equal_element_in_block(const struct magnitude_select *s, const float *x,
                                          size_t n, struct observation *o)
{
    size_t i = magnitude_scan_find_equal(x, n, s->low, s->locate_rank);
    if (i < n)
        o->located = o->first + i;
}

void magnitude_select_observe_block(const struct magnitude_select *s, const float *x,
                                    uint64_t first, size_t n, void *work)
{
    struct observation *o = work;
    *o = (struct observation){.first = first, .n = n, .located = UINT64_MAX};
    if (s->round == ROUND_SAMPLE) {
        o->listed = count_sampled_elements(s, n);
        magnitude_scan_sample(x, o->listed, s->stride, o->data);
    } else if (s->round == ROUND_BRACKET) {
        o->capacity = list_capacity(s, n);
        o->listed = magnitude_scan_list_in_bracket(x, n, s->low, s->high, s->list_max, &o->counts,
                                                   listed_candidates(o));
    } else if (s->round == ROUND_HISTOGRAM) {
        o->counts.larger = magnitude_scan_histogram(x, n, s->low, s->high, (uint32_t *)o->data);
    } else if (s->round == ROUND_LOCATE && first == s->locate_first) {
        locate_equal_element_in_block(s, x, n, o);
    }
}

/* ---- merging -------------------------------------------------------------------------------- */

/* Reallocates `items`, at least doubling their capacity, if `needed` items do not fit. */
static void *ensure_capacity(void *items, size_t *capacity, size_t needed, size_t item_size)
{
    if (needed <= *capacity)
        return items;
    *capacity = needed > 2 * *capacity ? needed : 2 * *capacity;
    return mem_resize(items, *capacity, item_size);
}

static void record_observed_call(struct magnitude_select *s, const struct observation *o,
                                 size_t listed_end)
{
    s->calls = ensure_capacity(s->calls, &s->calls_capacity, s->n_calls + 1, sizeof *s->calls);
    s->calls[s->n_calls++] = (struct call){o->first, o->n, o->counts.equal_low, listed_end};
}

static void append_observed_sample(struct magnitude_select *s, const struct observation *o)
{
    s->sample =
        ensure_capacity(s->sample, &s->sample_capacity, s->n_sample + o->listed, sizeof *s->sample);
    if (o->listed)
        memcpy(s->sample + s->n_sample, o->data, o->listed * sizeof *s->sample);
    s->n_sample += o->listed;
    record_observed_call(s, o, s->n_sample);
}

static void append_candidates(struct magnitude_select *s, struct magnitude_candidates from,
                              size_t n)
{
    size_t capacity = s->list_capacity;
    s->list.bits = ensure_capacity(s->list.bits, &capacity, s->n_list + n, sizeof *s->list.bits);
    s->list.offset =
        ensure_capacity(s->list.offset, &s->list_capacity, s->n_list + n, sizeof *s->list.offset);
    if (n) {
        memcpy(s->list.bits + s->n_list, from.bits, n * sizeof *from.bits);
        memcpy(s->list.offset + s->n_list, from.offset, n * sizeof *from.offset);
    }
    s->n_list += n;
}

static void add_observed_bracket(struct magnitude_select *s, const struct observation *o)
{
    s->counts.larger += o->counts.larger;
    s->counts.inside += o->counts.inside;
    if (s->counts.inside <= s->list_max)
        append_candidates(s, listed_candidates(o), o->listed);
    record_observed_call(s, o, s->n_list);
}

static void add_observed_histogram(struct magnitude_select *s, const struct observation *o)
{
    const uint32_t *bins = (const uint32_t *)o->data;
    s->counts.larger += o->counts.larger;
    for (size_t b = 0; b < BINS; b++)
        s->bins[b] += bins[b];
}

void magnitude_select_accumulate_block(struct magnitude_select *s, const void *work)
{
    const struct observation *o = work;
    if (s->round == ROUND_SAMPLE)
        append_observed_sample(s, o);
    else if (s->round == ROUND_BRACKET)
        add_observed_bracket(s, o);
    else if (s->round == ROUND_HISTOGRAM)
        add_observed_histogram(s, o);
    else if (s->round == ROUND_LOCATE && o->located != UINT64_MAX)
        s->located = o->located;
}

/* ---- deciding ------------------------------------------------------------------------------- */

static struct magnitude_order_statistic find_nth_largest_sampled(const struct magnitude_select *s,
                                                                 uint64_t rank)
{
    return magnitude_scan_nth_largest(s->sample, s->n_sample, -1, MAGNITUDE_SCAN_MAX, rank);
}

/* Standard error of the number of sampled magnitudes above m, estimated from the differences
 * between calls, because the elements of a row are correlated. */
TV_CLONES static double estimate_sample_rank_error(const struct magnitude_select *s, magnitude m)
{
    double share = (double)s->above / (double)s->n, squares = 0;
    size_t i = 0;
    for (size_t c = 0; c < s->n_calls; c++) {
        size_t begin = i, above = 0;
        for (; i < s->calls[c].listed_end; i++)
            above += s->sample[i] > m;
        double excess = (double)above - share * (double)(i - begin);
        squares += excess * excess;
    }
    return sqrt(squares);
}

/* Four standard errors of the cut's rank in the sample. Few calls give no estimate: then four times
 * the error of independent elements. */
static double estimate_bracket_half_width(const struct magnitude_select *s, double rank)
{
    double m = (double)s->n_sample;
    if (s->n_calls < CALLS_MIN)
        return 16 * sqrt(rank * (1 - rank / m));
    return 4 * estimate_sample_rank_error(s, find_nth_largest_sampled(s, (uint64_t)rank).bits);
}

/* Brackets the cut's rank in the sample, on both sides, but no wider than fills an expected 4/5 of
 * the list. The elements equal to the lower end are listed, too, if there is space for them: if
 * the cut is among them, no other round is needed. */
static void decide_after_sample_round(struct magnitude_select *s)
{
    double m = (double)s->n_sample, n = (double)s->n, middle = (double)s->above / n * m;
    double listed_max = 0.8 * (double)s->list_max / n * m;
    double half = fmin(listed_max / 2, estimate_bracket_half_width(s, middle));
    magnitude low = -1, high = MAGNITUDE_SCAN_MAX;
    if (middle - half >= 2)
        high = find_nth_largest_sampled(s, (uint64_t)(middle - half - 1)).bits;
    if (middle + half + 2 < m) {
        struct magnitude_order_statistic found =
            find_nth_largest_sampled(s, (uint64_t)(middle + half + 2));
        bool lists_equal = 2 * half + (double)found.equal <= listed_max;
        low = found.bits - lists_equal;
    }
    free(s->sample);
    s->sample = NULL;
    s->n_sample = s->sample_capacity = 0;
    if (high < MAGNITUDE_SCAN_MAX || low > -1)
        begin_round(s, ROUND_BRACKET, low, high);
    else
        begin_round(s, ROUND_HISTOGRAM, 0, MAGNITUDE_SCAN_MAX);
}

/* The call that listed candidate i. */
static const struct call *find_call_of_candidate(const struct magnitude_select *s, size_t i)
{
    const struct call *c = s->calls;
    while (c->listed_end <= i)
        c++;
    return c;
}

/* The cut is the rank-th largest candidate, where the tie rule orders equal ones. */
static void select_cut_from_candidate_list(struct magnitude_select *s, uint64_t rank)
{
    struct magnitude_order_statistic found =
        magnitude_scan_nth_largest(s->list.bits, s->n_list, s->low, s->high, rank);
    rank -= found.larger;
    if (s->cut.tie_rule == TIE_HIGHER_INDEX_WINS)
        rank = found.equal - rank + 1;
    size_t i = 0;
    while (s->list.bits[i] != found.bits || --rank > 0)
        i++;
    set_cut(s, found.bits, find_call_of_candidate(s, i)->first + s->list.offset[i]);
}

static uint64_t sum_equal_low_counts(const struct magnitude_select *s)
{
    uint64_t equal = 0;
    for (size_t c = 0; c < s->n_calls; c++)
        equal += s->calls[c].equal_low;
    return equal;
}

/* The cut is the rank-th element at the bracket's lower end: finds its call. */
static void select_cut_among_equal_low(struct magnitude_select *s, uint64_t rank)
{
    if (s->cut.tie_rule == TIE_HIGHER_INDEX_WINS)
        rank = sum_equal_low_counts(s) - rank + 1;
    const struct call *c = s->calls;
    while (c->equal_low < rank)
        rank -= c++->equal_low;
    if (c->equal_low == c->n) { /* all elements of the call are equal */
        set_cut(s, s->low, c->first + rank - 1);
        return;
    }
    s->locate_first = c->first;
    s->locate_rank = rank;
    s->located = UINT64_MAX;
    s->round = ROUND_LOCATE;
}

/* There are fewer elements than announced, at most as many as wanted. */
static void set_cut_to_keep_all(struct magnitude_select *s)
{
    s->cut.all = true;
    set_cut(s, 0, 0);
}

static void decide_after_bracket_round(struct magnitude_select *s)
{
    uint64_t larger = s->counts.larger, larger_or_inside = larger + s->counts.inside;
    if (s->above <= larger)
        begin_round(s, ROUND_HISTOGRAM, s->high + 1, MAGNITUDE_SCAN_MAX);
    else if (s->above <= larger_or_inside && s->counts.inside <= s->list_max)
        select_cut_from_candidate_list(s, s->above - larger);
    else if (s->above <= larger_or_inside && s->high == s->low + 1)
        begin_round(s, ROUND_BRACKET, s->high, s->high);
    else if (s->above <= larger_or_inside)
        begin_round(s, ROUND_HISTOGRAM, s->low + 1, s->high);
    else if (s->above <= larger_or_inside + sum_equal_low_counts(s))
        select_cut_among_equal_low(s, s->above - larger_or_inside);
    else if (s->low > 0)
        begin_round(s, ROUND_HISTOGRAM, 0, s->low - 1);
    else
        set_cut_to_keep_all(s);
}

/* The next bracket is the bin with the cut. */
static void decide_after_histogram_round(struct magnitude_select *s)
{
    uint64_t larger = s->counts.larger;
    size_t bin = BINS - 1;
    while (bin > 0 && larger + s->bins[bin] < s->above)
        larger += s->bins[bin--];
    unsigned shift = magnitude_scan_bin_shift(s->low, s->high);
    magnitude low = s->low + (magnitude)(bin << shift);
    uint32_t width = (1u << shift) - 1;
    magnitude high = (uint32_t)(s->high - low) < width ? s->high : low + (magnitude)width;
    if (s->bins[bin] <= s->list_max)
        begin_round(s, ROUND_BRACKET, low - 1, high);
    else if (low == high)
        begin_round(s, ROUND_BRACKET, low, low);
    else
        begin_round(s, ROUND_HISTOGRAM, low, high);
}

/* True if rounds contradict each other, which happens only if the data changed between them. */
static bool rounds_contradict_each_other(const struct magnitude_select *s)
{
    return (s->round == ROUND_LOCATE && s->located == UINT64_MAX) ||
           (s->round == ROUND_HISTOGRAM && s->counts.larger >= s->above);
}

bool magnitude_select_decide_after_round(struct magnitude_select *s)
{
    if (rounds_contradict_each_other(s))
        begin_round(s, ROUND_HISTOGRAM, 0, MAGNITUDE_SCAN_MAX); /* starts again */
    else if (s->round == ROUND_SAMPLE)
        decide_after_sample_round(s);
    else if (s->round == ROUND_BRACKET)
        decide_after_bracket_round(s);
    else if (s->round == ROUND_HISTOGRAM)
        decide_after_histogram_round(s);
    else if (s->round == ROUND_LOCATE)
        set_cut(s, s->low, s->located);
    return magnitude_select_is_done(s);
}

bool magnitude_select_is_done(const struct magnitude_select *s)
{
    return s->round == ROUND_NONE;
}

struct magnitude_cut magnitude_select_result(const struct magnitude_select *s)
{
    return s->cut;
}
