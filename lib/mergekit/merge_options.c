#include "merge_options.h"

#include "gguf_encoding.h"
#include "merge_part.h"
#include "printable.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table ------------------------------------------------------------------------------- */

#define CHOICES_MISSING  "base|skip"
#define CHOICES_EMBED    "truncate|base"
#define CHOICES_MISMATCH "drop"

#define FIELD(f) offsetof(struct merge_options, f)
#define IGNORED(name)                                                                              \
    {                                                                                              \
        name, OPTION_FLAG, FIELD(ignored_flag), NULL, .help = "no effect"                          \
    }
#define IGNORED_PAIR(name) IGNORED(name), IGNORED("no-" name)
#define IGNORED_VALUE(name)                                                                        \
    {                                                                                              \
        name, OPTION_STRING, FIELD(ignored_value), "X", .help = "no effect"                        \
    }

const struct option_row merge_options_rows[] = {
    {"check", OPTION_FLAG, FIELD(check),
     .help = "dry run: check whether the merge would work, and print how much it would write"},
    {"json", OPTION_FLAG, FIELD(json), .help = "--check: print lines of JSON instead of text"},
    {"force", OPTION_FLAG, FIELD(force), .help = "replace OUT if it exists"},
    {"paper", OPTION_FLAG, FIELD(paper),
     .help = "follow the papers where mergekit differs from them: DARE and DELLA divide by the "
             "probability, TIES trims over the whole model, votes for signs are unweighted"},
    {"bug-compatible", OPTION_FLAG, FIELD(bug_compatible),
     .help = "breadcrumbs: reproduce mergekit's bug that drops all of a tensor if gamma amounts to "
             "less than one element"},
    {"missing", OPTION_CHOICE, FIELD(missing), CHOICES_MISSING,
     .help = "if a model lacks a tensor: use the first model's, or merge the tensor without that "
             "model",
     .choices = CHOICES_MISSING},
    {"embed", OPTION_CHOICE, FIELD(embed), CHOICES_EMBED,
     .help =
         "if embeddings or LM heads differ in size: truncate to the common rows, or use the first "
         "model's",
     .choices = CHOICES_EMBED},
    {"unsafe-truncate-embeddings", OPTION_FLAG, FIELD(truncate),
     .help = "same as --embed=truncate"},
    {"no-unsafe-truncate-embeddings", OPTION_FLAG, FIELD(no_truncate), .help = "the default"},
    {"mismatch", OPTION_CHOICE, FIELD(mismatch), CHOICES_MISMATCH,
     .help = "if another tensor differs in shape: merge the tensor without that model",
     .choices = CHOICES_MISMATCH},
    {"other-bpe", OPTION_FLAG, FIELD(other_bpe),
     .help = "tokenizer_source: union of models with different BPE vocabularies: add the tokens of "
             "the others to the first one's, although text is then split differently"},
    {"only", OPTION_STRINGS, FIELD(only), "GLOB",
     .help = "merge only tensors whose names match, into a .safetensors file; repeatable"},
    {"like", OPTION_STRING, FIELD(like), "MODEL",
     .help = "a .gguf file as OUT: its metadata, tokenizer and order of tensors (default: the "
             "base's, or the first model's)"},
    {"dtype", OPTION_DTYPE, FIELD(dtype), "TYPE",
     .help = "store every floating-point tensor as float32, bfloat16, float16 or float64, or, in a "
             ".gguf file, matrices as q8_0 (default: out_dtype)",
     .choices = GGUF_ENCODING_CHOICES, .not_a_choice = GGUF_ENCODING_NOT_A_CHOICE},
    {"lora", OPTION_STRINGS, FIELD(lora), "RANK",
     .help = "write a LoRA adapter of this rank, as pack --lora does; repeatable"},
    {"random-seed", OPTION_COUNT, FIELD(seed), "S", .help = "seed of DARE and DELLA (default 0)",
     .default_value = "0"},
    {"out-shard-size", OPTION_STRING, FIELD(shard_size), "N",
     .help = "maximum number of parameters per file, such as 5B or 200M (pack --shard-size is in "
             "bytes)"},
    {"shards", OPTION_COUNT, FIELD(shards), "N",
     .help = "write at most N files, with the largest as small as possible",
     .range = {.low = 1, .high = INFINITY}},
    {"part", OPTION_STRING, FIELD(part), "I/N",
     .help = "compute part I of N and store it next to OUT, for tv finish; implies --shards=N"},
    {"resume", OPTION_FLAG, FIELD(resume),
     .help = "keep finished files next to OUT, and continue an interrupted merge from them"},
    {"report", OPTION_STRING, FIELD(report), "FILE",
     .help = "write time, memory and I/O of the merge, by stage, to FILE as JSON"},
    {"copy-tokenizer", OPTION_FLAG, FIELD(copy_tokenizer), .help = "copy a tokenizer (default)"},
    {"no-copy-tokenizer", OPTION_FLAG, FIELD(no_copy_tokenizer), .help = "copy no tokenizer"},
    {"transformers-cache", OPTION_STRING, FIELD(cache), "DIR",
     .help = "folder in which models named org/name are looked up"},
    {"num-threads", OPTION_COUNT, FIELD(num_threads), "N", .help = "same as --threads"},
    {"out-path", OPTION_STRING, FIELD(out), "OUT", .help = "same as the operand OUT"},
    IGNORED_PAIR("allow-crimes"),
    IGNORED_PAIR("cuda"),
    IGNORED_PAIR("low-cpu-memory"),
    IGNORED_PAIR("clone-tensors"),
    IGNORED_PAIR("trust-remote-code"),
    IGNORED_PAIR("lazy-unpickle"),
    IGNORED_PAIR("write-model-card"),
    IGNORED_PAIR("safe-serialization"),
    IGNORED("no-quiet"),
    IGNORED_PAIR("read-to-gpu"),
    IGNORED_PAIR("multi-gpu"),
    IGNORED_PAIR("async-write"),
    IGNORED_PAIR("lazy"),
    IGNORED("gpu-rich"),
    IGNORED("verbose"),
    IGNORED_VALUE("device"),
    IGNORED_VALUE("write-threads"),
    IGNORED_VALUE("lora-merge-cache"),
    IGNORED_VALUE("lora-merge-dtype"),
    IGNORED_VALUE("intermediate-dir"),
    {0}};

static bool is_ignored_option(const struct option_row *row)
{
    return row->offset == FIELD(ignored_flag) || row->offset == FIELD(ignored_value);
}

void merge_options_print_ignored(const struct stage *s)
{
    const char *names = "";
    struct arena a = {0};
    size_t n = 0;
    for (size_t i = 0; merge_options_rows[i].name; i++)
        if (s->given[i] && is_ignored_option(&merge_options_rows[i]))
            names =
                arena_printf(&a, "%s%s--%s", names, n++ ? ", " : "", merge_options_rows[i].name);
    if (n)
        printable_note(s->filter->name, "%s ha%s no effect here", names, n == 1 ? "s" : "ve");
    arena_free(&a);
}

/* ---- short options --------------------------------------------------------------------------- */

/* -v, -vv, ... */
static bool is_verbose_flag(const char *word)
{
    return word[0] == '-' && word[1] == 'v' && strspn(word + 1, "v") == strlen(word + 1);
}

/* The long name of a short option that takes a value: -j4, -j 4; NULL. */
static const char *long_name_of_short_option(const char *word)
{
    if (word[0] != '-')
        return NULL;
    return word[1] == 'j' ? "--num-threads" : word[1] == 'I' ? "--intermediate-dir" : NULL;
}

char **merge_options_expand_short(int *argc, char **argv)
{
    char **words = mem_alloc((size_t)*argc * 2 + 1, sizeof *words);
    int n = 0;
    for (int i = 0; i < *argc; i++) {
        const char *name = i ? long_name_of_short_option(argv[i]) : NULL;
        if (name) {
            words[n++] = (char *)name;
            if (argv[i][2])
                words[n++] = argv[i] + 2;
        } else {
            words[n++] = i && is_verbose_flag(argv[i]) ? (char *)"--verbose" : argv[i];
        }
    }
    *argc = n;
    return words;
}

/* ---- conversion ------------------------------------------------------------------------------ */

/* "5B": a number with K, M or B, powers of 1000, as mergekit writes sizes. */
static int parse_shard_size(const char *text, uint64_t *n, struct error *e)
{
    static const char units[] = "KMB";
    char *end = NULL;
    uint64_t scale = 1;
    errno = 0;
    if (isdigit((unsigned char)*text))
        *n = strtoull(text, &end, 10);
    const char *unit = end && *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        scale *= 1000;
    if (!end || errno || end[unit != NULL] || *n == 0 || *n > UINT64_MAX / scale)
        return error_set(
            e,
            "--out-shard-size: \"%.200s\" is not a number of parameters (5B, 200M); pack "
            "--shard-size is in bytes",
            text);
    *n *= scale;
    return 0;
}

/* Choice i of "a|b|c"; NULL for -1. */
static const char *get_choice_by_index(const char *choices, int i, struct arena *a)
{
    for (; i > 0; i--)
        choices = strchr(choices, '|') + 1;
    return i < 0 ? NULL : arena_copy_text_n(a, choices, strcspn(choices, "|"));
}

int merge_options_check(const struct stage *s, struct error *e)
{
    const struct merge_options *o = s->options;
    uint64_t i, n;
    if (o->shards && o->shard_size)
        return error_set(e, "only one of --shards and --out-shard-size can be given");
    if (o->truncate && (o->embed >= 0 || o->no_truncate))
        return error_set(e, "--unsafe-truncate-embeddings cannot be combined with %s",
                         o->no_truncate ? "--no-unsafe-truncate-embeddings" : "--embed");
    if (o->json && !o->check)
        return error_set(e, "--json needs --check");
    if (o->part && o->resume)
        return error_set(e, "only one of --part and --resume can be given");
    return (o->shard_size && parse_shard_size(o->shard_size, &n, e)) ||
                   (o->part && merge_part_parse(o->part, &i, &n, e))
               ? -1
               : 0;
}

int merge_options_to_translation_options(const struct merge_options *o,
                                         struct translation_options *to, struct arena *a,
                                         struct error *e)
{
    *to = (struct translation_options){
        .seed = o->seed,
        .bug_compatible = o->bug_compatible,
        .paper = o->paper,
        .no_tokenizer = o->no_copy_tokenizer,
        .force = o->force,
        .other_bpe = o->other_bpe,
        .resolve_cache = o->cache != NULL,
        .like = o->like,
        .dtype = o->dtype,
        .missing = get_choice_by_index(CHOICES_MISSING, o->missing, a),
        .embed = o->truncate ? "truncate" : get_choice_by_index(CHOICES_EMBED, o->embed, a),
        .mismatch = get_choice_by_index(CHOICES_MISMATCH, o->mismatch, a),
        .n_only = o->only.n,
        .only = o->only.items,
    };
    return o->shard_size ? parse_shard_size(o->shard_size, &to->shard_parameters, e) : 0;
}
