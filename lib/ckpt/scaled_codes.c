#include "scaled_codes.h"

#include "hash.h"
#include "quantized_codes.h"

#include <math.h>
#include <string.h>

/* Where the scale of each element is: a weight is one or more matrices of rows x columns. */
struct scale_grid {
    enum dtype codes, dtype;     /* of the weight; of the scales */
    const unsigned char *scales; /* [matrix][grid row][grid column]; NULL: all are 1 */
    uint64_t rows, columns;
    struct scale_block block;
    uint64_t grid_rows, grid_columns;
    uint64_t matrix_scales; /* scales of a matrix; 0: all matrices have the same one */
};

/* ---- scales ---------------------------------------------------------------------------------- */

static float read_scale(const struct scale_grid *g, uint64_t i)
{
    float scale = 1;
    if (!g->scales)
        return scale;
    if (g->dtype == DTYPE_F8_E8M0)
        return quantized_codes_e8m0_to_f32(g->scales[i]);
    dtype_to_f32(g->dtype, g->scales + i * (dtype_bits(g->dtype) / 8), &scale, 1);
    return scale;
}

/* Sets the dtype of the scales. */
static int check_scale_dtype(const char *path, const struct quantization_config *q,
                             const struct stored_tensor *scale, struct scale_grid *g,
                             struct error *e)
{
    g->dtype = scale->dtype;
    if (scale->dtype == DTYPE_U8 && q->has_ue8m0_scales)
        g->dtype = DTYPE_F8_E8M0;
    if (g->dtype != DTYPE_F32 && g->dtype != DTYPE_BF16 && g->dtype != DTYPE_F16 &&
        g->dtype != DTYPE_F8_E8M0)
        return error_set(e,
                         "%s: tensor %.200s has scales of dtype %s; they must be F32, BF16, F16 "
                         "or F8_E8M0",
                         path, scale->name, dtype_name(scale->dtype));
    if (scale->stride)
        return error_set(e, "%s: tensor %.200s is a strided view; scales must be contiguous", path,
                         scale->name);
    return 0;
}

static int check_scales(const char *path, const struct stored_tensor *scale,
                        const struct scale_grid *g, struct error *e)
{
    for (size_t i = 0; i < scale->elements; i++) {
        float x = read_scale(g, i);
        if (!isfinite(x) || x < 0)
            return error_set(e, "%s: tensor %.200s has the scale %g at flat index %zu", path,
                             scale->name, (double)x, i);
    }
    return 0;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static uint64_t ceil_quotient(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/* Does the shape consist of the leading dimensions of the weight, then these two? The last one may
 * be missing if it is 1. */
static bool has_grid_shape(const struct stored_tensor *weight, const struct stored_tensor *scale,
                           uint64_t rows, uint64_t columns)
{
    size_t leading = weight->rank > 2 ? weight->rank - 2 : 0;
    for (size_t d = 0; d < leading && d < scale->rank; d++)
        if (scale->shape[d] != weight->shape[d])
            return false;
    if (scale->rank == leading + 1)
        return columns == 1 && scale->shape[leading] == rows;
    return scale->rank == leading + 2 && scale->shape[leading] == rows &&
           scale->shape[leading + 1] == columns;
}

static bool has_block(const struct stored_tensor *weight, const struct stored_tensor *scale,
                      const struct scale_grid *g, struct scale_block b)
{
    return has_grid_shape(weight, scale, ceil_quotient(g->rows, b.rows),
                          ceil_quotient(g->columns, b.columns));
}

static void set_block(struct scale_grid *g, struct scale_block b)
{
    g->block = b;
    g->grid_rows = ceil_quotient(g->rows, b.rows);
    g->grid_columns = ceil_quotient(g->columns, b.columns);
    g->matrix_scales = g->grid_rows * g->grid_columns;
}

/* Finds the block size of the config that fits the grid of scales. */
static int find_block(const char *path, const struct quantization_config *q,
                      const struct stored_tensor *weight, const struct stored_tensor *scale,
                      struct scale_grid *g, struct error *e)
{
    const struct scale_block *found = NULL;
    for (size_t i = 0; i < q->n_blocks; i++) {
        const struct scale_block *b = &q->blocks[i];
        if (!has_block(weight, scale, g, *b))
            continue;
        if (found)
            return error_set(
                e,
                "%s: the scales %.200s fit several block sizes of the config, %llux%llu "
                "and %llux%llu",
                path, scale->name, (unsigned long long)found->rows,
                (unsigned long long)found->columns, (unsigned long long)b->rows,
                (unsigned long long)b->columns);
        found = b;
    }
    if (found) {
        set_block(g, *found);
        return 0;
    }
    if (q->n_blocks == 0)
        return error_set(
            e,
            "%s: the scales %.200s are neither one nor one per row, and no config.json "
            "gives the size of their blocks (weight_block_size)",
            path, scale->name);
    return error_set(e, "%s: the scales %.200s are not one per block of %llux%llu, the size in %s",
                     path, scale->name, (unsigned long long)q->blocks[0].rows,
                     (unsigned long long)q->blocks[0].columns, q->file);
}

/* Finds the scheme: the size of blocks, and how many there are. */
static int find_scheme(const char *path, const struct quantization_config *q,
                       const struct stored_tensor *weight, const struct stored_tensor *scale,
                       struct scale_grid *g, struct error *e)
{
    const struct scale_block matrix = {g->rows ? g->rows : 1, g->columns ? g->columns : 1};
    const struct scale_block row = {1, matrix.columns};
    if (!scale || scale->elements == 1) {
        set_block(g, matrix);
        g->matrix_scales = 0;
        return 0;
    }
    if (!has_grid_shape(weight, scale, g->rows, 1))
        return find_block(path, q, weight, scale, g, e);
    set_block(g, row);
    return 0;
}

/* ---- decoding -------------------------------------------------------------------------------- */

/* n elements of a row, from a column on, with the scales of the row from index `scale` on. */
static void decode_part_of_row(const struct scale_grid *g, const unsigned char *codes,
                               uint64_t scale, size_t column, size_t n, float *to)
{
    size_t i = column / g->block.columns, end = (i + 1) * g->block.columns - column;
    for (size_t done = 0; done < n; i++, end += g->block.columns) {
        size_t run = (end < n ? end : n) - done;
        quantized_codes_to_f32(g->codes, codes + done, read_scale(g, scale + i), to + done, run);
        done += run;
    }
}

static void decode(const struct stored_tensor *t, size_t first, size_t n, void *to)
{
    const struct scale_grid *g = t->encoding->context;
    float *out = to;
    while (n > 0) {
        size_t row = first / g->columns, column = first % g->columns;
        size_t matrix = row / g->rows, grid_row = row % g->rows / g->block.rows;
        size_t run = g->columns - column < n ? g->columns - column : n;
        uint64_t scale = matrix * g->matrix_scales + grid_row * g->grid_columns;
        decode_part_of_row(g, t->data + first, scale, column, run, out);
        first += run;
        out += run;
        n -= run;
    }
}

/* ---- the encoding ---------------------------------------------------------------------------- */

/* Relative errors of codes for a normally distributed matrix of 4096 x 4096, whose scales make the
 * largest element of each 128x128 block (I8: of each row) the largest code. */
static double relative_error_of(enum dtype codes)
{
    return codes == DTYPE_F8_E4M3 ? 0.026 : codes == DTYPE_F8_E5M2 ? 0.053 : 0.009;
}

static const char *format_name(const struct scale_grid *g, struct arena *a)
{
    const char *codes = g->codes == DTYPE_F8_E4M3   ? "FP8 E4M3"
                        : g->codes == DTYPE_F8_E5M2 ? "FP8 E5M2"
                                                    : "INT8";
    unsigned long long rows = g->block.rows, columns = g->block.columns;
    if (!g->scales)
        return arena_printf(a, "%s (no scales)", codes);
    if (g->matrix_scales == 0)
        return arena_printf(a, "%s (one scale)", codes);
    if (rows == 1 && columns >= g->columns)
        return arena_printf(a, "%s (row scales)", codes);
    if (rows == 1)
        return arena_printf(a, "%s (groups of %llu)", codes, columns);
    return arena_printf(a, "%s (%llux%llu blocks)", codes, rows, columns);
}

static uint64_t hash_of(const struct scale_grid *g, const struct stored_tensor *scale)
{
    const uint64_t scheme[] = {g->codes, g->dtype, g->block.rows, g->block.columns,
                               g->matrix_scales};
    uint64_t hash = XXH3_64bits(scheme, sizeof scheme);
    return scale ? XXH3_64bits_withSeed(g->scales, dtype_bytes(scale->dtype, scale->elements), hash)
                 : hash;
}

/* The grid of a weight, without its scales. */
static struct scale_grid make_grid(const struct stored_tensor *t)
{
    struct scale_grid g = {.codes = t->dtype, .rows = 1, .columns = 1};
    if (t->rank > 1)
        g.rows = t->shape[t->rank - 2];
    if (t->rank > 0)
        g.columns = t->shape[t->rank - 1];
    return g;
}

int scaled_codes_set_encoding(const char *path, const struct quantization_config *q,
                              struct stored_tensor *weight, const struct stored_tensor *scale,
                              struct arena *a, struct error *e)
{
    struct scale_grid g = make_grid(weight);
    if (weight->stride)
        return error_set(e,
                         "%s: tensor %.200s is a strided view; quantized weights must be "
                         "contiguous",
                         path, weight->name);
    if (scale && check_scale_dtype(path, q, scale, &g, e))
        return -1;
    g.scales = scale ? scale->data : NULL;
    if (find_scheme(path, q, weight, scale, &g, e) || (scale && check_scales(path, scale, &g, e)))
        return -1;
    const struct tensor_encoding encoding = {.name = format_name(&g, a),
                                             .relative_error = relative_error_of(g.codes),
                                             .block_elements = 1,
                                             .block_bytes = 1,
                                             .hash = hash_of(&g, scale),
                                             .decode = decode,
                                             .context = arena_copy(a, &g, sizeof g)};
    weight->encoding = arena_copy(a, &encoding, sizeof encoding);
    weight->dtype = DTYPE_F32;
    return 0;
}
