/* Reading a text file line by line. Lines above 1 MiB, files above 256 MiB and zero bytes are
 * errors, and so is a file that changes while it is read. A line is valid until the next
 * line_reader_read_line; line_reader_close closes the file. */
#ifndef TV_LINE_READER_H
#define TV_LINE_READER_H

#include "hash.h"
#include "input_file.h"

#include <stddef.h>
#include <stdio.h>

struct line_reader {
    FILE *file;
    const char *path;
    char *text; /* the line, without its newline */
    size_t line_number, capacity;
    size_t bytes_read;                 /* so far */
    struct input_file_version version; /* when it was opened */
    XXH3_state_t *hash;                /* of the bytes read so far */
};

/* Borrows `path` until line_reader_close. */
int line_reader_open(struct line_reader *l, const char *path, struct error *e);
/* 1: `text` holds the next line; 0: end of file; -1: error. */
int line_reader_read_line(struct line_reader *l, struct error *e);
void line_reader_close(struct line_reader *l);

#endif
