/* The text form of a stream as a whole (share/text.md): its header, its tensors, and where the rows
 * of each vector stand. Everything a script points to lives in the arena of the header that it was
 * read into; the rows point into the text. */
#ifndef TV_TEXT_FORM_H
#define TV_TEXT_FORM_H

#include "header.h"
#include "text_scanner.h"

/* A tensor of the text. */
struct text_form_tensor {
    struct tensor
        tensor; /* as its own header will say it; the manifest may have other unknown keys */
    struct text_scanner *rows; /* [vector]: standing in its first row */
    size_t line;               /* where the text speaks of it */
};

struct text_form {
    size_t n_tensors;
    struct text_form_tensor *tensors;
    size_t n_hashes; /* full hashes of models, for the end record */
    const char **models;
    uint64_t *hashes;
};

/* Walks through all lines; fills in the empty header. The numbers are not looked at. */
int text_form_read(struct text_form *s, struct header *h, const unsigned char *bytes, size_t size,
                   struct error *e);
/* Lines with rows of a tensor's vector: a line a row; one in all where elements do not fill whole
 * bytes. */
size_t text_form_row_count(const struct tensor *t, enum dtype d);

#endif
