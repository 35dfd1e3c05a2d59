/* from-text: a stream out of its text form, the inverse of tv-view --values
 *
 *     kind task-vectors            first; or weights, activations
 *     model base role=base         each model of the stream
 *     model math
 *     tensor w 2x3                 name and shape; then for each of its vectors:
 *     vector math                  whose it is, and what is not as usual (BF16, weight=0.5, ...)
 *     1 -2 0.5                     a line for each row
 *     0 0.25 3
 *
 *     from-text lesson.txt | trim --density 0.5 | tv-view --values
 *
 * Blank lines mean nothing, nor does what follows a # at the start of a word; share/text.md has the
 * rest. The history is the text's own: writing a stream down and reading it back is no step.
 *
 * A text names its tensors one by one, a stream all of them at its start. So the lines are walked
 * through twice: for the structure in open, for a tensor's numbers in begin, which holds them. What
 * comes through a pipe lies in a temporary file meanwhile.
 */
#include "filter.h"
#include "mapped_file.h"
#include "run_context.h"
#include "text_form.h"
#include "spool.h"

#include <stdlib.h>

#define PIECE 1024 /* elements converted at a time */

struct source {
    struct mapped_file file;
    struct text_form script;
};

/* The numbers of one tensor, vector after vector. */
struct numbers {
    struct spool *spool;
    uint64_t *at; /* [vector]: where its bytes start */
};

/* ---- rows ---------------------------------------------------------------------------------- */

/* A row of n elements of whole bytes. */
static int read_row(struct text_scanner *t, enum dtype d, size_t n, struct spool *to, uint64_t at,
                    struct error *e)
{
    unsigned char piece[PIECE * 8];
    size_t size = dtype_bits(d) / 8, held = 0;
    for (size_t i = 0; i < n; i++) {
        if (text_scanner_at_line_end(t))
            return text_scanner_error(t, e, "%zu numbers in a row of %zu", i, n);
        if (text_scanner_read_element(t, d, piece + held * size, e))
            return -1;
        if (++held < PIECE && i + 1 < n)
            continue;
        if (spool_write(to, at, piece, held * size, e))
            return -1;
        at += held * size;
        held = 0;
    }
    return text_scanner_at_line_end(t)
               ? 0
               : text_scanner_error(t, e, "more than %zu numbers in a row", n);
}

/* All elements of a vector whose elements do not fill whole bytes. */
static int read_packed(struct text_scanner *t, size_t size, struct spool *to, uint64_t at,
                       struct error *e)
{
    unsigned char *bytes = mem_alloc(size, 1);
    int failed = text_scanner_read_hex(t, bytes, size, e) || spool_write(to, at, bytes, size, e);
    free(bytes);
    if (failed)
        return -1;
    return text_scanner_at_line_end(t)
               ? 0
               : text_scanner_error(t, e, "more than one word in a packed row");
}

static int read_vector(const struct tensor *t, enum dtype d, struct text_scanner rows,
                       struct spool *to, uint64_t at, struct error *e)
{
    size_t n_rows = text_form_row_count(t, d), columns = tensor_columns(t);
    for (size_t i = 0; i < n_rows; i++) {
        int failed = dtype_bits(d) % 8
                         ? read_packed(&rows, dtype_bytes(d, tensor_elements(t)), to, at, e)
                         : read_row(&rows, d, columns, to, at + i * dtype_bytes(d, columns), e);
        if (failed)
            return -1;
        text_scanner_next_line(&rows);
    }
    return 0;
}

/* ---- the filter's life --------------------------------------------------------------------- */

static int open(struct stage *s, struct header *h, struct error *e)
{
    struct source *source = s->data = mem_alloc(1, sizeof *source);
    const char *path = s->operands.n ? s->operands.items[0] : "-";
    if (mapped_file_open(&source->file, path, s->common.spool, NULL, e))
        return -1;
    return text_form_read(&source->script, h, source->file.bytes, source->file.size, e);
}

static int begin(struct job *job, struct error *e)
{
    struct source *source = job->stage->data;
    const struct text_form_tensor *from = &source->script.tensors[job->index];
    const struct tensor *t = &from->tensor;
    struct numbers *numbers = job->state = mem_alloc(1, sizeof *numbers);
    size_t n = tensor_elements(t);
    uint64_t size = 0;
    *job->out = tensor_copy(job->arena, t);
    numbers->at = arena_alloc(job->arena, t->n_vectors, sizeof *numbers->at);
    for (size_t k = 0; k < t->n_vectors; k++) {
        numbers->at[k] = size;
        size += dtype_bytes(t->vectors[k].dtype, n);
    }
    numbers->spool = spool_new(job->stage->common.memory, job->stage->common.spool);
    int failed = spool_reserve(numbers->spool, size, e);
    for (size_t k = 0; k < t->n_vectors && !failed; k++)
        failed =
            read_vector(t, t->vectors[k].dtype, from->rows[k], numbers->spool, numbers->at[k], e);
    return failed ? -1 : PLAN_TRANSFORM;
}

static int fill(const struct job *job, struct block *b, struct error *e)
{
    const struct numbers *numbers = job->state;
    for (size_t k = 0; k < b->n_vectors; k++)
        if (spool_read(numbers->spool, numbers->at[k] + dtype_bytes(b->dtypes[k], b->first),
                       b->data[k], dtype_bytes(b->dtypes[k], b->n), e))
            return -1;
    return 0;
}

static int end(struct job *job, bool ok, struct error *e)
{
    struct numbers *numbers = job->state;
    if (numbers)
        spool_free(numbers->spool);
    free(numbers);
    return 0;
}

static int close(struct stage *s, bool ok, struct error *e)
{
    struct source *source = s->data;
    const struct text_form *script = &source->script;
    for (size_t i = 0; ok && i < script->n_hashes; i++)
        run_context_add_model_hash(s, script->models[i], script->hashes[i]);
    mapped_file_close(&source->file);
    free(source);
    return 0;
}

const struct filter filter_from_text = {
    .name = "from-text",
    .summary = "Read a stream from its text form",
    .operands = "[FILE]",
    .notes = "Reads standard input without FILE. The inverse of tv-view --values.\n"
             "Example: from-text lesson.txt | trim --density 0.5 | tv-view --values",
    .max_operands = 1,
    .role = ROLE_SOURCE,
    .raw_payload = true,
    .no_history_step = true,
    .open = open,
    .begin = begin,
    .source.fill = fill,
    .end = end,
    .close = close,
};
