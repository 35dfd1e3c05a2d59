/* The options of a filter as a table, one row per option. The table parses the command line, prints
 * --help and writes the history. A row refers to a field of the filter's struct of options; texts
 * that a field points to live in an arena of the caller's, rules until tensor_rules_free. */
#ifndef TV_OPTION_ROW_H
#define TV_OPTION_ROW_H

#include "error.h"
#include "mem.h"
#include "number.h"
#include "tensor_rules.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_NUMBER, /* double, in `range` */
    OPTION_COUNT,  /* uint64_t, decimal, in `range` */
    OPTION_SIZE,   /* uint64_t bytes in `range`: 64K, 512M, 2G (powers of 1024) */
    OPTION_STRING, /* const char *; no path, unless not_in_history: tv verify runs a history */
    OPTION_FILE,   /* const char *, a path; see stage_record_file */
    OPTION_CHOICE, /* int: index into `choices` ("all|agreeing"), -1 if not given and no default */
    OPTION_DTYPE,  /* enum dtype, floating; DTYPE_COUNT + an index into `choices`, if there are any
                    */
    OPTION_RULES,  /* struct tensor_rules, values in `range`; repeatable */
    OPTION_CHOICE_RULES, /* struct tensor_rules whose values are indexes into `choices`, one per
                            tensor (per_tensor); repeatable */
    OPTION_SELECTORS,    /* struct tensor_rules that choose: MODEL, MODEL/GLOB, /GLOB; repeatable */
    OPTION_STRINGS,      /* struct string_list; repeatable */
    OPTION_MODEL_FILES,  /* struct string_list of MODEL=FILE; repeatable; see model_statistics_open
                          */
    OPTION_VOCABULARY /* const char *, vocabulary_request.h as JSON; see vocabulary_option_open */
};

struct string_list {
    size_t n;
    const char **items;
    size_t capacity;
};

struct option_row {
    const char *name; /* without "--"; NULL ends the table */
    enum option_kind kind;
    size_t offset;        /* of the field in the struct of options */
    const char *argument; /* "D", "FILE", ...; NULL for a flag */
    const char *help;
    struct range range;       /* NUMBER, RULES, COUNT, SIZE */
    const char *choices;      /* CHOICE, CHOICE_RULES: "a|b|c"; DTYPE: formats other than a dtype */
    const char *not_a_choice; /* DTYPE: what the message on another value adds */
    const char *default_value; /* the default, as text; NULL: none */
    const char *alias;         /* an older spelling, accepted and never written; NULL: none */
    bool required;
    bool writes_file;    /* STRING, FILE: the stage writes this file */
    bool not_in_history; /* does not change the result: not recorded in the history */
    bool whole;          /* RULES: whole numbers */
    bool per_tensor;     /* RULES give one number per tensor (and name no models), not per vector */
    bool every_tensor;   /* RULES, per_tensor: each floating tensor must match one */
};

/* Parses `text` into *field. `label` is what messages call the option ("--density", "FACTOR"). */
int option_row_parse(const struct option_row *o, void *field, const char *text, const char *label,
                     struct arena *a, struct error *e);
/* Appends the value of *field as words of a command line: "--density=0.3". */
void option_row_append_words(const struct option_row *o, const void *field, struct arena *a,
                             struct string_list *words);
/* Is the field a struct tensor_rules? */
bool option_row_has_rules(const struct option_row *o);
/* Appends a copy of `text`. */
void string_list_append(struct string_list *list, struct arena *a, const char *text);

#endif
