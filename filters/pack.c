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
#include "card.h"
#include "chat.h"
#include "names.h"
#include "onto.h"
#include "pattern.h"
#include "publish.h"
#include "slice.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)65536) /* elements of a filled-in tensor at a time */

struct options {
    const char *base, *onto, *like, *tokenizer, *chat_template;
    enum dtype dtype;
    uint64_t shard_size;
    bool force, no_tokenizer, no_fill;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"base", OPTION_TEXT, FIELD(base), "BASE",
     .help = "add task vectors to this model, the one they were made against", .silent = true},
    {"onto", OPTION_TEXT, FIELD(onto), "MODEL",
     .help = "in place of --base: add them to another model", .silent = true},
    {"like", OPTION_TEXT, FIELD(like), "MODEL",
     .help = "weights: take config, tokenizer and small files from this model", .silent = true},
    {"dtype", OPTION_DTYPE, FIELD(dtype), "DTYPE",
     .help = "store every floating tensor as float32, bfloat16, float16 or float64"},
    {"shard-size", OPTION_SIZE, FIELD(shard_size), "SIZE",
     .help = "start another file when one would be larger (default 5G)", .preset = "5G"},
    {"no-fill", OPTION_FLAG, FIELD(no_fill), NULL,
     .help = "task vectors: leave out the base's tensors that the stream lacks"},
    {"tokenizer", OPTION_TEXT, FIELD(tokenizer), "MODEL",
     .help = "take the tokenizer's files from this model", .silent = true},
    {"no-tokenizer", OPTION_FLAG, FIELD(no_tokenizer), NULL,
     .help = "leave out the tokenizer's files", .silent = true},
    {"chat-template", OPTION_TEXT, FIELD(chat_template), "JINJA",
     .help = "put this chat template into the tokenizer's files", .silent = true},
    {"force", OPTION_FLAG, FIELD(force), NULL, .help = "replace OUT if it is there",
     .silent = true},
    {0}};
#undef FIELD

struct pack {
    struct onto *base;  /* task vectors */
    struct input *like; /* weights */
    struct publish *out;
    struct header *result; /* what is written: the stream's tensors, then those filled in; one
                              vector each, in the dtype of the file */
    size_t n_stream;
    size_t *filled; /* [tensor of the result - n_stream]: which of the base */
};

static const struct input *lender(const struct pack *p)
{
    return p->base ? onto_model(p->base) : p->like;
}

/* ---- the method ------------------------------------------------------------------------------ */

/* n elements: the base's from `first` on, plus tau, as `to`. */
static void add(const struct onto *base, size_t index, size_t first, size_t n, const float *tau,
                enum dtype to, void *out)
{
    if (onto_tensor(base, index)->dtype == DTYPE_F64) {
        double *x = mem_aligned(n * sizeof *x);
        onto_read_f64(base, index, first, n, x);
        for (size_t i = 0; i < n; i++)
            x[i] += (double)tau[i];
        dtype_from_f64(to, x, out, n);
        free(x);
        return;
    }
    float *x = mem_aligned(n * sizeof *x);
    onto_read_f32(base, index, first, n, x);
    kern_add(x, tau, x, n);
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
    float *wide = mem_aligned(n * sizeof *wide);
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
        return publish_write(p->out, index, at, x, size, e);
    void *out = mem_aligned(size);
    if (adds && from == DTYPE_F32) {
        add(p->base, index, first, n, x, to, out);
    } else if (adds) {
        float *tau = mem_aligned(n * sizeof *tau);
        dtype_to_f32(from, x, tau, n);
        add(p->base, index, first, n, tau, to, out);
        free(tau);
    } else {
        convert(from, x, n, to, out);
    }
    int failed =
        check_finite(s, t, first, n, out, e) || publish_write(p->out, index, at, out, size, e);
    free(out);
    return failed ? -1 : 0;
}

static int consume(struct job *job, const struct block *b, struct error *e)
{
    const struct pack *p = job->stage->data;
    if (put(job->stage, job->index, b->dtypes[0], b->first, b->n, b->data[0], e))
        return -1;
    if (p->base)
        onto_done_with(p->base, job->index, b->first, b->n);
    return 0;
}

/* Reads n elements of a tensor of the base as stored, or rounded as the sources round theirs; says
 * in which dtype they are now. */
static enum dtype read_filled(const struct input *base, size_t i, size_t first, size_t n,
                              enum dtype rounding, void *x)
{
    enum dtype stored = input_tensor(base, i)->dtype;
    if (rounding == DTYPE_NONE || rounding == stored || !dtype_is_float(stored)) {
        input_read(base, i, first, n, x);
        return stored;
    }
    input_read_f64(base, i, first, n, rounding, x);
    return DTYPE_F64;
}

/* The base's tensors that the stream lacks. */
static int fill_in(const struct stage *s, struct error *e)
{
    const struct pack *p = s->data;
    const struct input *base = lender(p);
    int failed = 0;
    void *x = mem_aligned(CHUNK * 8);
    for (size_t i = p->n_stream; !failed && i < p->result->n_tensors; i++) {
        size_t from = p->filled[i - p->n_stream];
        const struct ckpt_tensor *t = input_tensor(base, from);
        for (size_t first = 0; !failed && first < t->elements; first += CHUNK) {
            size_t n = t->elements - first < CHUNK ? t->elements - first : CHUNK;
            failed = put(s, i, read_filled(base, from, first, n, p->result->rounding, x), first, n,
                         x, e);
            input_done_with(base, from, first, n);
        }
    }
    free(x);
    return failed;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int check_options(const struct stage *s, const struct header *h, struct error *e)
{
    const struct options *o = s->options;
    bool to_file = publish_form_of(s->operands.texts[0]) == PUBLISH_SAFETENSORS;
    if (o->shard_size == 0)
        return error_set(e, "--shard-size must be above 0");
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
        p->base = onto_open(s, o->base ? o->base : o->onto, o->onto != NULL, h, e);
    else if (o->like)
        p->like = input_open(o->like, s->common.spool, s->filter->name, e);
    else
        return 0;
    if (!lender(p))
        return -1;
    if (!input_ckpt(lender(p)) && publish_form_of(s->operands.texts[0]) != PUBLISH_SAFETENSORS)
        return error_set(e,
                         "%s is a stream and has no config or tokenizer to lend; OUT must be a "
                         ".safetensors file",
                         input_name(lender(p)));
    const char *operand = o->base ? o->base : o->onto ? o->onto : o->like;
    stage_record(s, arena_printf(&s->arena, "--%s=%s", option,
                                 p->base ? slice_text(lender(p), operand, &s->arena)
                                         : input_name(lender(p))));
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
    if (h->rounding != DTYPE_NONE)
        return h->rounding;
    if (p->base)
        return onto_tensor(p->base, i)->dtype;
    return dtype_is_float(v->stored) ? v->stored : v->dtype;
}

static bool stream_has_head(const struct pack *p)
{
    for (size_t i = 0; i < p->n_stream; i++)
        if (names_is_head(p->result->tensors[i].name))
            return true;
    return false;
}

static char *lent_config(const struct pack *p, size_t *size)
{
    const struct ckpt *c = lender(p) ? input_ckpt(lender(p)) : NULL;
    return c ? ckpt_file_text(c, "config.json", size) : NULL;
}

/* Is tensor i of the base a head that only repeats the embedding? */
static bool repeats_embedding(const struct input *base, size_t i)
{
    const struct ckpt_tensor *head = input_tensor(base, i);
    if (!names_is_head(head->name))
        return false;
    for (size_t j = 0; j < input_count(base); j++) {
        const struct ckpt_tensor *t = input_tensor(base, j);
        if (j != i && names_is_vocabulary(t->name) && t->dtype == head->dtype &&
            t->elements == head->elements &&
            input_hash(base, i, 0, t->elements) == input_hash(base, j, 0, t->elements))
            return true;
    }
    return false;
}

/* Adds to the result the tensors of the base that the stream lacks. The head of a tied model comes
 * from the embedding, which the stream may have changed: a copy of the old one is left out. */
static void add_filled(const struct stage *s, struct pack *p)
{
    const struct options *o = s->options;
    const struct input *base = lender(p);
    struct header *r = p->result;
    size_t n = input_count(base), size;
    char *config = lent_config(p, &size);
    bool tied = config && card_says_tied(config, size);
    struct tensor *all = arena_alloc(&r->arena, p->n_stream + n, sizeof *all);
    memcpy(all, r->tensors, p->n_stream * sizeof *all);
    r->tensors = all;
    p->filled = mem_alloc(n, sizeof *p->filled);
    for (size_t i = 0; i < n; i++) {
        const struct ckpt_tensor *t = input_tensor(base, i);
        if (o->no_fill || !onto_is_left_over(p->base, i) || (tied && repeats_embedding(base, i)))
            continue;
        struct vector *v = arena_alloc(&r->arena, 1, sizeof *v);
        enum dtype asked = o->dtype != DTYPE_NONE ? o->dtype : r->rounding;
        bool converts = asked != DTYPE_NONE && dtype_is_float(t->dtype);
        *v = vector_plain(0, t->name, converts ? asked : t->dtype, t->dtype);
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
    struct texts arguments = stage_arguments(s, &r->arena);
    header_add_step(r, s->filter->name, arguments.n, arguments.texts);
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

static int declare(const struct stage *s, struct pack *p, struct error *e)
{
    const struct options *o = s->options;
    const struct header *r = p->result;
    const struct card_hashes unknown = {0};
    struct arena a = {0};
    const char **names = arena_alloc(&a, r->n_tensors, sizeof *names);
    enum dtype *dtypes = arena_alloc(&a, r->n_tensors, sizeof *dtypes);
    size_t *ranks = arena_alloc(&a, r->n_tensors, sizeof *ranks);
    const uint64_t **shapes = arena_alloc(&a, r->n_tensors, sizeof *shapes);
    for (size_t i = 0; i < r->n_tensors; i++) {
        names[i] = r->tensors[i].name;
        dtypes[i] = r->tensors[i].vectors[0].dtype;
        ranks[i] = r->tensors[i].rank;
        shapes[i] = r->tensors[i].shape;
    }
    char *history = card_history_text(r), *hashes = card_hashes_text(r, &unknown);
    const char *const metadata[][2] = {
        {"tvtools_version", TV_VERSION}, {"tvtools_history", history}, {"tvtools_hashes", hashes}};
    int failed = publish_tensors(p->out, r->n_tensors, names, dtypes, ranks, shapes, o->shard_size,
                                 3, metadata, e);
    free(history);
    free(hashes);
    arena_free(&a);
    return failed;
}

static int copy_config(const struct stage *s, struct pack *p, struct error *e)
{
    size_t size;
    char *config = lent_config(p, &size);
    if (!config)
        return 0;
    char *text =
        card_config(config, size, lender(p), p->result, stream_has_head(p), s->filter->name);
    int failed = publish_file(p->out, "config.json", text, strlen(text), e);
    free(text);
    free(config);
    return failed;
}

/* A file of the tokenizer, with the chat template that was asked for in its place. */
static int put_tokenizer_file(const struct stage *s, const char *name, const char *text,
                              size_t size, struct error *e)
{
    const struct options *o = s->options;
    const struct pack *p = s->data;
    const char *template = o->chat_template;
    if (template && strcmp(name, "chat_template.jinja") == 0)
        return publish_file(p->out, name, template, strlen(template), e);
    if (!template || strcmp(name, "tokenizer_config.json") != 0)
        return publish_file(p->out, name, text, size, e);
    char *config = chat_set_template(text, size, template, e);
    int failed = config ? publish_file(p->out, name, config, strlen(config), e) : -1;
    free(config);
    return failed;
}

/* Of the small files beside a model's weights, those that belong to a model of any kind: settings,
 * code that goes with it, licences. README and config are written anew. */
static bool is_lent(const char *name)
{
    static const char *const patterns[] = {"*.json",   "*.jinja", "*.py",
                                           "LICENSE*", "NOTICE*", "USE_POLICY*"};
    bool lent = false;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        lent |= pattern_matches(patterns[i], name);
    return lent && strcmp(name, "config.json") != 0;
}

/* The small files of a model, those of its tokenizer or all others; its card apart: the new model
 * gets one of its own. */
static int copy_files_of(const struct stage *s, const struct input *in, bool tokenizer,
                         struct error *e)
{
    const struct pack *p = s->data;
    const struct ckpt *c = input_ckpt(in);
    for (size_t i = 0; c && i < ckpt_files(c); i++) {
        const char *name = ckpt_file_name(c, i);
        size_t size;
        if (chat_is_tokenizer_file(name) != tokenizer || (!tokenizer && !is_lent(name)))
            continue;
        char *text = ckpt_file_text(c, name, &size);
        int failed = -1;
        if (!text)
            error_set(e, "cannot read %s of %s", name, input_name(in));
        else if (tokenizer)
            failed = put_tokenizer_file(s, name, text, size, e);
        else
            failed = publish_file(p->out, name, text, size, e);
        free(text);
        if (failed)
            return -1;
    }
    return 0;
}

/* A chat template without a file to stand in gets one of its own. */
static int add_template(const struct stage *s, const struct input *in, struct error *e)
{
    const struct options *o = s->options;
    const struct pack *p = s->data;
    const struct ckpt *c = input_ckpt(in);
    for (size_t i = 0; c && i < ckpt_files(c); i++)
        if (strcmp(ckpt_file_name(c, i), "tokenizer_config.json") == 0 ||
            strcmp(ckpt_file_name(c, i), "chat_template.jinja") == 0)
            return 0;
    return publish_file(p->out, "chat_template.jinja", o->chat_template, strlen(o->chat_template),
                        e);
}

static int copy_tokenizer(const struct stage *s, const struct pack *p, struct error *e)
{
    const struct options *o = s->options;
    struct input *own = NULL;
    if (o->no_tokenizer)
        return 0;
    if (o->tokenizer && !(own = input_open(o->tokenizer, s->common.spool, s->filter->name, e)))
        return -1;
    const struct input *in = own ? own : lender(p);
    int failed =
        copy_files_of(s, in, true, e) || (o->chat_template && add_template(s, in, e)) ? -1 : 0;
    input_close(own);
    return failed;
}

static int copy_files(const struct stage *s, struct pack *p, struct error *e)
{
    if (!lender(p) || publish_form_of(s->operands.texts[0]) == PUBLISH_SAFETENSORS)
        return 0;
    return copy_files_of(s, lender(p), false, e) || copy_tokenizer(s, p, e) || copy_config(s, p, e)
               ? -1
               : 0;
}

static int open_pack(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct pack *p = s->data = mem_alloc(1, sizeof *p);
    signal(SIGPIPE, SIG_IGN); /* a reader that has gone is an error like a full disk */
    if (check_options(s, h, e) || open_lender(s, p, h, e))
        return -1;
    describe(s, p, h);
    p->out = publish_open(s->operands.texts[0], o->force, total_size(p), e);
    if (!p->out || declare(s, p, e))
        return -1;
    return copy_files(s, p, e);
}

/* ---- the rest of its life -------------------------------------------------------------------- */

static int begin(struct job *job, struct error *e)
{
    if (vector_is_weighted(&job->in->vectors[0]))
        return error_set(e, "tensor %s has a weight other than 1; put combine before pack",
                         job->in->name);
    return PLAN_TRANSFORM;
}

/* What is known only now: the full hashes, for the metadata and the card. */
static int finish(const struct stage *s, struct pack *p, struct error *e)
{
    const struct options *o = s->options;
    struct card_hashes hashes;
    hashes.n = stage_hashes(s, &hashes.models, &hashes.hashes);
    char *known = card_hashes_text(p->result, &hashes);
    char *card = card_readme(p->result, &hashes, p->result->n_tensors - p->n_stream,
                             o->onto ? lender(p) : NULL);
    int failed = publish_metadata(p->out, "tvtools_hashes", known, e) ||
                 publish_file(p->out, "README.md", card, strlen(card), e);
    free(known);
    free(card);
    return failed ? -1 : 0;
}

/* The bytes of the base that went into the result, and those of the result. */
static void count_bytes(struct stage *s, const struct pack *p)
{
    for (size_t i = 0; p->base && i < p->result->n_tensors; i++) {
        const struct ckpt_tensor *t = i < p->n_stream
                                          ? onto_tensor(p->base, i)
                                          : input_tensor(lender(p), p->filled[i - p->n_stream]);
        s->bytes_read += dtype_bytes(t->dtype, tensor_elements(&p->result->tensors[i]));
    }
    s->bytes_written = total_size(p);
}

static int close_pack(struct stage *s, bool ok, struct error *e)
{
    struct pack *p = s->data;
    int failed = 0;
    if (!p)
        return 0;
    if (ok)
        count_bytes(s, p);
    if (ok)
        failed = (p->base && fill_in(s, e)) || finish(s, p, e) ? -1 : 0;
    if (ok && !failed)
        failed = publish_commit(p->out, e);
    else
        publish_abort(p->out);
    onto_close(p->base);
    input_close(p->like);
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
    .raw = true,
    .any_order = true,
    .open = open_pack,
    .begin = begin,
    .consume = consume,
    .close = close_pack,
};
