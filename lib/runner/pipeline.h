/* A pipeline as a line of text, with the shell's quoting and <( ... ), and no other of the shell's
 * expansions. A line lives in the arena that it was parsed into, or made in. */
#ifndef TV_PIPELINE_H
#define TV_PIPELINE_H

#include "error.h"
#include "mem.h"

#include <stddef.h>
#include <stdio.h>

/* A word; where it has a <( LINE ) in it, `text` is what stands before that ("name="), `inner` the
 * line between the parentheses, `after` what follows ("[0:2]"). */
struct pipeline_word {
    const char *text;
    struct pipeline *substitution; /* NULL: a plain word */
    const char *suffix;
};

struct pipeline_command {
    size_t n;
    struct pipeline_word *words; /* at least one */
};

struct pipeline {
    size_t n;
    struct pipeline_command *commands; /* with a | between each two */
};

/* NULL on error: an open quote, an empty command, a character that the shell would act on and this
 * parser does not ($, `, ;, &, <, >, parentheses outside quotes). */
struct pipeline *pipeline_parse(const char *text, struct arena *a, struct error *e);

/* Making a line word by word: commands and words are added at the end. */
struct pipeline_command *pipeline_add_command(struct pipeline *l, const char *name,
                                              struct arena *a);
void pipeline_add_word(struct pipeline_command *c, const char *text, struct arena *a);
struct pipeline_word *pipeline_add_empty_word(struct pipeline_command *c, struct arena *a);

/* The line as a person reads it and a shell or pipeline_parse takes it: a command on each line of
 * text, quoted where needed. All but the first are indented by 4 more than `indent`. */
void pipeline_print(const struct pipeline *l, int indent, FILE *f);

#endif
