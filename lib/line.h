/* A pipeline as one line of text, with the shell's quoting and <( ... ), and no other of the
 * shell's expansions. A line lives in the arena that it was parsed into. */
#ifndef TV_LINE_H
#define TV_LINE_H

#include "error.h"
#include "mem.h"

#include <stddef.h>

/* A word; where it ends in <( LINE ), `text` is what stands before that ("name="), `inner` the line
 * between the parentheses. */
struct word {
    const char *text;
    struct line *inner; /* NULL: a plain word */
};

struct command {
    size_t n;
    struct word *words; /* at least one */
};

struct line {
    size_t n;
    struct command *commands; /* with a | between each two */
};

/* NULL on error: an open quote, an empty command, a character that the shell would act on and this
 * parser does not ($, `, ;, &, <, >, parentheses outside quotes). */
struct line *line_parse(const char *text, struct arena *a, struct error *e);

#endif
