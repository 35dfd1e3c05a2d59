/* pack: write a checkpoint, whole or not at all
 *
 *     --base BASE   task vectors:  theta = theta_base + tau
 *     --like MODEL  weights:       theta as it comes
 *
 *     tv-extract base math code | combine --normalize=all | pack --base base merged/
 *     unpack math code | slerp --t 0.5 | pack --like math merged/
 *
 * The base lends tensors that the stream lacks, config, tokenizer and other small files; with
 * --like the model lends all of these but never a tensor. The sum is taken in F32 (F64 where the
 * base is stored so) and rounded once: to --dtype, else to the sources' --dtype, else to the dtype
 * in which the base (weights: the first model) is stored. OUT is a folder, a .safetensors file, a
 * .tar or .tar.zst archive, or - for an archive on standard output. config.json is brought up to
 * date, and README.md tells how the merge was made.
 */
#include "filter.h"
#include "merge_plan.h"
#include "model_config.h"
#include "auxiliary_files.h"
#include "run_context.h"
#include "stage.h"
#include "tensor_name.h"
#include "base_model.h"
#include "checkpoint_writer.h"
#include "merge_part.h"
#include "layer_slice.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)65536) /* elements of a filled-in tensor at a time */

struct options {
    const char *base, *onto, *like, *tokenizer, *chat_template, *part;
    enum dtype dtype;
    uint64_t shard_size, shards;
    bool force, no_tokenizer, no_fill, resume;
};

enum { ROW_SHARD_SIZE = 3, ROW_SHARDS };
#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"base", OPTION_STRING, FIELD(base), "BASE",
     .help = "add task vectors to this model, the one they were made against",
     .not_in_history = true},
    {"onto", OPTION_STRING, FIELD(onto), "MODEL",
     .help = "in place of --base: add them to another model", .not_in_history = true},
    {"like", OPTION_STRING, FIELD(like), "MODEL",
     .help = "weights: take config, tokenizer and small files from this model",
     .not_in_history = true},
    [ROW_SHARD_SIZE] = {"shard-size", OPTION_SIZE, FIELD(shard_size), "SIZE",
                        .help = "start another file when one would be larger (default 5G)",
                        .default_value = "5G"},
    [ROW_SHARDS] = {"shards", OPTION_COUNT, FIELD(shards), "N",
                    .help = "at most N files, the largest as small as can be"},
    {"part", OPTION_STRING, FIELD(part), "I/N",
     .help = "make part I of N and leave it beside OUT, for tv finish; implies --shards=N",
     .not_in_history = true},
    {"resume", OPTION_FLAG, FIELD(resume), NULL,
     .help = "keep finished files beside OUT, and go on from those of a run that was interrupted",
     .not_in_history = true},
    {"dtype", OPTION_DTYPE, FIELD(dtype), "DTYPE",
     .help = "store every floating tensor as float32, bfloat16, float16 or float64"},
    {"no-fill", OPTION_FLAG, FIELD(no_fill), NULL,
     .help = "task vectors: leave out the base's tensors that the stream lacks"},
    {"tokenizer", OPTION_STRING, FIELD(tokenizer), "MODEL",
     .help = "take the tokenizer's files from this model", .not_in_history = true},
    {"no-tokenizer", OPTION_FLAG, FIELD(no_tokenizer), NULL,
     .help = "leave out the tokenizer's files", .not_in_history = true},
    {"chat-template", OPTION_STRING, FIELD(chat_template), "JINJA",
     .help = "put this chat template into the tokenizer's files", .not_in_history = true},
    {"force", OPTION_FLAG, FIELD(force), NULL, .help = "replace OUT if it is there",
     .not_in_history = true},
    {0}};
#undef FIELD

struct pack {
    struct base_model *base;       /* task vectors */
    struct model_source *like;     /* weights */
    struct checkpoint_writer *out; /* all of it in one go, or ... */
    struct merge_part *share;      /* ... shard by shard */
    struct header *result; /* what is written: the stream's tensors, then those filled in; one
                              vector each, in the dtype of the file */
    size_t n_stream;
    size_t *filled; /* [tensor of the result - n_stream]: which of the base */
};

static const struct model_source *lender(const struct pack *p)
{
    return p->base ? base_model_source(p->base) : p->like;
}

/* The base that --onto names, for the card. */
static struct model onto_as_model(const struct pack *p)
{
    const struct model_source *in = lender(p);
    return in ? (struct model){.name = model_source_name(in),
                               .has_fingerprint = true,
                               .fingerprint = model_source_fingerprint(in)}
              : (struct model){0};
}

/* ---- the method ------------------------------------------------------------------------------ */

static int put_bytes(const struct pack *p, size_t i, uint64_t at, const void *x, size_t size,
                     struct error *e)
{
    return p->share
               ? partial_checkpoint_write_tensor(merge_part_checkpoint(p->share), i, at, x, size, e)
               : checkpoint_writer_write_tensor(p->out, i, at, x, size, e);
}

static int put_file(void *pack, const char *name, const void *bytes, size_t size, struct error *e)
{
    const struct pack *p = pack;
    return p->share ? partial_checkpoint_write_file(merge_part_checkpoint(p->share), name, bytes,
                                                    size, e)
                    : checkpoint_writer_write_file(p->out, name, bytes, size, e);
}

/* n elements: the base's from `first` on, plus tau, as `to`. */
static void add(const struct base_model *base, size_t index, size_t first, size_t n,
                const float *tau, enum dtype to, void *out)
{
    if (base_model_matching_tensor(base, index)->dtype == DTYPE_F64) {
        double *x = mem_alloc_aligned(n * sizeof *x);
        base_model_read_f64(base, index, first, n, x);
        for (size_t i = 0; i < n; i++)
            x[i] += (double)tau[i];
        dtype_from_f64(to, x, out, n);
        free(x);
        return;
    }
    float *x = mem_alloc_aligned(n * sizeof *x);
    base_model_read_f32(base, index, first, n, x);
    vector_math_add(x, tau, x, n);
    dtype_from_f32(to, x, out, n);
    free(x);
}

/* n elements of one floating dtype as another, rounded once. */
static void convert(enum dtype from, const void *x, size_t n, enum dtype to, void *out)
{
    if (from == DTYPE_F64) {
        dtype_from_f64(to, x, out, n);
        return;
    }
    float *wide = mem_alloc_aligned(n * sizeof *wide);
    dtype_to_f32(from, x, wide, n);
    dtype_from_f32(to, wide, out, n);
    free(wide);
}

static int check_finite(const struct stage *s, const struct tensor *t, size_t first, size_t n,
                        const void *x, struct error *e)
{
    enum dtype d = t->vectors[0].dtype;
    size_t i = s->common.allow_nonfinite ? n : dtype_find_nonfinite(d, x, n);
    return i == n ? 0
                  : error_set(e,
                              "tensor %s is not finite as %s at flat index %zu (--dtype gives "
                              "another dtype, --allow-nonfinite lets it pass)",
                              t->name, dtype_name(d), first + i);
}

/* Writes n elements of dtype `from`, as tensor `index` of the result is stored. */
static int put(const struct stage *s, size_t index, enum dtype from, size_t first, size_t n,
               const void *x, struct error *e)
{
    const struct pack *p = s->data;
    const struct tensor *t = &p->result->tensors[index];
    enum dtype to = t->vectors[0].dtype;
    bool adds = p->base && index < p->n_stream;
    size_t at = dtype_bytes(to, first), size = dtype_bytes(to, n);
    if (!adds && from == to)
        return put_bytes(p, index, at, x, size, e);
    void *out = mem_alloc_aligned(size);
    if (adds && from == DTYPE_F32) {
        add(p->base, index, first, n, x, to, out);
    } else if (adds) {
        float *tau = mem_alloc_aligned(n * sizeof *tau);
        dtype_to_f32(from, x, tau, n);
        add(p->base, index, first, n, tau, to, out);
        free(tau);
    } else {
        convert(from, x, n, to, out);
    }
    int failed = check_finite(s, t, first, n, out, e) || put_bytes(p, index, at, out, size, e);
    free(out);
    return failed ? -1 : 0;
}

static int consume(struct job *job, const struct block *b, struct error *e)
{
    const struct pack *p = job->stage->data;
    if (put(job->stage, job->index, b->dtypes[0], b->first, b->n, b->data[0], e))
        return -1;
    if (p->base)
        base_model_release_pages(p->base, job->index, b->first, b->n);
    return 0;
}

/* Reads n elements of a tensor of the base as stored, or rounded as the sources round theirs; says
 * in which dtype they are now. */
static enum dtype read_filled(const struct model_source *base, size_t i, size_t first, size_t n,
                              enum dtype rounding, void *x)
{
    enum dtype stored = model_source_tensor(base, i)->dtype;
    if (rounding == DTYPE_NONE || rounding == stored || !dtype_is_float(stored)) {
        model_source_read_stored(base, i, first, n, x);
        return stored;
    }
    model_source_read_f64(base, i, first, n, rounding, x);
    return DTYPE_F64;
}

static bool wants(const struct stage *s, size_t index)
{
    const struct pack *p = s->data;
    return !p->share || merge_part_wants_tensor(p->share, index);
}

static int tensor_done(const struct stage *s, size_t index, struct error *e)
{
    const struct pack *p = s->data;
    return p->share ? merge_part_finish_tensor(p->share, index, e) : 0;
}

static int end(struct job *job, bool ok, struct error *e)
{
    return ok ? tensor_done(job->stage, job->index, e) : 0;
}

/* The base's tensors that the stream lacks. */
static int fill_in(const struct stage *s, struct error *e)
{
    const struct pack *p = s->data;
    const struct model_source *base = lender(p);
    int failed = 0;
    void *x = mem_alloc_aligned(CHUNK * 8);
    for (size_t i = p->n_stream; !failed && i < p->result->n_tensors; i++) {
        if (!wants(s, i))
            continue;
        size_t from = p->filled[i - p->n_stream];
        const struct ckpt_tensor *t = model_source_tensor(base, from);
        for (size_t first = 0; !failed && first < t->elements; first += CHUNK) {
            size_t n = t->elements - first < CHUNK ? t->elements - first : CHUNK;
            failed = put(s, i, read_filled(base, from, first, n, p->result->input_rounding, x),
                         first, n, x, e);
            model_source_release_pages(base, from, first, n);
        }
        failed = failed || tensor_done(s, i, e) ? -1 : 0;
    }
    free(x);
    return failed;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int check_options(const struct stage *s, const struct header *h, struct error *e)
{
    const struct options *o = s->options;
    bool to_file = output_target_form(s->operands.items[0]) == OUTPUT_SAFETENSORS;
    if (o->shard_size == 0)
        return error_set(e, "--shard-size must be above 0");
    if (s->given[ROW_SHARDS] && o->shards == 0)
        return error_set(e, "--shards must be above 0");
    if (s->given[ROW_SHARDS] && s->given[ROW_SHARD_SIZE])
        return error_set(e, "only one of --shards and --shard-size can be given");
    if (o->part && o->resume)
        return error_set(e, "only one of --part and --resume can be given");
    if ((o->base != NULL) + (o->onto != NULL) + (o->like != NULL) > 1)
        return error_set(e, "only one of --base, --onto and --like can be given");
    if (h->kind == KIND_TASK_VECTORS && o->like)
        return error_set(e, "the stream holds task vectors, but --like takes weights; --base adds "
                            "them to their base");
    if (h->kind == KIND_TASK_VECTORS && !o->base && !o->onto)
        return error_set(e, "the stream holds task vectors; --base says what to add them to");
    if (h->kind == KIND_WEIGHTS && (o->base || o->onto))
        return error_set(e,
                         "the stream holds weights, but --%s takes task vectors; --like lends "
                         "what else a checkpoint needs",
                         o->base ? "base" : "onto");
    if (h->kind == KIND_WEIGHTS && !o->like && !to_file)
        return error_set(e, "--like must say whose config and tokenizer to take; without it "
                            "weights go to a .safetensors file only");
    for (size_t i = 0; i < h->n_tensors; i++)
        if (h->tensors[i].n_vectors > 1)
            return error_set(e,
                             "tensor %s has %zu vectors, but a checkpoint takes one; put "
                             "combine before pack",
                             h->tensors[i].name, h->tensors[i].n_vectors);
    return 0;
}

/* Opens the model that lends, and notes for the history what it is called. */
static int open_lender(struct stage *s, struct pack *p, const struct header *h, struct error *e)
{
    const struct options *o = s->options;
    const char *option = o->base ? "base" : o->onto ? "onto" : "like";
    if (o->base || o->onto)
        p->base = base_model_open(s, o->base ? o->base : o->onto, o->onto != NULL, h, e);
    else if (o->like)
        p->like = model_source_open(o->like, s->common.spool, s->filter->name, e);
    else
        return 0;
    if (!lender(p))
        return -1;
    if (!model_source_checkpoint(lender(p)) &&
        output_target_form(s->operands.items[0]) != OUTPUT_SAFETENSORS)
        return error_set(e,
                         "%s is a stream and has no config or tokenizer to lend; OUT must be a "
                         ".safetensors file",
                         model_source_name(lender(p)));
    const char *operand = o->base ? o->base : o->onto ? o->onto : o->like;
    stage_record_operand(s,
                         arena_printf(&s->arena, "--%s=%s", option,
                                      p->base ? layer_slice_describe(lender(p), operand, &s->arena)
                                              : model_source_name(lender(p))));
    return 0;
}

/* The dtype in which tensor i of the stream is stored. */
static enum dtype choose_dtype(const struct stage *s, const struct pack *p, const struct header *h,
                               size_t i)
{
    const struct options *o = s->options;
    const struct vector *v = &h->tensors[i].vectors[0];
    if (!dtype_is_float(v->dtype))
        return v->dtype;
    if (o->dtype != DTYPE_NONE)
        return o->dtype;
    if (h->input_rounding != DTYPE_NONE)
        return h->input_rounding;
    if (p->base)
        return base_model_matching_tensor(p->base, i)->dtype;
    return dtype_is_float(v->stored_dtype) ? v->stored_dtype : v->dtype;
}

static bool stream_has_head(const struct pack *p)
{
    for (size_t i = 0; i < p->n_stream; i++)
        if (tensor_name_is_lm_head(p->result->tensors[i].name))
            return true;
    return false;
}

/* Is tensor i of the base a head that only repeats the embedding? */
static bool repeats_embedding(const struct model_source *base, size_t i)
{
    const struct ckpt_tensor *head = model_source_tensor(base, i);
    if (!tensor_name_is_lm_head(head->name))
        return false;
    for (size_t j = 0; j < model_source_tensor_count(base); j++) {
        const struct ckpt_tensor *t = model_source_tensor(base, j);
        if (j != i && tensor_name_has_vocabulary_rows(t->name) && t->dtype == head->dtype &&
            t->elements == head->elements &&
            model_source_hash_elements(base, i, 0, t->elements) ==
                model_source_hash_elements(base, j, 0, t->elements))
            return true;
    }
    return false;
}

/* Adds to the result the tensors of the base that the stream lacks. The head of a tied model comes
 * from the embedding, which the stream may have changed: a copy of the old one is left out. */
static void add_filled(const struct stage *s, struct pack *p)
{
    const struct options *o = s->options;
    const struct model_source *base = lender(p);
    struct header *r = p->result;
    size_t n = model_source_tensor_count(base), size;
    char *config = auxiliary_files_read_config(lender(p), &size);
    bool tied = config && model_config_ties_embeddings(config, size);
    struct tensor *all = arena_alloc(&r->arena, p->n_stream + n, sizeof *all);
    memcpy(all, r->tensors, p->n_stream * sizeof *all);
    r->tensors = all;
    p->filled = mem_alloc(n, sizeof *p->filled);
    for (size_t i = 0; i < n; i++) {
        const struct ckpt_tensor *t = model_source_tensor(base, i);
        if (o->no_fill || !base_model_tensor_is_unused(p->base, i) ||
            (tied && repeats_embedding(base, i)))
            continue;
        struct vector *v = arena_alloc(&r->arena, 1, sizeof *v);
        enum dtype asked = o->dtype != DTYPE_NONE ? o->dtype : r->input_rounding;
        bool converts = asked != DTYPE_NONE && dtype_is_float(t->dtype);
        *v = vector_with_defaults(0, t->name, converts ? asked : t->dtype, t->dtype);
        p->filled[r->n_tensors - p->n_stream] = i;
        all[r->n_tensors++] = (struct tensor){.name = t->name,
                                              .rank = t->rank,
                                              .shape = t->shape,
                                              .layer = -1,
                                              .layers = -1,
                                              .n_vectors = 1,
                                              .vectors = v};
    }
    free(config);
}

/* The header of the checkpoint, with this step in its history. */
static void describe(struct stage *s, struct pack *p, const struct header *h)
{
    struct header *r = p->result = header_copy(h);
    struct string_list arguments = stage_history_arguments(s, &r->arena);
    header_add_step(r, s->filter->name, arguments.n, arguments.items);
    p->n_stream = r->n_tensors;
    for (size_t i = 0; i < r->n_tensors; i++)
        r->tensors[i].vectors[0].dtype = choose_dtype(s, p, h, i);
    if (p->base)
        add_filled(s, p);
}

static uint64_t total_size(const struct pack *p)
{
    uint64_t size = 0;
    for (size_t i = 0; i < p->result->n_tensors; i++)
        size += dtype_bytes(p->result->tensors[i].vectors[0].dtype,
                            tensor_elements(&p->result->tensors[i]));
    return size;
}

static int copy_files(const struct stage *s, struct pack *p, struct error *e)
{
    const struct options *o = s->options;
    const struct auxiliary_files l = {.source = lender(p),
                                      .result = p->result,
                                      .new_head = stream_has_head(p),
                                      .no_tokenizer = o->no_tokenizer,
                                      .tokenizer = o->tokenizer,
                                      .chat_template = o->chat_template,
                                      .spool = s->common.spool,
                                      .tool = s->filter->name};
    if (!l.source || output_target_form(s->operands.items[0]) == OUTPUT_SAFETENSORS)
        return 0;
    return auxiliary_files_copy(&l, put_file, p, e);
}

/* --part I/N alone is --shards N too, and the history says so. */
static int imply_shards(struct stage *s, struct error *e)
{
    struct options *o = s->options;
    uint64_t i;
    if (!o->part || s->given[ROW_SHARDS] || s->given[ROW_SHARD_SIZE])
        return 0;
    s->given[ROW_SHARDS] = true;
    return merge_part_parse(o->part, &i, &o->shards, e);
}

static int open_share(struct stage *s, struct pack *p, uint64_t shard_size, struct error *e)
{
    const struct options *o = s->options;
    const struct model onto = onto_as_model(p);
    const struct merge_plan plan = {p->result, p->result->n_tensors - p->n_stream, shard_size,
                                    o->onto ? &onto : NULL};
    p->share = merge_part_open(s, s->operands.items[0], o->force, o->part, &plan, lender(p), e);
    return p->share ? 0 : -1;
}

static int open_whole(const struct stage *s, struct pack *p, const struct shard_layout_spec *wanted,
                      struct error *e)
{
    const struct options *o = s->options;
    p->out = checkpoint_writer_open(s->operands.items[0], o->force, total_size(p), e);
    return p->out ? checkpoint_writer_declare_tensors(p->out, wanted, e) : -1;
}

static int open_out(struct stage *s, struct pack *p, struct error *e)
{
    const struct options *o = s->options;
    struct arena a = {0};
    struct shard_layout_spec wanted = merge_plan_layout_spec(p->result, &a);
    wanted.shard_size = o->shards ? shard_layout_balanced_size(&wanted, o->shards) : o->shard_size;
    int failed = o->part || o->resume ? open_share(s, p, wanted.shard_size, e)
                                      : open_whole(s, p, &wanted, e);
    arena_free(&a);
    return failed;
}

/* The bytes of the base that will go into the result, and those of the result. */
static void count_bytes(struct stage *s, const struct pack *p)
{
    for (size_t i = 0; i < p->result->n_tensors; i++) {
        if (!wants(s, i))
            continue;
        const struct tensor *r = &p->result->tensors[i];
        s->bytes_written += dtype_bytes(r->vectors[0].dtype, tensor_elements(r));
        if (!p->base)
            continue;
        const struct ckpt_tensor *t =
            i < p->n_stream ? base_model_matching_tensor(p->base, i)
                            : model_source_tensor(lender(p), p->filled[i - p->n_stream]);
        s->bytes_read += dtype_bytes(t->dtype, tensor_elements(r));
    }
}

static int open_pack(struct stage *s, struct header *h, struct error *e)
{
    struct pack *p = s->data = mem_alloc(1, sizeof *p);
    signal(SIGPIPE, SIG_IGN); /* a reader that has gone is an error like a full disk */
    if (check_options(s, h, e) || imply_shards(s, e) || open_lender(s, p, h, e))
        return -1;
    describe(s, p, h);
    if (open_out(s, p, e))
        return -1;
    count_bytes(s, p);
    return !p->share || merge_part_is_first(p->share) ? copy_files(s, p, e) : 0;
}

/* ---- the rest of its life -------------------------------------------------------------------- */

static int begin(struct job *job, struct error *e)
{
    if (vector_is_weighted(&job->in->vectors[0]))
        return error_set(e, "tensor %s has a weight other than 1; put combine before pack",
                         job->in->name);
    return PLAN_TRANSFORM;
}

/* What is known only now: the full hashes, for the metadata and the card. Then it is published. */
static int finish(const struct stage *s, struct pack *p, struct error *e)
{
    const struct options *o = s->options;
    const struct model onto = onto_as_model(p);
    struct model_hashes hashes;
    hashes.n = run_context_model_hashes(s, &hashes.models, &hashes.hashes);
    char *known = model_card_hashes_json(p->result, &hashes);
    char *card = model_card_readme_text(p->result, &hashes, p->result->n_tensors - p->n_stream,
                                        o->onto ? &onto : NULL);
    int failed = checkpoint_writer_replace_metadata(p->out, "tvtools_hashes", known, e) ||
                 checkpoint_writer_write_file(p->out, "README.md", card, strlen(card), e);
    free(known);
    free(card);
    if (!failed)
        return checkpoint_writer_commit(p->out, e);
    checkpoint_writer_abort(p->out);
    return -1;
}

static int close_pack(struct stage *s, bool ok, struct error *e)
{
    struct pack *p = s->data;
    int failed = 0;
    if (!p)
        return 0;
    if (ok)
        failed = p->base ? fill_in(s, e) : 0;
    if (ok && !failed)
        failed = p->share ? merge_part_finish(p->share, e) : finish(s, p, e);
    else
        checkpoint_writer_abort(p->out);
    merge_part_close(p->share);
    base_model_close(p->base);
    model_source_close(p->like);
    header_free(p->result);
    free(p->filled);
    free(p);
    return failed;
}

const struct filter filter_pack = {
    .name = "pack",
    .summary = "Write a checkpoint: task vectors added to their base, or weights",
    .operands = "OUT",
    .notes = "OUT is a folder, a .safetensors file, a .tar or .tar.zst archive, or - for an "
             "archive on standard output. It appears when it is complete, or not at all.",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = 1,
    .kinds = KIND_WEIGHTS | KIND_TASK_VECTORS,
    .role = ROLE_SINK,
    .operands_are_files = true,
    .raw_payload = true,
    .sink.consume_in_any_order = true,
    .open = open_pack,
    .begin = begin,
    .sink.consume = consume,
    .sink.wants_tensor = wants,
    .end = end,
    .close = close_pack,
};
