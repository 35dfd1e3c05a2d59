/* The text form of a stream, with all rows. */
#include "fuzz.h"
#include "element_text.h"
#include "text_form_parse.h"

static int read_row(struct text_scanner *row, enum dtype d, struct error *e)
{
    unsigned char element[16];
    while (!text_scanner_at_line_end(row))
        if (element_text_is_hex(d) ? text_scanner_read_hex(row, element, 1, e)
                                   : text_scanner_read_element(row, d, element, e))
            return -1;
    return 0;
}

static void read_rows(const struct text_form_tensor *t, size_t k)
{
    struct error e;
    struct text_scanner row = t->rows[k];
    enum dtype d = t->tensor.vectors[k].dtype;
    for (size_t n = text_form_row_count(&t->tensor, d); n > 0; n--)
        if (read_row(&row, d, &e) || !text_scanner_next_line(&row))
            return;
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct text_form form = {0};
    struct header *h = header_new();
    uint8_t *copy = fuzz_copy(bytes, size);
    if (text_form_parse(&form, h, copy, size, &e) == 0)
        for (size_t i = 0; i < form.n_tensors; i++)
            for (size_t k = 0; k < form.tensors[i].tensor.n_vectors; k++)
                read_rows(&form.tensors[i], k);
    header_free(h);
    free(copy);
}
