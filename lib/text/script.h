/* The text form of a stream as a whole (share/text.md): its header, its tensors, and where the rows
 * of each vector stand. Everything a script points to lives in the arena of the header that it was
 * read into; the rows point into the text. */
#ifndef TV_SCRIPT_H
#define TV_SCRIPT_H

#include "header.h"
#include "text.h"

/* A tensor of the text. */
struct script_tensor {
    struct tensor own; /* as its own header will say it; the manifest may have other unknown keys */
    struct text *rows; /* [vector]: standing in its first row */
    size_t line;       /* where the text speaks of it */
};

struct script {
    size_t n_tensors;
    struct script_tensor *tensors;
    size_t n_hashes; /* full hashes of models, for the end record */
    const char **models;
    uint64_t *hashes;
};

/* Walks through all lines; fills in the empty header. The numbers are not looked at. */
int script_read(struct script *s, struct header *h, const unsigned char *bytes, size_t size,
                struct error *e);
/* Lines with rows of a tensor's vector: a line a row; one in all where elements do not fill whole
 * bytes. */
size_t script_rows(const struct tensor *t, enum dtype d);

#endif
