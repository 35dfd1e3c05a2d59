/* Long rows for filters of scope row: blocks are parts of such a row, so the input of the stage is
 * held as F32 (scratch.h), the stage observes and transforms it row by row, and the stages after it
 * read the result in blocks. Rows of up to HELD_ROWS_BLOCK_MAX elements are never split and not
 * held. */
#ifndef TV_HELD_ROWS_H
#define TV_HELD_ROWS_H

#include "block_buffers.h"
#include "scratch.h"

#define HELD_ROWS_BLOCK_MAX ((size_t)1 << 20)   /* share/stream.md, "Blocks" */
#define HELD_ROWS_MAX       ((size_t)INT32_MAX) /* elements of a row that filters can rank */

/* Zeroed it holds nothing. Owns its memory until held_rows_release. */
struct held_rows {
    size_t stage; /* whose input or result it is; 0: none */
    size_t elements, columns;
    struct scratch memory;
};

/* Reserves memory for tensor t as it arrives at a stage, within the stage's --memory. */
int held_rows_reserve(struct held_rows *h, size_t stage, const struct tensor *t,
                      const struct common_options *o, struct error *e);
void held_rows_release(struct held_rows *h);
/* The elements of vector k from flat index `first` on. */
float *held_rows_at(const struct held_rows *h, size_t k, size_t first);
/* Stores a block, whose payload is F32. */
void held_rows_store_block(const struct held_rows *h, const struct block *b);
/* Makes the buffer's block block `index` of t, at least `sample_elements` of it (0: all). */
void held_rows_load_block(const struct held_rows *h, const struct tensor *t, size_t index,
                          size_t sample_elements, struct block_buffer *b);

#endif
