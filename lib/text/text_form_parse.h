/* Parsing the text form of a stream (share/text.md): its header and tensors, and the position of
 * each vector's rows. The numbers themselves are parsed later, with text_scanner.h. What a
 * text_form points to lives in the arena of the header that it was read into; the positions point
 * into the text. */
#ifndef TV_TEXT_FORM_PARSE_H
#define TV_TEXT_FORM_PARSE_H

#include "header.h"
#include "text_scanner.h"

/* A tensor of the text. */
struct text_form_tensor {
    struct tensor tensor;      /* of the tensor header; the manifest may have other unknown keys */
    struct text_scanner *rows; /* [vector]: positions of the first rows */
    size_t line;               /* of the tensor in the text */
};

struct text_form {
    size_t n_tensors;
    struct text_form_tensor *tensors;
    size_t n_hashes; /* full hashes of models, for the end record */
    const char **hashed_models;
    uint64_t *hashes;
};

/* Parses all lines except the numbers, and fills in the empty header `h`. */
int text_form_parse(struct text_form *form, struct header *h, const unsigned char *bytes,
                    size_t size, struct error *e);
/* Number of lines with rows of a vector of dtype `d`: one per row, or one in all if an element is
 * smaller than a byte. */
size_t text_form_row_count(const struct tensor *t, enum dtype d);

#endif
