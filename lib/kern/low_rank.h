/* Elements of a low-rank matrix, the product of two factors, in double.
 *
 * Each element is a sum in the order of the rank, so that every processor gets the same bytes. */
#ifndef TV_LOW_RANK_H
#define TV_LOW_RANK_H

#include <stddef.h>

#define LOW_RANK_PANEL   12 /* columns of the right factor that are stored together */
#define LOW_RANK_PADDING 3  /* rows behind the left factor */

/* The number of doubles of a packed right factor. */
size_t low_rank_packed_size(size_t rank, size_t columns);
/* Packs the right factor (rank, columns), of which element (k, j) is right[k * row + j * column]:
 * panels of LOW_RANK_PANEL columns, each (rank, LOW_RANK_PANEL), the last one filled with zeros. */
void low_rank_pack(const double *right, size_t row, size_t column, size_t rank, size_t columns,
                   double *packed);
/* scale * left right, of `columns` columns. */
struct low_rank {
    /* (rows, rank), dense, followed by LOW_RANK_PADDING rows that are read but not used. */
    const double *left;
    const double *packed; /* the right factor */
    size_t rank, columns;
    double scale;
};

/* Adds n elements of the product, from flat index `first` on, to `to`. */
void low_rank_add(const struct low_rank *m, size_t first, size_t n, double *to);
/* Writes them, rounded to F32. */
void low_rank_write(const struct low_rank *m, size_t first, size_t n, float *to);

#endif
