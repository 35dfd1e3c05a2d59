/* A text file, line by line. Lines and files without an end are refused, and zero bytes. A line
 * lives until the next; the file is closed with lines_close. */
#ifndef TV_LINES_H
#define TV_LINES_H

#include "error.h"

#include <stddef.h>
#include <stdio.h>

struct lines {
    FILE *file;
    const char *path;
    char *text; /* the line, without its newline */
    size_t number, room;
    size_t size; /* of what was read */
};

int lines_open(struct lines *l, const char *path, struct error *e);
/* 1: the next line; 0: there is none; -1. */
int lines_next(struct lines *l, struct error *e);
void lines_close(struct lines *l);

#endif
