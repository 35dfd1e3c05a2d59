#include "merge_options.h"

#include "gguf_encoding.h"
#include "merge_part.h"
#include "mergekit_options.h"

#include <math.h>
#include <string.h>

/* ---- the table ------------------------------------------------------------------------------- */

#define CHOICES_MISSING  "base|skip"
#define CHOICES_EMBED    "truncate|base"
#define CHOICES_MISMATCH "drop"

#define FIELD(f) offsetof(struct merge_options, f)

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
    MERGEKIT_CACHE_AND_THREADS(FIELD(cache), FIELD(num_threads)),
    {"out-path", OPTION_STRING, FIELD(out), "OUT", .help = "same as the operand OUT"},
    MERGEKIT_IGNORED_OPTIONS(FIELD(ignored_flag), FIELD(ignored_value)),
    MERGEKIT_IGNORED_PAIR("lazy", FIELD(ignored_flag)),
    MERGEKIT_IGNORED_VALUE("intermediate-dir", FIELD(ignored_value)),
    {0}};

void merge_options_print_ignored(const struct stage *s)
{
    mergekit_options_print_ignored(s, FIELD(ignored_flag), FIELD(ignored_value));
}

char **merge_options_expand_short(int *argc, char **argv)
{
    static const struct short_option own[] = {{'I', "--intermediate-dir"}, {0}};
    return mergekit_options_expand_short(argc, argv, own);
}

/* ---- conversion ------------------------------------------------------------------------------ */

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
    return (o->shard_size && mergekit_options_parse_shard_size(o->shard_size, &n, e)) ||
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
    return o->shard_size
               ? mergekit_options_parse_shard_size(o->shard_size, &to->shard_parameters, e)
               : 0;
}
