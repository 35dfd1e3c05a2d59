/* A text file, line by line. Lines and files without an end are refused, and zero bytes. A line
 * lives until the next; the file is closed with line_reader_close. */
#ifndef TV_LINE_READER_H
#define TV_LINE_READER_H

#include "error.h"

#include <stddef.h>
#include <stdio.h>

struct line_reader {
    FILE *file;
    const char *path;
    char *text; /* the line, without its newline */
    size_t line_number, capacity;
    size_t bytes_read; /* of what was read */
};

int line_reader_open(struct line_reader *l, const char *path, struct error *e);
/* 1: the next line; 0: there is none; -1. */
int line_reader_next(struct line_reader *l, struct error *e);
void line_reader_close(struct line_reader *l);

#endif
