/* A stage made from a filter's descriptor: its options with their defaults, its operands, and what
 * the history records of both. A stage owns its options until stage_free. */
#ifndef TV_STAGE_H
#define TV_STAGE_H

#include "filter.h"

struct stage *stage_new(const struct filter *f);
void stage_free(struct stage *s);

/* An option of a stage: its row and its field. */
struct stage_option {
    const struct option_row *row;
    void *field;
};

#define STAGE_OPTIONS_MAX 96

/* The filter's own options, then those that all filters have; how many. */
size_t stage_list_options(const struct stage *s, struct stage_option options[STAGE_OPTIONS_MAX]);
/* Those among options and operands that hold rules; how many. */
size_t stage_list_rules(const struct stage *s, struct stage_option options[STAGE_OPTIONS_MAX]);
/* The rules that the operands are; `row` is NULL if operands are not rules. */
struct stage_option stage_operand_option(const struct stage *s);
/* What messages call an option: "--density", "FACTOR". */
const char *stage_option_label(struct stage *s, const struct option_row *o);
int stage_parse_option(struct stage *s, const struct stage_option *o, const char *text,
                       struct error *e);
/* Sets one of the filter's own options, as on its command line. */
int stage_set_option(struct stage *s, const struct option_row *o, const char *text,
                     struct error *e);

/* The position of one of the filter's own options in its table and in stage->given. */
size_t stage_option_position(const struct stage *s, const char *option);
/* Has the user set it? False if the filter has no such option. */
bool stage_is_given(const struct stage *s, const char *option);

/* Do --include and --exclude leave the tensor out? */
bool stage_excludes_tensor(const struct stage *s, const struct tensor *t);

/* In open, for operands_are_files: adds what the history has in place of an operand. */
void stage_record_operand(struct stage *s, const char *text);
/* In open: adds what the history has in place of an option that names a file. */
void stage_record_option(struct stage *s, const char *text);
/* In open: adds the XXH3 of what was read from a file in place of its path, which may hold
 * something else later. */
void stage_record_file(struct stage *s, const char *option, uint64_t hash);
/* Does a history contain a file with this XXH3? */
bool stage_history_contains_file(const struct history *history, uint64_t hash);
/* Is the word of a command line an operand, also without a "--" in front of it? True for a word
 * without a dash, "-", and a negative number. */
bool stage_word_is_operand(const char *word);
/* In open: adds the fingerprint of a model that a recorded operand or option names, in the order of
 * their words. */
void stage_record_fingerprint(struct stage *s, uint64_t fingerprint);
/* The options and operands that change the result, as words of a command line. */
struct string_list stage_history_arguments(struct stage *s, struct arena *a);
/* Appends the stage's step to the header's history. The step borrows the stage's fingerprints and
 * parents. */
void stage_add_history_step(struct stage *s, struct header *h);

#endif
