/* Formats of weights and archives that are not supported, recognized by content or by name, so that
 * an error says what a file is and what to do. Sources: the formats' documents, named in the .c. */
#ifndef TV_FOREIGN_FORMAT_H
#define TV_FOREIGN_FORMAT_H

#include "error.h"
#include "zip.h"

#include <stdbool.h>
#include <stddef.h>

struct foreign_format {
    const char *what;   /* "an ONNX model" */
    const char *advice; /* what to do; starts with a verb */
};

/* From the first 512 bytes or more of a file; NULL if they are of no such format. */
const struct foreign_format *foreign_format_detect(const unsigned char *bytes, size_t n);
/* From the records of a zip. */
const struct foreign_format *foreign_format_of_zip(const struct zip *z);
/* From the name of a file. */
const struct foreign_format *foreign_format_of_name(const char *name);
/* The same; NULL if the contents were recognized, unless the name says that the file is only a part
 * of a checkpoint. */
const struct foreign_format *foreign_format_of_file(const char *name, bool recognized);

/* "FILE is an ONNX model; ADVICE"; returns -1. */
int foreign_format_set_error(const char *file, const struct foreign_format *f, struct error *e);

#endif
