/* pack: write a checkpoint, completely or not at all
 *
 *     --base BASE   task vectors:  theta = theta_base + tau
 *     --like MODEL  weights:       theta as in the stream
 *
 *     tv-extract base math code | combine --normalize=all | pack --base base merged/
 *     unpack math code | slerp --t 0.5 | pack --like math merged/
 *
 * The sum is computed in F32, or in F64 if the base is stored in F64, and rounded once: to --dtype,
 * else to the --dtype of the sources, else to the stored dtype of the base (for weights: of the
 * first model). Config, tokenizer and other auxiliary files are copied from the base or from
 * --like; tensors that the stream lacks from the base only. OUT is a folder, a .safetensors or
 * .gguf file, a .tar or .tar.zst archive, or - for an archive (with --format a safetensors file) on
 * standard output; README.md is its model card. A .gguf file has metadata, tokenizer and order of
 * tensors of the base or of --like, which is a GGUF model then.
 */
#include "auxiliary_files.h"
#include "base_model.h"
#include "card_metadata.h"
#include "checkpoint_output.h"
#include "checkpoint_tensors.h"
#include "config_update.h"
#include "filter.h"
#include "input_guard.h"
#include "layer_slice.h"
#include "lora_output.h"
#include "matrix.h"
#include "openblas.h"
#include "parts_folder.h"
#include "printable.h"
#include "published_config.h"
#include "source_sink_services.h"
#include "stage.h"
#include "vocabulary_option.h"
#include "weight_names.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    const char *base, *onto, *like, *vocabulary, *layers, *tokenizer, *chat_template, *part,
        *mergekit_config;
    int format, moe;
    uint64_t experts_per_token;
    enum dtype dtype;
    uint64_t shard_size, shards;
    bool force, no_tokenizer, no_fill, resume;
    struct lora_output_options lora;
};

enum { FORMAT_SAFETENSORS };
#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"base", OPTION_STRING, FIELD(base), "BASE",
     .help = "add the task vectors to BASE, the model that they were extracted against",
     .not_in_history = true},
    {"onto", OPTION_STRING, FIELD(onto), "MODEL",
     .help = "like --base, but accept a model other than the one that they were extracted against",
     .not_in_history = true},
    {"like", OPTION_STRING, FIELD(like), "MODEL",
     .help = "weights: copy config, tokenizer and other auxiliary files from MODEL",
     .not_in_history = true},
    {"shard-size", OPTION_SIZE, FIELD(shard_size), "SIZE",
     .help = "maximum size of a shard in bytes (default 5G); tv merge --out-shard-size is in "
             "parameters",
     .range = {.low = 1, .high = INFINITY}, .default_value = "5G"},
    {"shards", OPTION_COUNT, FIELD(shards), "N",
     .help = "write at most N shards, the largest as small as possible",
     .range = {.low = 1, .high = INFINITY}},
    {"part", OPTION_STRING, FIELD(part), "I/N",
     .help = "write part I of N next to OUT, for tv finish; implies --shards=N",
     .not_in_history = true},
    {"resume", OPTION_FLAG, FIELD(resume), NULL,
     .help = "keep finished shards next to OUT, and reuse those of an interrupted run",
     .not_in_history = true},
    {"format", OPTION_CHOICE, FIELD(format), "safetensors",
     .help = "what - is, in place of a tar: the safetensors file alone, in the order of the stream",
     .choices = "safetensors", .not_in_history = true},
    {"dtype", OPTION_DTYPE, FIELD(dtype), "TYPE",
     .help = "store every floating-point tensor as float32, bfloat16, float16 or float64, or, in a "
             ".gguf file, matrices as q8_0",
     .choices = GGUF_ENCODING_CHOICES, .not_a_choice = GGUF_ENCODING_NOT_A_CHOICE},
    {"no-fill", OPTION_FLAG, FIELD(no_fill), NULL,
     .help = "task vectors: omit tensors of the base that the stream lacks"},
    {"layers", OPTION_STRING, FIELD(layers), "FROM:TO,...",
     .help = "which layers of MODEL the layers of the stream are, for the lists per layer in "
             "config.json",
     .not_in_history = true},
    VOCABULARY_OPTION_ROW(options, vocabulary,
                          "write the tokenizer of this vocabulary, that of unpack or tv-extract, "
                          "and move the rows of BASE to it"),
    {"tokenizer", OPTION_STRING, FIELD(tokenizer), "MODEL",
     .help = "copy the tokenizer files from MODEL", .not_in_history = true},
    {"no-tokenizer", OPTION_FLAG, FIELD(no_tokenizer), NULL, .help = "omit the tokenizer files",
     .not_in_history = true},
    {"chat-template", OPTION_STRING, FIELD(chat_template), "JINJA",
     .help = "set this chat template in the tokenizer files", .not_in_history = true},
    {"mergekit-config", OPTION_FILE, FIELD(mergekit_config), "FILE",
     .help = "store this configuration as mergekit_config.yml, and in the model card",
     .not_in_history = true},
    {"moe", OPTION_CHOICE, FIELD(moe), "ARCHITECTURE",
     .help = "--like: add the keys of a mixture of experts to config.json",
     .choices = MOE_CONFIG_CHOICES},
    {"experts-per-token", OPTION_COUNT, FIELD(experts_per_token), "N",
     .help = "--moe: experts that process a token (default 2)", .range = {.low = 1, .high = 4096}},
    {"force", OPTION_FLAG, FIELD(force), NULL, .help = "replace OUT if it exists",
     .not_in_history = true},
    LORA_OUTPUT_OPTION_ROWS(options, lora),
    {0}};
#undef FIELD

#define CONFIG_FILE "mergekit_config.yml"

struct pack {
    struct base_model *base;       /* task vectors */
    struct model_source *like;     /* weights */
    struct vocabulary *vocabulary; /* NULL: as in the base or --like */
    struct checkpoint_contents contents;
    struct moe_config moe; /* --moe */
    struct used_weights *weights;
    struct checkpoint_tensors tensors; /* of `contents`, written to ... */
    struct checkpoint_output output;   /* ... this */
    struct lora_output *lora;          /* an adapter; NULL: a checkpoint */
    char *card_metadata;               /* what the model card takes over from those of the inputs */
    char *config;                      /* of --mergekit-config; NULL */
};

/* The base or the --like model, whose auxiliary files are copied; NULL if there is none. */
static const struct model_source *find_auxiliary_file_source(const struct pack *p)
{
    return p->base ? base_model_source(p->base) : p->like;
}

static const char *get_target_path(const struct stage *s)
{
    return s->operands.items[0];
}

static enum output_form get_output_form(const struct stage *s)
{
    const struct options *o = s->options;
    return o->format == FORMAT_SAFETENSORS ? OUTPUT_SAFETENSORS
                                           : output_target_form_of_name(get_target_path(s));
}

static bool writes_gguf(const struct stage *s)
{
    return get_output_form(s) == OUTPUT_GGUF;
}

static bool writes_single_file(const struct stage *s)
{
    return output_form_is_single_file(get_output_form(s));
}

static bool writes_adapter(const struct stage *s)
{
    return stage_is_given(s, "lora") || stage_is_given(s, "energy");
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* For struct checkpoint_tensors. */
static int write_elements(void *pack, size_t index, size_t first, size_t n, const void *x,
                          struct error *e)
{
    struct pack *p = pack;
    enum dtype d = p->contents.header->tensors[index].vectors[0].dtype;
    return checkpoint_output_write_elements(&p->output, index, d, first, n, x,
                                            p->tensors.allow_nonfinite, e);
}

static int consume_block(struct job *job, const struct block *b, struct error *e)
{
    const struct pack *p = job->stage->data;
    if (p->lora) { /* job->state holds the tensor */
        dtype_to_f32(b->dtypes[0], b->data[0], (float *)job->state + b->first, b->n);
        return 0;
    }
    return checkpoint_tensors_convert_block(&p->tensors, job->index, b, e);
}

static bool wants_tensor(const struct stage *s, size_t index)
{
    const struct pack *p = s->data;
    if (p->lora)
        return index != SIZE_MAX && lora_output_wants_tensor(p->lora, index);
    return checkpoint_output_wants_tensor(&p->output, index);
}

static int end_tensor(struct job *job, bool ok, struct error *e)
{
    struct pack *p = job->stage->data;
    if (p->lora) {
        int failed = ok ? lora_output_add_tensor(p->lora, job->index, job->state, e) : 0;
        free(job->state);
        return failed;
    }
    return ok ? checkpoint_output_record_finished_tensor(&p->output, job->index, e) : 0;
}

/* Copies the base's tensors that the stream lacks. */
static int copy_missing_tensors(struct pack *p, size_t n_threads, struct error *e)
{
    const struct checkpoint_contents *c = &p->contents;
    bool are_missing = c->n_stream < c->header->n_tensors;
    struct thread_pool *threads = are_missing && n_threads > 1 ? thread_pool_new(n_threads) : NULL;
    int failed = 0;
    for (size_t i = c->n_stream; !failed && i < c->header->n_tensors; i++)
        if (checkpoint_output_wants_tensor(&p->output, i))
            failed = checkpoint_tensors_copy_base_tensor(&p->tensors, i, threads, e) ||
                     checkpoint_output_record_finished_tensor(&p->output, i, e);
    thread_pool_free(threads);
    return failed ? -1 : 0;
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* Do the options of an adapter fit the others? */
static int check_adapter_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    static const char *const own[] = {"sv-epsilon", "embed-lora", "whole", "skip-undecomposable",
                                      "no-distribute-scale"};
    static const char *const others[] = {"part",       "resume",       "shards",    "shard-size",
                                         "layers",     "no-fill",      "tokenizer", "moe",
                                         "vocabulary", "chat-template"};
    for (size_t i = 0; i < sizeof own / sizeof *own && !writes_adapter(s); i++)
        if (stage_is_given(s, own[i]))
            return error_set(e, "--%s needs --lora or --energy", own[i]);
    if (!writes_adapter(s))
        return 0;
    if (!o->base && !o->onto)
        return error_set(e, "--lora needs --base: an adapter is made from task vectors");
    if (writes_single_file(s))
        return error_set(e, "an adapter is a folder or an archive of one, not a single file");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (stage_is_given(s, others[i]))
            return error_set(e, "--%s is not for adapters (--lora, --energy)", others[i]);
    return o->dtype == GGUF_ENCODING_Q8_0
               ? error_set(e, "--dtype=q8_0 is not for adapters (--lora, --energy)")
               : 0;
}

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    uint64_t i, n;
    if (stage_is_given(s, "shards") && stage_is_given(s, "shard-size"))
        return error_set(e, "only one of --shards and --shard-size can be given");
    if (o->format == FORMAT_SAFETENSORS && strcmp(get_target_path(s), "-") != 0)
        return error_set(e, "--format is for standard output (-); %s has the format of its ending",
                         get_target_path(s));
    if (o->part && o->resume)
        return error_set(e, "only one of --part and --resume can be given");
    if (o->layers && config_update_check_layers(o->layers, e))
        return -1;
    if (output_target_check_name(get_target_path(s), e) ||
        ((o->part || o->resume) && parts_folder_check_target(get_target_path(s), e)) ||
        (o->part && merge_part_parse(o->part, &i, &n, e)))
        return -1;
    if (writes_gguf(s) && (o->tokenizer || o->chat_template || o->no_tokenizer || o->vocabulary))
        return error_set(e, "--tokenizer, --no-tokenizer, --chat-template and --vocabulary are not "
                            "supported for a .gguf file, which has the tokenizer of --like or "
                            "--base");
    if (o->vocabulary && o->tokenizer)
        return error_set(e, "only one of --vocabulary and --tokenizer can be given");
    if (!writes_gguf(s) && o->dtype == GGUF_ENCODING_Q8_0)
        return error_set(e, "--dtype=q8_0 needs a .gguf file as OUT");
    if (check_adapter_options(s, e))
        return -1;
    if (o->moe >= 0 && (!o->like || writes_single_file(s)))
        return error_set(e, "--moe is for --like and a folder or archive, which has a config.json");
    if (o->moe < 0 && o->experts_per_token)
        return error_set(e, "--experts-per-token is for --moe");
    if ((o->base != NULL) + (o->onto != NULL) + (o->like != NULL) > 1)
        return error_set(e, "only one of --base, --onto and --like can be given");
    return 0;
}

static int check_stream_kind_and_options(const struct stage *s, const struct header *h,
                                         struct error *e)
{
    const struct options *o = s->options;
    bool has_base = o->base || o->onto;
    if (h->kind == KIND_TASK_VECTORS && o->like)
        return error_set(e, "the stream contains task vectors, but --like is for weights; use "
                            "--base to add them to their base");
    if (h->kind == KIND_TASK_VECTORS && !has_base)
        return error_set(e, "the stream contains task vectors; use --base to add them to their "
                            "base");
    if (h->kind == KIND_WEIGHTS && has_base)
        return error_set(e,
                         "the stream contains weights, but --%s is for task vectors; use --like to "
                         "copy config and tokenizer from a model",
                         o->base ? "base" : "onto");
    if (h->kind == KIND_WEIGHTS && !o->like && !writes_single_file(s))
        return error_set(e, "use --like to copy config and tokenizer from a model; without it "
                            "weights can only be written to a .safetensors file");
    return checkpoint_tensors_check_vectors(h, e);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The GGUF model that a .gguf file is written like; NULL if the base or --like is none. */
static const struct gguf_model *find_gguf_model(const struct pack *p)
{
    const struct model_source *source = find_auxiliary_file_source(p);
    const struct ckpt *c = source ? model_source_checkpoint(source) : NULL;
    return c ? ckpt_gguf_model(c) : NULL;
}

/* Do the base's rows, or the tokenizer of the new checkpoint, belong to another vocabulary than the
 * rows of the stream? */
static int check_vocabulary_is_given(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    bool adds_rows = o->base || o->onto, has_tokenizer = o->like && writes_gguf(s);
    if (o->like && !writes_single_file(s))
        has_tokenizer = !o->tokenizer && !o->no_tokenizer;
    return !o->vocabulary && (adds_rows || has_tokenizer) ? vocabulary_option_check_not_needed(s, e)
                                                          : 0;
}

/* Opens the base or the --like model, and records its name for the history. */
static int open_base_or_like_model(struct stage *s, struct pack *p, const struct header *h,
                                   struct error *e)
{
    const struct options *o = s->options;
    const char *option = o->base ? "base" : o->onto ? "onto" : "like";
    const char *operand = o->base ? o->base : o->onto ? o->onto : o->like;
    if (vocabulary_option_open(s, o->vocabulary, &p->vocabulary, e) ||
        check_vocabulary_is_given(s, e))
        return -1;
    if (o->base || o->onto)
        p->base = base_model_open(s, operand, o->onto != NULL, p->vocabulary, h, e);
    else if (o->like)
        p->like = model_source_open(operand, s->common.spool, s->filter->name, e);
    else
        return 0;
    const struct model_source *source = find_auxiliary_file_source(p);
    if (!source)
        return -1;
    if (!model_source_checkpoint(source) && !writes_single_file(s))
        return error_set(e,
                         "%s is a stream without config and tokenizer, so OUT must be a "
                         ".safetensors file",
                         model_source_name(source));
    const char *name = p->base ? layer_slice_format_name_with_range(source, operand, &s->arena)
                               : model_source_name(source);
    stage_record_option(s, arena_printf(&s->arena, "--%s=%s", option, name));
    stage_record_fingerprint(s, model_source_fingerprint(source));
    return 0;
}

/* Describes the checkpoint, with this step in its history. */
static int init_checkpoint_contents(struct stage *s, struct pack *p, const struct header *h,
                                    struct error *e)
{
    const struct options *o = s->options;
    struct header *copy = header_copy(h);
    stage_add_history_step(s, copy);
    const struct checkpoint_contents_options options = {
        .dtype = writes_gguf(s) ? DTYPE_F32 : o->dtype, .fill = !o->no_fill};
    p->tensors = (struct checkpoint_tensors){.contents = &p->contents,
                                             .base = p->base,
                                             .allow_nonfinite = s->common.allow_nonfinite,
                                             .receive = write_elements,
                                             .receiver = p};
    int failed = checkpoint_contents_init(&p->contents, copy, p->base, &options, e);
    p->weights = used_weights_new(copy->n_tensors);
    return failed;
}

/* --part I/N implies --shards N, also in the history. */
static int set_shards_from_part_option(struct stage *s, struct error *e)
{
    struct options *o = s->options;
    uint64_t i;
    if (!o->part || stage_is_given(s, "shards") || stage_is_given(s, "shard-size"))
        return 0;
    s->given[stage_option_position(s, "shards")] = true;
    return merge_part_parse(o->part, &i, &o->shards, e);
}

static size_t count_tensors_copied_from_base(const struct pack *p)
{
    return p->contents.header->n_tensors - p->contents.n_stream;
}

/* The --onto model as the model card names it; a zeroed model without --onto. */
static struct model describe_onto_model(const struct stage *s)
{
    const struct options *o = s->options;
    const struct pack *p = s->data;
    if (!o->onto)
        return (struct model){0};
    const struct model_source *m = base_model_source(p->base);
    return (struct model){.name = model_source_name(m),
                          .has_fingerprint = true,
                          .fingerprint = model_source_fingerprint(m)};
}

static struct card_texts describe_card_texts(const struct stage *s)
{
    const struct pack *p = s->data;
    return (struct card_texts){.metadata = p->card_metadata, .config = p->config};
}

static int open_merge_part(struct stage *s, struct pack *p, const struct parts_plan *plan,
                           const struct input_guard *guard, struct error *e)
{
    const struct options *o = s->options;
    const struct merge_part_options options = {get_target_path(s), o->force, guard, o->part,
                                               p->weights};
    struct merge_part *part = merge_part_open(s, &options, plan, find_auxiliary_file_source(p), e);
    checkpoint_output_set_part(&p->output, part);
    return part ? 0 : -1;
}

/* Opens a .gguf file with the metadata of `spec`. */
static int open_gguf_output(const struct options *o, struct pack *p,
                            const struct checkpoint_output_target *target,
                            const struct shard_layout_spec *spec, struct error *e)
{
    const struct gguf_output_spec gguf = {
        .like = find_gguf_model(p),
        .result = p->contents.header,
        .dtype = o->dtype != DTYPE_NONE ? o->dtype : p->contents.header->input_rounding,
        .n_metadata = spec->n_metadata,
        .metadata = spec->metadata};
    if (gguf_output_check_like(gguf.like, e))
        return -1;
    return checkpoint_output_open_gguf(&p->output, target, &gguf, e);
}

/* The names that the library of the model looks for. A single file has its own. */
static int choose_stem(const struct stage *s, const struct pack *p, struct parts_plan *plan,
                       struct error *e)
{
    if (writes_single_file(s))
        return 0;
    int is_of_diffusers = auxiliary_files_is_of_diffusers(find_auxiliary_file_source(p), e);
    if (is_of_diffusers > 0)
        plan->stem = WEIGHT_STEM_DIFFUSERS;
    return is_of_diffusers < 0 ? -1 : 0;
}

static int open_output(struct stage *s, struct pack *p, struct error *e)
{
    const struct options *o = s->options;
    const struct model other = describe_onto_model(s);
    struct arena a = {0};
    struct parts_plan plan = {.stem = WEIGHT_STEM_TRANSFORMERS,
                              .result = p->contents.header,
                              .n_filled = count_tensors_copied_from_base(p),
                              .card = describe_card_texts(s),
                              .other_base = o->onto ? &other : NULL,
                              .is_single_file = writes_single_file(s),
                              .header_goes_first = o->format == FORMAT_SAFETENSORS};
    if (choose_stem(s, p, &plan, e))
        return -1;
    struct shard_layout_spec spec = parts_plan_layout_spec(&plan, &a);
    spec.shard_size = o->shards ? shard_layout_balanced_size(&spec, o->shards) : o->shard_size;
    plan.shard_size = spec.shard_size;
    const struct input_guard guard = {.result = p->contents.header,
                                      .reads_streams =
                                          !source_sink_services_has_model_fingerprints(s),
                                      .has_own_step = true};
    const struct checkpoint_output_target target = {get_target_path(s), get_output_form(s),
                                                    o->force, &guard};
    if (o->tokenizer)
        input_guard_add_model(o->tokenizer);
    for (size_t i = 0; p->vocabulary && i < p->vocabulary->n_models; i++)
        input_guard_add_model(p->vocabulary->models[i].path);
    if (p->vocabulary)
        input_guard_add_model(p->vocabulary->start.path);
    if (find_auxiliary_file_source(p))
        auxiliary_files_add_names(find_auxiliary_file_source(p));
    int failed = o->part || o->resume ? open_merge_part(s, p, &plan, &guard, e)
                 : writes_gguf(s)
                     ? open_gguf_output(o, p, &target, &spec, e)
                     : checkpoint_output_open_whole(&p->output, &target, &spec,
                                                    checkpoint_contents_size(&p->contents), e);
    arena_free(&a);
    return failed;
}

/* Counts the bytes to read from the base and to write, for the report of the run. */
static void count_bytes_to_read_and_write(struct stage *s, const struct pack *p)
{
    const struct checkpoint_contents *c = &p->contents;
    for (size_t i = 0; i < c->header->n_tensors; i++) {
        if (!wants_tensor(s, i))
            continue;
        const struct tensor *t = &c->header->tensors[i];
        s->bytes_written += dtype_bytes(t->vectors[0].dtype, tensor_elements(t));
        if (!p->base)
            continue;
        const struct ckpt_tensor *from =
            i < c->n_stream
                ? base_model_matching_tensor(p->base, i)
                : model_source_tensor(base_model_source(p->base), c->filled[i - c->n_stream]);
        s->bytes_read += ckpt_tensor_bytes(from, tensor_elements(t));
    }
}

static int copy_auxiliary_files(const struct stage *s, struct pack *p, struct error *e)
{
    const struct options *o = s->options;
    const struct auxiliary_files a = {
        .source = find_auxiliary_file_source(p),
        .result = p->contents.header,
        .moe = o->moe >= 0 ? &p->moe : NULL,
        .has_own_head = checkpoint_contents_has_own_head(&p->contents),
        .layers = o->layers,
        .no_tokenizer = o->no_tokenizer,
        .tokenizer = p->vocabulary ? p->vocabulary->start.path : o->tokenizer,
        .vocabulary = p->vocabulary,
        .chat_template = o->chat_template,
        .spool = s->common.spool,
        .tool = s->filter->name};
    if (writes_single_file(s))
        return 0;
    if (p->config &&
        checkpoint_output_write_file(&p->output, CONFIG_FILE, p->config, strlen(p->config), e))
        return -1;
    return a.source ? auxiliary_files_copy(&a, checkpoint_output_write_file, &p->output, e) : 0;
}

/* --moe */
static int find_experts(const struct stage *s, struct pack *p, const struct header *h,
                        struct error *e)
{
    const struct options *o = s->options;
    return o->moe < 0 ? 0
                      : moe_config_find(&p->moe, (enum moe_architecture)o->moe,
                                        o->experts_per_token ? o->experts_per_token : 2, h, e);
}

/* Opens the target before hours of work; the adapter is written at the end. */
static int open_adapter(struct stage *s, struct pack *p, const struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct lora_output_options options = o->lora;
    options.dtype = o->dtype;
    p->lora = lora_output_new(h, p->base, &options, e);
    if (!p->lora)
        return -1;
    s->blas = openblas_description();
    p->contents.header = header_copy(h);
    stage_add_history_step(s, p->contents.header);
    p->weights = used_weights_new(h->n_tensors);
    const struct input_guard guard = {.result = p->contents.header,
                                      .reads_streams =
                                          !source_sink_services_has_model_fingerprints(s),
                                      .has_own_step = true};
    p->output.writer =
        checkpoint_writer_open(get_target_path(s), get_output_form(s), o->force, &guard, 0, e);
    return p->output.writer ? 0 : -1;
}

static int open_pack(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct pack *p = s->data = mem_alloc(1, sizeof *p);
    signal(SIGPIPE, SIG_IGN); /* a reader that has gone is an error like a full disk */
    if (check_stream_kind_and_options(s, h, e) || set_shards_from_part_option(s, e) ||
        find_experts(s, p, h, e) || open_base_or_like_model(s, p, h, e))
        return -1;
    p->card_metadata = card_metadata_text(find_auxiliary_file_source(p), h);
    if (o->mergekit_config && !(p->config = published_config_read(o->mergekit_config, e)))
        return -1;
    if (writes_adapter(s))
        return open_adapter(s, p, s->in, e);
    if (init_checkpoint_contents(s, p, h, e) || open_output(s, p, e))
        return -1;
    count_bytes_to_read_and_write(s, p);
    return checkpoint_output_wants_auxiliary_files(&p->output) ? copy_auxiliary_files(s, p, e) : 0;
}

/* ---- the other callbacks --------------------------------------------------------------------- */

static int begin_tensor(struct job *job, struct error *e)
{
    const struct pack *p = job->stage->data;
    used_weights_add(p->weights, job->index, &job->in->vectors[0]);
    if (p->lora)
        job->state = mem_alloc_aligned(tensor_elements(job->in) * sizeof(float) + 1);
    return checkpoint_tensors_check_weight(job->in, e) ? -1 : PLAN_TRANSFORM;
}

/* Adds the full hashes, which are known only now, to the metadata and the model card, and publishes
 * the checkpoint. */
static int write_card_and_publish_checkpoint(const struct stage *s, struct pack *p, struct error *e)
{
    const struct options *o = s->options;
    const struct header *h = p->contents.header;
    const struct model other = describe_onto_model(s);
    const struct card_texts card_texts = describe_card_texts(s);
    struct model_hashes hashes;
    hashes.n = source_sink_services_get_model_hashes(s, &hashes.models, &hashes.hashes);
    char *metadata = model_card_hashes_json(h, &hashes);
    char *weights = used_weights_text(p->weights, h);
    char *card = model_card_readme_text(h, &hashes, p->weights, count_tensors_copied_from_base(p),
                                        o->onto ? &other : NULL, &card_texts);
    struct checkpoint_writer *w = p->output.writer;
    int failed = checkpoint_writer_replace_metadata(w, "tvtools_hashes", metadata, e) ||
                 checkpoint_writer_write_used_weights(w, weights, e) ||
                 checkpoint_writer_write_file(w, "README.md", card, strlen(card), e);
    free(metadata);
    free(weights);
    free(card);
    return failed ? -1 : checkpoint_output_commit(&p->output, e);
}

/* The full hashes are those of whole models only if no tensor was left out: a source may read all
 * of them, or those that are wanted. */
static int record_hashes_of_adapter(const struct pack *p, const struct model_hashes *hashes,
                                    struct error *e)
{
    const struct header *h = p->contents.header;
    for (size_t i = 0; i < h->n_tensors; i++)
        if (!lora_output_wants_tensor(p->lora, i))
            return 0;
    char *metadata = model_card_hashes_json(h, hashes);
    int failed =
        checkpoint_writer_replace_metadata(p->output.writer, "tvtools_hashes", metadata, e);
    free(metadata);
    return failed;
}

/* Writes the adapter with its card, and publishes it. */
static int write_and_publish_adapter(struct stage *s, struct pack *p, struct error *e)
{
    const struct options *o = s->options;
    const struct model other = describe_onto_model(s);
    struct checkpoint_writer *w = p->output.writer;
    const struct header *h = p->contents.header;
    const struct card_texts card_texts = describe_card_texts(s);
    struct model_hashes hashes;
    hashes.n = source_sink_services_get_model_hashes(s, &hashes.models, &hashes.hashes);
    char *card =
        model_card_adapter_text(h, &hashes, p->weights, o->onto ? &other : NULL, &card_texts);
    char *section = lora_output_card_text(p->lora), *summary = lora_output_summary(p->lora);
    char *text = mem_printf("%s%s", card, section);
    int failed = model_source_check_unchanged(base_model_source(p->base), e) ||
                 lora_output_write(p->lora, w, h, e) || record_hashes_of_adapter(p, &hashes, e) ||
                 (p->config &&
                  checkpoint_writer_write_file(w, CONFIG_FILE, p->config, strlen(p->config), e)) ||
                 checkpoint_writer_write_file(w, "README.md", text, strlen(text), e);
    s->bytes_written += lora_output_bytes(p->lora);
    if (!failed)
        lora_output_print_tied_note(p->lora, get_target_path(s), s->filter->name);
    if (!failed && isatty(STDERR_FILENO))
        printable_note(s->filter->name, "%s", summary);
    free(card);
    free(section);
    free(summary);
    free(text);
    return failed ? -1 : checkpoint_output_commit(&p->output, e);
}

static void free_pack(struct pack *p)
{
    checkpoint_output_close(&p->output);
    lora_output_free(p->lora);
    base_model_close(p->base);
    model_source_close(p->like);
    vocabulary_free(p->vocabulary);
    checkpoint_contents_free(&p->contents);
    used_weights_free(p->weights);
    free(p->card_metadata);
    free(p->config);
    free(p);
}

static int close_pack(struct stage *s, bool ok, struct error *e)
{
    struct pack *p = s->data;
    if (!p)
        return 0;
    int failed = 0;
    if (p->lora || writes_adapter(s)) {
        failed = ok ? write_and_publish_adapter(s, p, e) : 0;
        free_pack(p);
        return failed;
    }
    failed = ok && p->base ? copy_missing_tensors(p, s->common.threads, e) : 0;
    if (ok && !failed)
        failed = checkpoint_output_write_carried_tensors(&p->output, e);
    if (ok && !failed)
        failed = model_source_check_unchanged(p->base ? base_model_source(p->base) : p->like, e);
    if (ok && !failed)
        failed = p->output.part ? merge_part_record_shards_and_publish(p->output.part, e)
                                : write_card_and_publish_checkpoint(s, p, e);
    free_pack(p);
    return failed;
}

const struct filter filter_pack = {
    .name = "pack",
    .summary = "Write a checkpoint: task vectors added to their base, or weights",
    .step = STEP_WRITE,
    .operands = "OUT",
    .notes =
        "OUT is a folder, a .safetensors or .gguf file, a .tar or .tar.zst archive, or - for an "
        "archive (--format=safetensors: the file alone) on standard output. It appears when "
        "it is complete, or not at all.",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = 1,
    .kinds = KIND_WEIGHTS | KIND_TASK_VECTORS,
    .role = ROLE_SINK,
    .operand_is_output = true,
    .operands_are_files = true,
    .raw_payload = true,
    .sink.consume_in_any_order = true,
    .check_options = check_options,
    .open = open_pack,
    .begin_tensor = begin_tensor,
    .sink.consume_block = consume_block,
    .sink.wants_tensor = wants_tensor,
    .end_tensor = end_tensor,
    .close = close_pack,
};
