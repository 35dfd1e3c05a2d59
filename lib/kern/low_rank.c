#include "low_rank.h"

#include "simd.h"

#include <string.h>

#define PANEL LOW_RANK_PANEL
#define ROWS  (LOW_RANK_PADDING + 1) /* whose sums are in registers together */

size_t low_rank_packed_size(size_t rank, size_t columns)
{
    return (columns + PANEL - 1) / PANEL * PANEL * rank;
}

void low_rank_pack(const double *right, size_t row, size_t column, size_t rank, size_t columns,
                   double *packed)
{
    for (size_t first = 0; first < columns; first += PANEL)
        for (size_t k = 0; k < rank; k++)
            for (size_t j = first; j < first + PANEL; j++)
                *packed++ = j < columns ? right[k * row + j * column] : 0.0;
}

/* Four doubles, and four floats. */
typedef double lane __attribute__((vector_size(32), aligned(8), may_alias));
typedef float float_lane __attribute__((vector_size(16), aligned(4), may_alias));

#define LANES (PANEL / 4)

/* product[i][j] = scale * sum over k of left[i][k] panel[k][j], for ROWS rows. */
TV_INLINE void multiply_panel(const double *restrict left, const double *restrict panel,
                              size_t rank, double scale, lane (*restrict product)[LANES])
{
    lane sum[ROWS][LANES] = {{{0}}};
    for (size_t k = 0; k < rank; k++) {
        const lane *right = (const lane *)(panel + k * PANEL);
        for (size_t i = 0; i < ROWS; i++)
            for (size_t j = 0; j < LANES; j++)
                sum[i][j] += left[i * rank + k] * right[j];
    }
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < LANES; j++)
            product[i][j] = scale * sum[i][j];
}

/* The rectangle of the product that is computed: `rows` rows from `left` on, their columns
 * first ... end - 1. */
struct rectangle {
    const double *left, *packed;
    size_t rank, columns, rows, first, end;
    double scale;
};

/* The columns of a panel that are in the rectangle. */
struct stretch {
    size_t begin, end; /* columns of the panel */
    size_t at;         /* of `begin`, from the rectangle's first column on */
};

TV_INLINE struct stretch get_stretch(const struct rectangle *r, size_t panel)
{
    size_t start = panel * PANEL;
    size_t begin = start > r->first ? start : r->first;
    size_t end = start + PANEL < r->end ? start + PANEL : r->end;
    return (struct stretch){begin - start, end - start, begin - r->first};
}

/* `to` is the rectangle's first element, whose rows are as long as those of the product. */
TV_CLONES_AVX2 static void add_rectangle(const struct rectangle *r, double *to)
{
    lane product[ROWS][LANES];
    for (size_t panel = r->first / PANEL; panel * PANEL < r->end; panel++) {
        const struct stretch s = get_stretch(r, panel);
        for (size_t row = 0; row < r->rows; row += ROWS) {
            size_t n = r->rows - row < ROWS ? r->rows - row : ROWS;
            multiply_panel(r->left + row * r->rank, r->packed + panel * PANEL * r->rank, r->rank,
                           r->scale, product);
            for (size_t i = 0; i < n; i++) {
                double *out = to + (row + i) * r->columns + s.at;
                for (size_t j = s.begin; j < s.end; j++)
                    out[j - s.begin] += ((const double *)product[i])[j];
            }
        }
    }
}

TV_CLONES_AVX2 static void write_rectangle(const struct rectangle *r, float *to)
{
    lane product[ROWS][LANES];
    for (size_t panel = r->first / PANEL; panel * PANEL < r->end; panel++) {
        const struct stretch s = get_stretch(r, panel);
        for (size_t row = 0; row < r->rows; row += ROWS) {
            size_t n = r->rows - row < ROWS ? r->rows - row : ROWS;
            float *out = to + row * r->columns + s.at;
            multiply_panel(r->left + row * r->rank, r->packed + panel * PANEL * r->rank, r->rank,
                           r->scale, product);
            if (n == ROWS && s.end - s.begin == PANEL) {
                for (size_t i = 0; i < ROWS; i++)
                    for (size_t j = 0; j < LANES; j++)
                        *(float_lane *)(out + i * r->columns + 4 * j) =
                            __builtin_convertvector(product[i][j], float_lane);
                continue;
            }
            for (size_t i = 0; i < n; i++)
                for (size_t j = s.begin; j < s.end; j++)
                    out[i * r->columns + j - s.begin] = (float)((const double *)product[i])[j];
        }
    }
}

/* The rectangle from flat index `first` on, of at most n elements: whole rows, or a part of one. */
static struct rectangle get_rectangle(const struct low_rank *m, size_t first, size_t n)
{
    size_t row = first / m->columns, column = first % m->columns;
    struct rectangle r = {.left = m->left + row * m->rank,
                          .packed = m->packed,
                          .rank = m->rank,
                          .columns = m->columns,
                          .rows = 1,
                          .first = column,
                          .end = m->columns,
                          .scale = m->scale};
    if (column == 0 && n >= m->columns)
        r.rows = n / m->columns;
    else if (n < m->columns - column)
        r.end = column + n;
    return r;
}

void low_rank_add(const struct low_rank *m, size_t first, size_t n, double *to)
{
    for (size_t done = 0; done < n;) {
        const struct rectangle r = get_rectangle(m, first + done, n - done);
        add_rectangle(&r, to + done);
        done += r.rows * (r.end - r.first);
    }
}

void low_rank_write(const struct low_rank *m, size_t first, size_t n, float *to)
{
    for (size_t done = 0; done < n;) {
        const struct rectangle r = get_rectangle(m, first + done, n - done);
        write_rectangle(&r, to + done);
        done += r.rows * (r.end - r.first);
    }
}
