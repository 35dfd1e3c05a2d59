/* The options of tv merge and tv from-yaml: their own, and those of mergekit-yaml and
 * mergekit-multi, many of which are accepted and ignored.
 * Parsed options belong to the stage that command_line_parse returns. */
#ifndef TV_MERGE_OPTIONS_H
#define TV_MERGE_OPTIONS_H

#include "filter.h"
#include "translated_config.h"

struct merge_options {
    uint64_t seed, shards, num_threads;
    bool check, json, force, resume, bug_compatible, paper;
    bool copy_tokenizer, no_copy_tokenizer, other_bpe;
    bool truncate, no_truncate;    /* embeddings */
    int missing, embed, mismatch;  /* indices of choices; -1: not given */
    struct string_list only, lora; /* lora: rules of ranks, as of pack */
    const char *shard_size, *part, *report, *out, *cache, *like;
    enum dtype dtype; /* as of pack */
    bool ignored_flag;
    const char *ignored_value;
};

extern const struct option_row merge_options_rows[];

/* argv with mergekit's short options -v, -j N and -I DIR replaced by long ones. Updates *argc; the
 * caller frees the array. */
char **merge_options_expand_short(int *argc, char **argv);
/* Prints a note that names all ignored options that were given. */
void merge_options_print_ignored(const struct stage *s);
/* For the descriptor's check_options. */
int merge_options_check(const struct stage *s, struct error *e);
/* Fills in what config_to_pipeline.h needs. */
int merge_options_to_translation_options(const struct merge_options *o,
                                         struct translation_options *to, struct arena *a,
                                         struct error *e);

#endif
