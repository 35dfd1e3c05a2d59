/* A pipeline of commands, as text and parsed: the shell's |, quotes, backslashes and <( ... ), and
 * no other of its expansions. A pipeline lives in the arena that it was parsed or built in. */
#ifndef TV_PIPELINE_H
#define TV_PIPELINE_H

#include "error.h"
#include "mem.h"

#include <stddef.h>
#include <stdio.h>

/* A word of a command, which may contain one <( ... ). */
struct pipeline_word {
    const char *text;              /* the word, or what comes before its <( ("name=") */
    struct pipeline *substitution; /* what is between the parentheses; NULL: a plain word */
    const char *suffix;            /* what comes after the ) ("[0:2]") */
};

struct pipeline_command {
    size_t n;
    struct pipeline_word *words; /* at least one */
    size_t capacity;
};

struct pipeline {
    size_t n;
    struct pipeline_command *commands; /* at least one */
    size_t capacity;
};

/* Parses the text. NULL on error: an unterminated quote, an empty command, or a character outside
 * quotes that only a shell would act on ($, `, ;, &, <, >, parentheses). */
struct pipeline *pipeline_parse(const char *text, struct arena *a, struct error *e);

/* Builds a pipeline: each adds a command, or a word, at the end. */
struct pipeline_command *pipeline_add_command(struct pipeline *pipeline, const char *name,
                                              struct arena *a);
void pipeline_add_word(struct pipeline_command *c, const char *text, struct arena *a);
struct pipeline_word *pipeline_add_empty_word(struct pipeline_command *c, struct arena *a);
/* Adds an operand: after "--" if it begins with '-'. */
struct pipeline_word *pipeline_add_operand(struct pipeline_command *c, const char *text,
                                           struct arena *a);
/* Adds an option to a complete command: before its "--". */
void pipeline_insert_option(struct pipeline_command *c, const char *text, struct arena *a);

/* Prints the pipeline so that a shell and pipeline_parse can read it: a command on each line,
 * quoted where needed. All lines but the first are indented by `indent` + 4. */
void pipeline_print(const struct pipeline *pipeline, int indent, FILE *f);

#endif
