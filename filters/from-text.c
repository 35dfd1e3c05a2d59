/* from-text: convert the text form of a stream to a stream, the inverse of tv-view --values
 *
 *     kind task-vectors            first; or weights, activations
 *     model base role=base         one line per model
 *     model math
 *     tensor w 2x3                 name and shape; then for each of its vectors:
 *     vector math                  its model, dtype (default F32), weight (default 1), ...
 *     1 -2 0.5                     one line per row
 *     0 0.25 3
 *
 *     from-text lesson.txt | trim --density 0.5 | tv-view --values
 *
 * Blank lines are ignored, and so is the rest of a line after a # at the start of a word;
 * share/text.md describes the text form. The history is copied from the text; from-text adds no
 * step.
 *
 * A stream lists all tensors at its start, so the text is read twice: open parses everything but
 * the numbers, begin parses the numbers of a tensor and holds them. Standard input is first copied
 * to a temporary file.
 */
#include "filter.h"
#include "mapped_file.h"
#include "source_sink_services.h"
#include "text_form_parse.h"
#include "spool.h"

#include <stdlib.h>

#define BUFFERED 1024 /* elements parsed before they are written to the spool */

struct source {
    struct mapped_file file;
    struct text_form form;
};

/* The parsed numbers of one tensor, one vector after another. */
struct numbers {
    struct spool *spool;
    uint64_t *offsets; /* [vector]: of its first byte */
};

/* ---- rows ---------------------------------------------------------------------------------- */

/* Parses a row of n elements of whole bytes and writes them to the spool. */
static int parse_row_to_spool(struct text_scanner *t, enum dtype d, size_t n, struct spool *to,
                              uint64_t offset, struct error *e)
{
    unsigned char buffer[BUFFERED * 8];
    size_t size = dtype_bits(d) / 8, buffered = 0;
    for (size_t i = 0; i < n; i++) {
        if (text_scanner_at_line_end(t))
            return text_scanner_set_error(t, e, "expected %zu numbers in the row, found %zu", n, i);
        if (text_scanner_read_element(t, d, buffer + buffered * size, e))
            return -1;
        if (++buffered < BUFFERED && i + 1 < n)
            continue;
        if (spool_write_at(to, offset, buffer, buffered * size, e))
            return -1;
        offset += buffered * size;
        buffered = 0;
    }
    return text_scanner_at_line_end(t)
               ? 0
               : text_scanner_set_error(t, e, "expected %zu numbers in the row, found more", n);
}

/* Parses the single row of a vector whose elements are smaller than a byte. */
static int parse_packed_row_to_spool(struct text_scanner *t, size_t size, struct spool *to,
                                     uint64_t offset, struct error *e)
{
    unsigned char *bytes = mem_alloc(size, 1);
    int failed =
        text_scanner_read_hex(t, bytes, size, e) || spool_write_at(to, offset, bytes, size, e);
    free(bytes);
    if (failed)
        return -1;
    return text_scanner_at_line_end(t)
               ? 0
               : text_scanner_set_error(t, e, "expected one word in the row, found more");
}

/* Parses all rows of a vector. */
static int parse_vector_to_spool(const struct tensor *t, enum dtype d, struct text_scanner rows,
                                 struct spool *to, uint64_t offset, struct error *e)
{
    size_t n_rows = text_form_row_count(t, d), columns = tensor_columns(t);
    for (size_t i = 0; i < n_rows; i++) {
        int failed;
        if (dtype_bits(d) % 8)
            failed =
                parse_packed_row_to_spool(&rows, dtype_bytes(d, tensor_elements(t)), to, offset, e);
        else
            failed =
                parse_row_to_spool(&rows, d, columns, to, offset + i * dtype_bytes(d, columns), e);
        if (failed)
            return -1;
        text_scanner_next_line(&rows);
    }
    return 0;
}

/* ---- the functions of the descriptor ------------------------------------------------------- */

static int open(struct stage *s, struct header *h, struct error *e)
{
    struct source *source = s->data = mem_alloc(1, sizeof *source);
    const char *path = s->operands.n ? s->operands.items[0] : "-";
    if (mapped_file_open(&source->file, path, s->common.spool, NULL, e))
        return -1;
    return text_form_parse(&source->form, h, source->file.bytes, source->file.size, e);
}

static int begin_tensor(struct job *job, struct error *e)
{
    struct source *source = job->stage->data;
    const struct text_form_tensor *form = &source->form.tensors[job->index];
    const struct tensor *t = &form->tensor;
    struct numbers *numbers = job->state = mem_alloc(1, sizeof *numbers);
    uint64_t size = 0;
    *job->out = tensor_copy(job->arena, t);
    numbers->offsets = arena_alloc(job->arena, t->n_vectors, sizeof *numbers->offsets);
    for (size_t k = 0; k < t->n_vectors; k++) {
        numbers->offsets[k] = size;
        size += dtype_bytes(t->vectors[k].dtype, tensor_elements(t));
    }
    numbers->spool = spool_new(job->stage->common.memory, job->stage->common.spool);
    int failed = spool_reserve(numbers->spool, size, e);
    for (size_t k = 0; k < t->n_vectors && !failed; k++)
        failed = parse_vector_to_spool(t, t->vectors[k].dtype, form->rows[k], numbers->spool,
                                       numbers->offsets[k], e);
    return failed ? -1 : PLAN_TRANSFORM;
}

static int fill_block(const struct job *job, struct block *b, struct error *e)
{
    const struct numbers *numbers = job->state;
    for (size_t k = 0; k < b->n_vectors; k++) {
        uint64_t offset = numbers->offsets[k] + dtype_bytes(b->dtypes[k], b->first);
        if (spool_read_at(numbers->spool, offset, b->data[k], dtype_bytes(b->dtypes[k], b->n), e))
            return -1;
    }
    return 0;
}

static int end_tensor(struct job *job, bool ok, struct error *e)
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
    const struct text_form *form = &source->form;
    for (size_t i = 0; ok && i < form->n_hashes; i++)
        source_sink_services_add_model_hash(s, form->hashed_models[i], form->hashes[i]);
    const char *path = s->operands.n ? s->operands.items[0] : "-";
    int failed = ok ? mapped_file_check_unchanged(&source->file, path, e) : 0;
    mapped_file_close(&source->file);
    free(source);
    return failed;
}

const struct filter filter_from_text = {
    .name = "from-text",
    .summary = "Read a stream from its text form",
    .step = STEP_READ,
    .operands = "[FILE]",
    .notes = "Without FILE, reads standard input. The inverse of tv-view --values.\n\n"
             "  from-text lesson.txt | trim --density 0.5 | tv-view --values",
    .max_operands = 1,
    .role = ROLE_SOURCE,
    .raw_payload = true,
    .no_history_step = true,
    .open = open,
    .begin_tensor = begin_tensor,
    .source.fill_block = fill_block,
    .end_tensor = end_tensor,
    .close = close,
};
