#include "magnitude_select.h"

#include "mem.h"
#include "simd.h"

#include <math.h>
#include <stdlib.h>

#define TILE       4096
#define BINS       4096
#define HEAD       4096      /* elements of each block in a sample; twice that for short tensors */
#define LONG       (1 << 26) /* elements of a tensor that is not short */
#define BLOCK      65536     /* elements of most blocks: for the size of a sample */
#define SAMPLE_MIN (1 << 16) /* magnitudes in a sample, about: n / 64 within these bounds */
#define SAMPLE_MAX (1 << 18)
#define LIST_MIN   (1 << 18)
#define LIST_MAX   (1 << 24)
#define TOP        INT32_MAX /* bits of the largest magnitude (a NaN's) */

/* The bits of |x| as a signed number: -1 is below all of them. */
typedef int32_t magnitude;

/* An element inside the bracket: where it lies from its call's `first` on. */
struct candidate {
    magnitude bits;
    uint32_t offset;
};

/* What a call saw. */
struct weight_kind {
    uint64_t first, n;
    uint64_t equal; /* elements at the bracket's lower end */
    size_t listed;  /* candidates, or sampled, of the calls up to and with this one */
};

enum round {
    ROUND_SAMPLE,    /* magnitudes of some elements */
    ROUND_BRACKET,   /* count above, list inside, count at the lower end */
    ROUND_HISTOGRAM, /* count above, count inside by bins */
    ROUND_LOCATE,    /* which element is the wanted one among those equal to the cut? */
    ROUND_NONE       /* the cut is known */
};

struct magnitude_select {
    uint64_t n, above;
    size_t list_max, head, stride;
    enum round round;
    struct magnitude_cut cut;
    magnitude low, high;     /* bracket: low < |x| <= high, with those equal to low counted apart;
                                histogram: low <= |x| <= high */
    uint64_t larger, inside; /* elements above the bracket, and in it */
    magnitude *sample;
    size_t n_sample, sample_room;
    struct candidate *list;
    size_t listed, list_room;
    struct weight_kind *parts; /* of the calls of a round, in order */
    size_t n_parts, parts_room;
    uint64_t bins[BINS];
    uint64_t located_first, located_rank; /* of the call that has the cut; rank in it from 1 on */
};

/* A call's finding; behind it its candidates, its sample or its bins (uint32_t). */
struct finding {
    uint64_t first, n, larger, inside, equal;
    uint64_t found; /* flat index; UINT64_MAX: not in this call */
    size_t listed;
    struct candidate data[];
};

/* ---- setting up ----------------------------------------------------------------------------- */

static void finish(struct magnitude_select *s, magnitude bits, uint64_t index)
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
    s->larger = s->inside = 0;
    s->listed = s->n_parts = 0;
    memset(s->bins, 0, sizeof s->bins);
}

struct magnitude_select *magnitude_select_new(uint64_t n, uint64_t above, enum tie_rule ties,
                                              size_t list_max)
{
    struct magnitude_select *s = mem_alloc(1, sizeof *s);
    size_t room = LIST_MIN + n / 64 < LIST_MAX ? LIST_MIN + n / 64 : LIST_MAX;
    s->n = n;
    s->above = above;
    s->list_max = list_max ? list_max : room;
    s->head = n < LONG ? 2 * HEAD : HEAD;
    uint64_t wanted = n / 64 < SAMPLE_MIN ? SAMPLE_MIN : n / 64 < SAMPLE_MAX ? n / 64 : SAMPLE_MAX;
    /* Odd, so that it does not fall in step with the columns. */
    s->stride = (n / BLOCK * s->head / wanted) | 1;
    s->cut =
        (struct magnitude_cut){.tie_rule = ties, .none = above == 0, .all = above && above >= n};
    if (s->cut.none || s->cut.all)
        finish(s, 0, 0);
    else if (n <= s->list_max)
        begin_round(s, ROUND_BRACKET, -1, TOP); /* lists everything */
    else
        begin_round(s, ROUND_SAMPLE, -1, TOP);
    return s;
}

void magnitude_select_set_count(struct magnitude_select *s, uint64_t above)
{
    s->above = above;
    s->cut.none = above == 0;
    s->cut.all = above && above >= s->n;
    if (s->cut.none || s->cut.all)
        finish(s, 0, 0);
}

void magnitude_select_free(struct magnitude_select *s)
{
    if (!s)
        return;
    free(s->sample);
    free(s->list);
    free(s->parts);
    free(s);
}

size_t magnitude_select_sample_elements(const struct magnitude_select *s)
{
    return s->round == ROUND_SAMPLE ? s->head : 0;
}

/* ---- observing ------------------------------------------------------------------------------ */

TV_INLINE magnitude magnitude_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (magnitude)(u & 0x7FFFFFFF);
}

static size_t sampled(const struct magnitude_select *s, size_t n)
{
    return (n + s->stride - 1) / s->stride;
}

size_t magnitude_select_work_size(const struct magnitude_select *s, size_t n)
{
    size_t data = 0;
    if (s->round == ROUND_SAMPLE)
        data = sampled(s, n) * sizeof(magnitude);
    else if (s->round == ROUND_BRACKET) /* a tile is listed whole or not at all */
        data = (n < s->list_max + TILE ? n : s->list_max + TILE) * sizeof(struct candidate);
    else if (s->round == ROUND_HISTOGRAM)
        data = (BINS + 1) * sizeof(uint32_t);
    return sizeof(struct finding) + data;
}

TV_CLONES static void gather(const struct magnitude_select *s, const float *restrict x, size_t n,
                             magnitude *restrict sample)
{
    for (size_t i = 0; i < n; i++)
        sample[i] = magnitude_of(x[i * s->stride]);
}

/* Counts of a tile: above high, above low, equal to low. */
TV_CLONES static void count(const float *restrict x, size_t n, magnitude low, magnitude high,
                            uint32_t *counts)
{
    uint32_t above_high = 0, above_low = 0, equal = 0;
    for (size_t i = 0; i < n; i++) {
        magnitude m = magnitude_of(x[i]);
        above_high += m > high;
        above_low += m > low;
        equal += m == low;
    }
    counts[0] = above_high;
    counts[1] = above_low;
    counts[2] = equal;
}

/* 1 for each element of a tile that lies inside. */
TV_CLONES static void mark(const float *restrict x, size_t n, magnitude low, magnitude high,
                           uint8_t *restrict marks)
{
    for (size_t i = 0; i < n; i++) {
        magnitude m = magnitude_of(x[i]);
        marks[i] = (m > low) & (m <= high);
    }
}

/* Lists the marked elements of a tile, few or many; marks are padded with zeros to eight. */
static size_t list_marked(const float *x, size_t n, const uint8_t *marks, size_t offset,
                          struct candidate *to)
{
    size_t listed = 0;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t eight;
        memcpy(&eight, marks + i, sizeof eight);
        for (size_t j = i; eight && j < i + 8 && j < n; j++) {
            to[listed] = (struct candidate){magnitude_of(x[j]), (uint32_t)(offset + j)};
            listed += marks[j];
        }
    }
    return listed;
}

static void observe_bracket(const struct magnitude_select *s, const float *x, size_t n,
                            struct finding *f)
{
    uint8_t marks[TILE + 8];
    for (size_t i = 0; i < n; i += TILE) {
        size_t m = n - i < TILE ? n - i : TILE;
        uint32_t counts[3];
        count(x + i, m, s->low, s->high, counts);
        f->larger += counts[0];
        f->inside += counts[1] - counts[0];
        f->equal += counts[2];
        if (counts[1] == counts[0] || f->inside > s->list_max)
            continue;
        mark(x + i, m, s->low, s->high, marks);
        memset(marks + m, 0, 8);
        f->listed += list_marked(x + i, m, marks, i, f->data + f->listed);
    }
}

/* Bins of equal width from low on, as many as cover low..high. */
static unsigned bin_shift(const struct magnitude_select *s)
{
    unsigned shift = 0;
    while ((uint32_t)(s->high - s->low) >> shift >= BINS)
        shift++;
    return shift;
}

static void observe_histogram(const struct magnitude_select *s, const float *x, size_t n,
                              struct finding *f)
{
    uint32_t *bins = (uint32_t *)f->data; /* the last one is for what lies outside */
    magnitude high = s->high;
    uint32_t low = (uint32_t)s->low, width = (uint32_t)high - low;
    unsigned shift = bin_shift(s);
    memset(bins, 0, (BINS + 1) * sizeof *bins);
    for (size_t i = 0; i < n; i++) {
        magnitude m = magnitude_of(x[i]);
        uint32_t distance = (uint32_t)m - low, is_inside = -(uint32_t)(distance <= width);
        bins[(distance >> shift & is_inside) | (BINS & ~is_inside)]++;
        f->larger += m > high;
    }
}

/* The flat index of the element at the wanted rank among those equal to low. */
static void observe_locate(const struct magnitude_select *s, const float *x, size_t n,
                           struct finding *f)
{
    uint64_t rank = s->located_rank;
    for (size_t i = 0; i < n && f->found == UINT64_MAX; i++)
        if (magnitude_of(x[i]) == s->low && --rank == 0)
            f->found = f->first + i;
}

void magnitude_select_observe(const struct magnitude_select *s, const float *x, uint64_t first,
                              size_t n, void *work)
{
    struct finding *f = work;
    *f = (struct finding){.first = first, .n = n, .found = UINT64_MAX};
    if (s->round == ROUND_SAMPLE) {
        f->listed = sampled(s, n);
        gather(s, x, f->listed, (magnitude *)f->data);
    } else if (s->round == ROUND_BRACKET) {
        observe_bracket(s, x, n, f);
    } else if (s->round == ROUND_HISTOGRAM) {
        observe_histogram(s, x, n, f);
    } else if (s->round == ROUND_LOCATE && first == s->located_first) {
        observe_locate(s, x, n, f);
    }
}

/* ---- merging -------------------------------------------------------------------------------- */

/* `items` grown, by doubling, to hold `needed` of `size` bytes. */
static void *grown(void *items, size_t *room, size_t needed, size_t size)
{
    if (needed <= *room)
        return items;
    *room = needed > 2 * *room ? needed : 2 * *room;
    return mem_resize(items, *room, size);
}

static void add_part(struct magnitude_select *s, const struct finding *f, size_t listed)
{
    s->parts = grown(s->parts, &s->parts_room, s->n_parts + 1, sizeof *s->parts);
    s->parts[s->n_parts++] = (struct weight_kind){f->first, f->n, f->equal, listed};
}

static void merge_sample(struct magnitude_select *s, const struct finding *f)
{
    s->sample = grown(s->sample, &s->sample_room, s->n_sample + f->listed, sizeof *s->sample);
    if (f->listed)
        memcpy(s->sample + s->n_sample, f->data, f->listed * sizeof *s->sample);
    s->n_sample += f->listed;
    add_part(s, f, s->n_sample);
}

static void merge_bracket(struct magnitude_select *s, const struct finding *f)
{
    s->larger += f->larger;
    s->inside += f->inside;
    if (s->inside <= s->list_max) {
        s->list = grown(s->list, &s->list_room, s->listed + f->listed, sizeof *s->list);
        if (f->listed)
            memcpy(s->list + s->listed, f->data, f->listed * sizeof *s->list);
        s->listed += f->listed;
    }
    add_part(s, f, s->listed);
}

void magnitude_select_merge(struct magnitude_select *s, const void *work)
{
    const struct finding *f = work;
    const uint32_t *bins = (const uint32_t *)f->data;
    if (s->round == ROUND_SAMPLE) {
        merge_sample(s, f);
    } else if (s->round == ROUND_BRACKET) {
        merge_bracket(s, f);
    } else if (s->round == ROUND_HISTOGRAM) {
        s->larger += f->larger;
        for (size_t b = 0; b < BINS; b++)
            s->bins[b] += bins[b];
    } else if (s->round == ROUND_LOCATE && f->found != UINT64_MAX) {
        finish(s, s->low, f->found);
    }
}

/* ---- deciding ------------------------------------------------------------------------------- */

/* The magnitude at `rank` (from 1 on) from the top, among n that lie `step` numbers apart: digit
 * by digit, by counting. */
static magnitude ranked(const magnitude *m, size_t n, size_t step, uint64_t rank)
{
    static const unsigned shifts[] = {20, 10, 0};
    magnitude prefix = 0;
    for (size_t d = 0; d < 3; d++) {
        uint64_t counts[2048] = {0};
        unsigned known = d ? shifts[d - 1] : 31;
        size_t digit = d ? 1023 : 2047;
        for (size_t i = 0; i < n; i++) {
            uint32_t u = (uint32_t)m[i * step];
            if (u >> known == (uint32_t)prefix >> known)
                counts[u >> shifts[d] & digit]++;
        }
        while (digit > 0 && rank > counts[digit])
            rank -= counts[digit--];
        prefix |= (magnitude)(digit << shifts[d]);
    }
    return prefix;
}

/* Standard error of the number of sampled magnitudes above m: from how much the calls differ,
 * for the elements of a row are alike. */
static double sample_error(const struct magnitude_select *s, magnitude m)
{
    double share = (double)s->above / (double)s->n, squares = 0;
    size_t i = 0;
    for (size_t p = 0; p < s->n_parts; p++) {
        double more = 0;
        for (; i < s->parts[p].listed; i++)
            more += (s->sample[i] > m) - share;
        squares += more * more;
    }
    return sqrt(squares);
}

/* A bracket around the rank that the sample says: four standard errors to both sides, or so wide
 * that the list will be 4/5 full. */
static void decide_sample(struct magnitude_select *s)
{
    double m = (double)s->n_sample, n = (double)s->n, middle = (double)s->above / n * m;
    double half = 0.4 * (double)s->list_max / n * m;
    if (s->n_parts >= 16)
        half = fmin(half, 4 * sample_error(s, ranked(s->sample, s->n_sample, 1, (uint64_t)middle)));
    magnitude low = -1, high = TOP;
    if (middle - half >= 2)
        high = ranked(s->sample, s->n_sample, 1, (uint64_t)(middle - half - 1));
    if (middle + half + 2 < m)
        low = ranked(s->sample, s->n_sample, 1, (uint64_t)(middle + half + 2));
    free(s->sample);
    s->sample = NULL;
    s->n_sample = s->sample_room = 0;
    if (high < TOP || low > -1)
        begin_round(s, ROUND_BRACKET, low, high);
    else
        begin_round(s, ROUND_HISTOGRAM, 0, TOP);
}

/* The part with the candidate at that place in the list. */
static const struct weight_kind *part_of(const struct magnitude_select *s, size_t place)
{
    const struct weight_kind *p = s->parts;
    while (p->listed <= place)
        p++;
    return p;
}

/* The cut is the candidate at `rank` from the top: its bits, then the right one among equals. */
static void decide_list(struct magnitude_select *s, uint64_t rank)
{
    size_t step = sizeof *s->list / sizeof(magnitude);
    magnitude bits = ranked(&s->list->bits, s->listed, step, rank);
    uint64_t equal = 0;
    for (size_t i = 0; i < s->listed; i++) {
        rank -= s->list[i].bits > bits;
        equal += s->list[i].bits == bits;
    }
    if (s->cut.tie_rule == TIE_HIGHER_INDEX_WINS)
        rank = equal - rank + 1;
    size_t i = 0;
    while (s->list[i].bits != bits || --rank > 0)
        i++;
    finish(s, bits, part_of(s, i)->first + s->list[i].offset);
}

/* The cut equals the lower end and is the one at `rank` among those: in which call? */
static void decide_equal(struct magnitude_select *s, uint64_t rank)
{
    uint64_t equal = 0;
    for (size_t i = 0; i < s->n_parts; i++)
        equal += s->parts[i].equal;
    if (s->cut.tie_rule == TIE_HIGHER_INDEX_WINS)
        rank = equal - rank + 1;
    const struct weight_kind *p = s->parts;
    while (p->equal < rank)
        rank -= p++->equal;
    if (p->equal == p->n) {
        finish(s, s->low, p->first + rank - 1);
        return;
    }
    s->located_first = p->first;
    s->located_rank = rank;
    s->round = ROUND_LOCATE;
}

/* There are not more elements than wanted, though more were announced. */
static void take_all(struct magnitude_select *s)
{
    s->cut.all = true;
    finish(s, 0, 0);
}

static void decide_bracket(struct magnitude_select *s)
{
    uint64_t equal = 0;
    for (size_t i = 0; i < s->n_parts; i++)
        equal += s->parts[i].equal;
    if (s->above <= s->larger)
        begin_round(s, ROUND_HISTOGRAM, s->high + 1, TOP);
    else if (s->above <= s->larger + s->inside && s->inside <= s->list_max)
        decide_list(s, s->above - s->larger);
    else if (s->above <= s->larger + s->inside && s->high == s->low + 1)
        begin_round(s, ROUND_BRACKET, s->high, s->high);
    else if (s->above <= s->larger + s->inside)
        begin_round(s, ROUND_HISTOGRAM, s->low + 1, s->high);
    else if (s->above <= s->larger + s->inside + equal)
        decide_equal(s, s->above - s->larger - s->inside);
    else if (s->low > 0)
        begin_round(s, ROUND_HISTOGRAM, 0, s->low - 1);
    else
        take_all(s);
}

static void decide_histogram(struct magnitude_select *s)
{
    uint64_t larger = s->larger;
    size_t bin = BINS - 1;
    while (bin > 0 && larger + s->bins[bin] < s->above)
        larger += s->bins[bin--];
    unsigned shift = bin_shift(s);
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

/* Rounds contradict each other only where somebody changes the data meanwhile: begin again. */
static bool is_contradicted(const struct magnitude_select *s)
{
    return s->round == ROUND_LOCATE || (s->round == ROUND_HISTOGRAM && s->larger >= s->above);
}

bool magnitude_select_decide(struct magnitude_select *s)
{
    if (is_contradicted(s))
        begin_round(s, ROUND_HISTOGRAM, 0, TOP);
    else if (s->round == ROUND_SAMPLE)
        decide_sample(s);
    else if (s->round == ROUND_BRACKET)
        decide_bracket(s);
    else if (s->round == ROUND_HISTOGRAM)
        decide_histogram(s);
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

/* ---- applying ------------------------------------------------------------------------------- */

/* Keeps x where v is larger than `bound`, or where it is not; v may be x. */
TV_CLONES static void keep_larger(const float *v, float *x, size_t n, magnitude bound, bool larger)
{
#pragma GCC ivdep
    for (size_t i = 0; i < n; i++)
        x[i] = (magnitude_of(v[i]) > bound) == larger ? x[i] : 0.0f;
}

void magnitude_cut_apply_by(const struct magnitude_cut *cut, bool keep_above, const float *v,
                            float *x, uint64_t first, size_t n)
{
    magnitude bits = (magnitude)cut->bits;
    bool is_lower = cut->tie_rule == TIE_LOWER_INDEX_WINS;
    if (cut->all || cut->none) {
        if (cut->all != keep_above)
            memset(x, 0, n * sizeof *x);
        return;
    }
    /* Flat indices below `border` are on one side of the cut's own, the rest on the other. */
    uint64_t border = cut->index + is_lower;
    size_t before = border <= first ? 0 : border - first < n ? (size_t)(border - first) : n;
    keep_larger(v, x, before, is_lower ? bits - 1 : bits, keep_above);
    keep_larger(v + before, x + before, n - before, is_lower ? bits : bits - 1, keep_above);
}

void magnitude_cut_apply(const struct magnitude_cut *cut, bool keep_above, float *x, uint64_t first,
                         size_t n)
{
    magnitude_cut_apply_by(cut, keep_above, x, x, first, n);
}
