/* Options that mergekit's commands have in common: rows of a table for those that have no effect
 * here, the short options, and sizes in parameters. share/mergekit.md gives the reason for each.
 *
 * The offsets `flag` and `value` are those of a bool and a const char * that nothing else uses. */
#ifndef TV_MERGEKIT_OPTIONS_H
#define TV_MERGEKIT_OPTIONS_H

#include "filter.h"

#define MERGEKIT_IGNORED_FLAG(name, flag)                                                          \
    {                                                                                              \
        name, OPTION_FLAG, flag, NULL, .help = "no effect"                                         \
    }
#define MERGEKIT_IGNORED_PAIR(name, flag)                                                          \
    MERGEKIT_IGNORED_FLAG(name, flag), MERGEKIT_IGNORED_FLAG("no-" name, flag)
#define MERGEKIT_IGNORED_VALUE(name, value)                                                        \
    {                                                                                              \
        name, OPTION_STRING, value, "X", .help = "no effect"                                       \
    }
/* --transformers-cache, for mergekit_options_use_cache, and --num-threads, a uint64_t. */
#define MERGEKIT_CACHE_AND_THREADS(cache, num_threads)                                             \
    {"transformers-cache", OPTION_STRING, cache, "DIR",                                            \
     .help = "folder in which models named org/name are looked up"},                               \
    {                                                                                              \
        "num-threads", OPTION_COUNT, num_threads, "N", .help = "same as --threads"                 \
    }
/* Those of every command, most of which choose how mergekit computes. */
#define MERGEKIT_IGNORED_OPTIONS(flag, value)                                                      \
    MERGEKIT_IGNORED_PAIR("allow-crimes", flag), MERGEKIT_IGNORED_PAIR("cuda", flag),              \
        MERGEKIT_IGNORED_PAIR("low-cpu-memory", flag),                                             \
        MERGEKIT_IGNORED_PAIR("clone-tensors", flag),                                              \
        MERGEKIT_IGNORED_PAIR("trust-remote-code", flag),                                          \
        MERGEKIT_IGNORED_PAIR("lazy-unpickle", flag),                                              \
        MERGEKIT_IGNORED_PAIR("write-model-card", flag),                                           \
        MERGEKIT_IGNORED_PAIR("safe-serialization", flag),                                         \
        MERGEKIT_IGNORED_FLAG("no-quiet", flag), MERGEKIT_IGNORED_PAIR("read-to-gpu", flag),       \
        MERGEKIT_IGNORED_PAIR("multi-gpu", flag), MERGEKIT_IGNORED_PAIR("async-write", flag),      \
        MERGEKIT_IGNORED_FLAG("gpu-rich", flag), MERGEKIT_IGNORED_FLAG("verbose", flag),           \
        MERGEKIT_IGNORED_VALUE("device", value), MERGEKIT_IGNORED_VALUE("write-threads", value),   \
        MERGEKIT_IGNORED_VALUE("lora-merge-cache", value),                                         \
        MERGEKIT_IGNORED_VALUE("lora-merge-dtype", value)

/* Prints a note that names all options that were given and have the offset `flag` or `value`. */
void mergekit_options_print_ignored(const struct stage *s, size_t flag, size_t value);

struct short_option {
    char letter;
    const char *name; /* "--num-threads" */
};

/* argv with -v, -vv, -j N and those in `own`, which ends with {0} or is NULL, replaced by long
 * options. Updates *argc; the caller frees the array. */
char **mergekit_options_expand_short(int *argc, char **argv, const struct short_option *own);

/* --transformers-cache: looks up models named org/name in this folder. NULL: not given. */
void mergekit_options_use_cache(const char *folder);

/* The value of --out-shard-size, such as 5B or 200M, as a number of parameters. */
int mergekit_options_parse_shard_size(const char *text, uint64_t *parameters, struct error *e);
/* As --shard-size of pack, for elements of `dtype`. */
const char *mergekit_options_shard_bytes(uint64_t parameters, enum dtype dtype, struct arena *a);

#endif
