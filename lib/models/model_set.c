#include "model_set.h"

#include "full_hashes.h"
#include "gguf_model.h"
#include "model_history.h"
#include "stage.h"
#include "tensor_matching.h"
#include "tensor_name.h"
#include "vocabulary_tensors.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* One tensor of the header. */
struct set_tensor {
    struct tensor_match match;
    size_t columns; /* of the common shape */
};

struct model_set {
    struct model_set_options options;
    struct tensor_matching matching;
    size_t n_models;
    struct model_source **models;
    bool *adapts_base; /* [model] */
    size_t n_tensors;
    struct set_tensor *tensors;
    const struct header *header; /* the stage's own, for the block geometry */
    bool allow_nonfinite;
    struct full_hashes *hashes;
    struct vocabulary *vocabulary;    /* NULL: rows stay where they are; or ... */
    struct vocabulary_tensors *moved; /* ... the matrices with moved rows */
    _Atomic uint64_t bytes_read;
    struct arena arena;
};

static const struct ckpt_tensor *get_checkpoint_tensor_of_view(const struct model_set *m,
                                                               const struct tensor_view *v)
{
    return tensor_matching_view_tensor(&m->matching, v);
}

/* ---- opening the models ---------------------------------------------------------------------- */

/* How all operands are sliced: in all of them, or in none. */
static struct layer_slice_options choose_slice_options(const struct stage *s,
                                                       const struct model_set_options *options)
{
    bool renumber = stage_is_given(s, "first-layer");
    struct layer_slice_options o = {.stack = options->stack,
                                    .first_layer = renumber ? (long)options->first_layer : -1,
                                    .without_range = renumber,
                                    .accepts_standard_input = true};
    for (size_t i = 0; i < s->operands.n; i++)
        o.without_range |= layer_slice_find_range_suffix(s->operands.items[i]) != NULL;
    return o;
}

int model_set_check_options(const struct stage *s, const struct model_set_options *options,
                            struct error *e)
{
    size_t n = 0;
    for (size_t i = 0; i < s->operands.n; i++)
        n += layer_slice_is_standard_input(s->operands.items[i]);
    if (n > 1)
        return error_set(e, "standard input is one model, but %zu operands name it", n);
    const char *needs_range = options->stack          ? "--stack"
                              : options->outside >= 0 ? "--outside"
                                                      : NULL;
    return needs_range && !choose_slice_options(s, options).without_range
               ? error_set(e, "%s needs a range in an operand, or --first-layer", needs_range)
               : 0;
}

static long selected_layer_count(const struct model_source *m)
{
    const struct selected_layers *s = model_source_selected_layers(m);
    return s ? s->to - s->from : 0;
}

/* Layers are paired by their position in the slices. */
static int check_equal_layer_counts(const struct model_set *m, const struct model_source *model,
                                    struct error *e)
{
    long first = selected_layer_count(m->models[0]), own = selected_layer_count(model);
    return own == first
               ? 0
               : error_set(e, "%ld layers of %s cannot be paired with %ld of %s", own,
                           model_source_name(model), first, model_source_name(m->models[0]));
}

static int add_model_to_header(const struct model_set *m, const struct model_source *model,
                               struct header *h, struct error *e)
{
    const char *role = !m->matching.task_vectors ? NULL : model == m->models[0] ? "base" : "expert";
    return header_add_model(h, model_source_name(model), role, e) < 0 ? -1 : 0;
}

/* GGUF files contain their tokenizers: an error if that of the model is not that of the others. */
static int check_gguf_settings(const struct model_set *m, const struct model_source *model,
                               struct error *e)
{
    const struct ckpt *c = model_source_checkpoint(model);
    const struct gguf_model *own = c ? ckpt_gguf_model(c) : NULL;
    for (size_t i = 0; own && i < m->n_models; i++) {
        const struct ckpt *other = model_source_checkpoint(m->models[i]);
        if (other && ckpt_gguf_model(other) && m->models[i] != model)
            return gguf_model_check_compatible(ckpt_gguf_model(other), own, e);
    }
    return 0;
}

/* Adds the history of model i to the parents, if the model brings it. */
static int record_history(struct stage *s, const struct model_source *model, size_t i,
                          struct error *e)
{
    struct history history;
    int found = model_history_read_if_brought(model, &history, &s->arena, e);
    if (found <= 0)
        return found;
    if (!s->parents)
        s->parents = arena_alloc(&s->arena, s->operands.n, sizeof *s->parents);
    s->n_parents = s->operands.n;
    s->parents[i] = history;
    return 0;
}

static int copy_pipe(const struct model_set *m, const struct stage *s, size_t model,
                     const char *reason, struct error *e)
{
    return model_source_copy_pipe(m->models[model], s->common.spool, s->filter->name, reason, e);
}

static int open_models(struct stage *s, struct model_set *m, struct header *h, struct error *e)
{
    struct layer_slice_options slicing = choose_slice_options(s, &m->options);
    m->models = mem_alloc(s->operands.n, sizeof(struct model_source *));
    m->adapts_base = mem_alloc(s->operands.n, sizeof *m->adapts_base);
    for (size_t i = 0; i < s->operands.n; i++) {
        const char *operand = s->operands.items[i];
        struct model_source *model =
            layer_slice_open(operand, &slicing, s->common.spool, s->filter->name, e);
        if (!model)
            return -1;
        m->models[m->n_models++] = model;
        if (m->matching.task_vectors && i == 0) {
            slicing.adapter_base = model;
            slicing.adapter_base_operand = operand;
        }
        m->adapts_base[i] =
            m->matching.task_vectors && model_source_adapter_of(model, m->models[0]) != NULL;
        if (m->adapts_base[i] && model_source_is_pipe(m->models[0]) &&
            copy_pipe(m, s, 0, "an adapter changes it", e))
            return -1;
        if (check_equal_layer_counts(m, model, e) || check_gguf_settings(m, model, e))
            return -1;
        if (model_source_selected_layers(model)) /* number the layers as the first model does */
            slicing.first_layer = model_source_selected_layers(model)->first_number;
        if (add_model_to_header(m, model, h, e) || record_history(s, model, i, e))
            return -1;
        stage_record_operand(s, layer_slice_format_name_with_range(model, operand, &s->arena));
    }
    return 0;
}

/* ---- matching the tensors -------------------------------------------------------------------- */

/* The vector of view k in the header. */
static struct vector make_header_vector(const struct model_set *m, const struct tensor_match *match,
                                        size_t k)
{
    const struct tensor_view *v = &match->views[k];
    const struct ckpt_tensor *t = get_checkpoint_tensor_of_view(m, v);
    enum dtype stored = t->dtype, dtype = stored;
    if (m->matching.task_vectors)
        dtype = DTYPE_F32;
    else if (m->options.rounding != DTYPE_NONE && dtype_is_float(stored))
        dtype = m->options.rounding;
    const char *name = model_source_stored_name(m->models[v->model], v->tensor);
    return vector_with_defaults(match->models[k], name, dtype, t->file_dtype);
}

/* The tensor of the header, in its arena. */
static struct tensor make_header_tensor(const struct model_set *m, const struct tensor_match *match,
                                        const char *name, struct header *h)
{
    const char *base_name = model_source_stored_name(m->models[0], match->first_tensor);
    struct tensor t = {.name = arena_copy_text(&h->arena, name),
                       .rank = match->rank,
                       .shape = arena_copy(&h->arena, match->shape, match->rank * sizeof *t.shape),
                       .n_vectors = match->n,
                       .vectors = arena_alloc(&h->arena, match->n, sizeof *t.vectors),
                       .input_index = h->n_tensors};
    if (m->matching.task_vectors && strcmp(base_name, name) != 0)
        t.base_name = arena_copy_text(&h->arena, base_name);
    for (size_t k = 0; k < match->n; k++) {
        struct vector *v = &t.vectors[k];
        *v = make_header_vector(m, match, k);
        v->source = strcmp(v->source, name) == 0 ? t.name : arena_copy_text(&h->arena, v->source);
    }
    return t;
}

/* Matches one tensor and appends it to the set and the header, unless it is omitted. */
static int match_and_add_tensor(struct model_set *m, struct header *h, const char *name,
                                struct error *e)
{
    struct set_tensor *t = &m->tensors[m->n_tensors];
    int found = tensor_matching_match(&m->matching, name, &t->match, e);
    if (found <= 0)
        return found;
    if (m->matching.task_vectors && !m->options.unchanged &&
        tensor_matching_is_unchanged(&m->matching, &t->match))
        return 0;
    struct tensor *in_header = &h->tensors[h->n_tensors];
    *in_header = make_header_tensor(m, &t->match, name, h);
    t->columns = tensor_columns(in_header);
    h->n_tensors++;
    m->n_tensors++;
    return 0;
}

static int match_and_add_all_tensors(struct model_set *m, struct header *h, struct error *e)
{
    const char **names = NULL;
    size_t n = 0;
    int failed = tensor_matching_list_names(&m->matching, &names, &n, e);
    if (!failed) {
        m->tensors = mem_alloc(n, sizeof *m->tensors);
        h->tensors = arena_alloc(&h->arena, n, sizeof *h->tensors);
    }
    for (size_t i = 0; !failed && i < n; i++)
        failed = match_and_add_tensor(m, h, names[i], e);
    free(names);
    return failed;
}

/* ---- a model that is read as it arrives ------------------------------------------------------ */

static bool has_integers(const struct model_source *m)
{
    for (size_t i = 0; i < model_source_tensor_count(m); i++)
        if (!dtype_is_float(model_source_tensor(m, i)->dtype))
            return true;
    return false;
}

/* Integers are not subtracted, but compared while the tensors are matched. */
static int copy_pipe_of_integers(const struct model_set *m, const struct stage *s, struct error *e)
{
    for (size_t i = 0; m->matching.task_vectors && i < m->n_models; i++)
        if (model_source_is_pipe(m->models[i]) && has_integers(m->models[i]) &&
            copy_pipe(m, s, i, "tensors of integers are compared first", e))
            return -1;
    return 0;
}

/* Is the view's tensor at or after *end in its pipe? Then moves *end behind it. */
static bool follows_in_pipe(const struct model_set *m, const struct tensor_view *v, uint64_t *end)
{
    const struct model_source *model = m->models[v->model];
    const struct ckpt_tensor *t = get_checkpoint_tensor_of_view(m, v);
    uint64_t offset = model_source_pipe_offset(model, v->tensor);
    bool follows = offset >= *end && !v->columns;
    *end = offset + dtype_bytes(t->dtype, t->elements);
    return follows;
}

/* Does the pipe contain the tensors in the order of the header? */
static bool pipe_is_in_order(const struct model_set *m, size_t model)
{
    uint64_t end = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct tensor_match *match = &m->tensors[i].match;
        uint64_t start = end;
        for (size_t k = 0; k < match->n + m->matching.task_vectors; k++) {
            const struct tensor_view *v = k < match->n ? &match->views[k] : &match->base;
            uint64_t own_end = start; /* several views of one tensor are read block by block */
            if (v->model != model)
                continue;
            if (!follows_in_pipe(m, v, &own_end) || (end != start && own_end != end))
                return false;
            end = own_end;
        }
    }
    return true;
}

/* What identifies the base with an adapter is the adapter. */
static void set_identity(const struct model_set *m, size_t i, struct header *h)
{
    model_source_set_identity(m->models[i], h, i);
    if (!m->adapts_base[i])
        return;
    const struct ckpt *adapter = model_source_adapter_of(m->models[i], m->models[0]);
    const struct hub_model hub = ckpt_hub_model(adapter);
    struct model *to = &h->models[i];
    to->fingerprint = ckpt_fingerprint(adapter);
    to->hub = arena_copy_text(&h->arena, hub.name);
    to->commit = arena_copy_text(&h->arena, hub.commit);
    to->quantization = NULL;
}

/* Copies a pipe that is not in the order of the header, and identifies the models. */
static int copy_unordered_pipe(struct model_set *m, struct stage *s, struct header *h,
                               struct error *e)
{
    bool all_known = true;
    for (size_t i = 0; i < m->n_models; i++) {
        if (model_source_is_pipe(m->models[i]) && !pipe_is_in_order(m, i) &&
            copy_pipe(m, s, i, "its tensors are not in the order of the stream", e))
            return -1;
        set_identity(m, i, h);
        all_known = all_known && h->models[i].has_fingerprint;
    }
    for (size_t i = 0; all_known && i < m->n_models; i++)
        stage_record_fingerprint(s, h->models[i].fingerprint);
    return 0;
}

bool model_set_is_one_pass(const struct stage *s)
{
    const struct model_set *m = s->data;
    for (size_t i = 0; m && i < m->n_models; i++)
        if (model_source_is_pipe(m->models[i]))
            return true;
    return false;
}

int model_set_rewind(struct stage *s, struct error *e)
{
    struct model_set *m = s->data;
    for (size_t i = 0; m && i < m->n_models; i++)
        if (model_source_is_pipe(m->models[i]) && copy_pipe(m, s, i, "it is read several times", e))
            return -1;
    return 0;
}

/* ---- the vocabulary -------------------------------------------------------------------------- */

/* The matrices that the stream may have. */
static int choose_vocabulary_tensors(const struct model_set *m)
{
    int outside = m->options.outside;
    return outside == MODEL_SET_OUTSIDE_FIRST  ? VOCABULARY_EMBEDDINGS
           : outside == MODEL_SET_OUTSIDE_NONE ? 0
           : outside == MODEL_SET_OUTSIDE_LAST ? VOCABULARY_HEADS
                                               : VOCABULARY_EMBEDDINGS | VOCABULARY_HEADS;
}

/* Rows are moved in any order. */
static int copy_pipe_of_moved_rows(const struct model_set *m, const struct stage *s,
                                   struct error *e)
{
    for (size_t i = 0; i < m->n_models; i++)
        if (model_source_is_pipe(m->models[i]) &&
            copy_pipe(m, s, i, "rows of its vocabulary are moved", e))
            return -1;
    return 0;
}

/* Moves the rows of embeddings and heads to the --vocabulary. */
static int move_vocabulary_rows(struct model_set *m, struct stage *s, struct error *e)
{
    const struct vocabulary_tensors_options o = {.which = choose_vocabulary_tensors(m),
                                                 .rounding = m->options.rounding,
                                                 .n_moved = m->n_models,
                                                 .tool = s->filter->name};
    if (vocabulary_option_open(s, m->options.vocabulary, &m->vocabulary, e))
        return -1;
    if (!m->vocabulary || !o.which)
        return 0;
    const char **names = arena_alloc(&m->arena, m->n_models, sizeof *names);
    for (size_t i = 0; i < m->n_models; i++)
        names[i] = model_source_name(m->models[i]);
    if (copy_pipe_of_moved_rows(m, s, e))
        return -1;
    m->moved = vocabulary_tensors_move(m->vocabulary, m->models, names, m->n_models, &o, e);
    if (!m->moved)
        return -1;
    vocabulary_print_note(m->vocabulary, s->filter->name);
    return 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

struct model_set *model_set_open(struct stage *s, const struct model_set_options *o,
                                 bool task_vectors, struct header *h, struct error *e)
{
    struct model_set *m = mem_alloc(1, sizeof *m);
    m->options = *o;
    m->header = h;
    m->allow_nonfinite = s->common.allow_nonfinite;
    m->matching.task_vectors = task_vectors;
    h->kind = task_vectors ? KIND_TASK_VECTORS : KIND_WEIGHTS;
    h->input_rounding = o->rounding;
    int failed = open_models(s, m, h, e) || move_vocabulary_rows(m, s, e);
    m->matching = (struct tensor_matching){.options = &m->options,
                                           .task_vectors = task_vectors,
                                           .n_models = m->n_models,
                                           .models = m->models,
                                           .adapts_base = m->adapts_base,
                                           .arena = &m->arena,
                                           .tool = s->filter->name};
    if (failed || copy_pipe_of_integers(m, s, e) || match_and_add_all_tensors(m, h, e) ||
        copy_unordered_pipe(m, s, h, e)) {
        model_set_close(m);
        return NULL;
    }
    tensor_name_set_layer_numbers(h);
    layer_slice_set_layer_numbers(m->models[0], h);
    m->hashes = full_hashes_new(&m->matching, h);
    return m;
}

void model_set_close(struct model_set *m)
{
    if (!m)
        return;
    full_hashes_free(m->hashes);
    for (size_t i = 0; i < m->n_models; i++)
        model_source_close(m->models[i]);
    vocabulary_tensors_free(m->moved);
    vocabulary_free(m->vocabulary);
    free(m->models);
    free(m->adapts_base);
    free(m->tensors);
    arena_free(&m->arena);
    free(m);
}

/* ---- elements ------------------------------------------------------------------------------- */

static const struct tensor_view *get_tensor_view(const struct model_set *m, size_t index, size_t k)
{
    const struct tensor_match *match = &m->tensors[index].match;
    return k == MODEL_SET_BASE_VECTOR ? &match->base : &match->views[k];
}

enum read_as { AS_STORED, AS_F32, AS_F64 };

static void read_contiguous(const struct model_set *m, const struct tensor_view *v, enum read_as as,
                            size_t first, size_t n, void *to)
{
    const struct model_source *model = m->models[v->model];
    if (as == AS_STORED)
        model_source_read_stored(model, v->tensor, first, n, to);
    else if (as == AS_F32)
        model_source_read_f32(model, v->tensor, first, n, m->options.rounding, to);
    else
        model_source_read_f64(model, v->tensor, first, n, m->options.rounding, to);
}

/* Reads n elements of the common shape; those of truncated rows row by row. */
static void read_view_elements(const struct model_set *m, size_t index, const struct tensor_view *v,
                               enum read_as as, size_t first, size_t n, void *to)
{
    size_t columns = m->tensors[index].columns,
           size = dtype_bits(get_checkpoint_tensor_of_view(m, v)->dtype) / 8;
    if (as != AS_STORED)
        size = as == AS_F32 ? 4 : 8;
    if (!v->columns) {
        read_contiguous(m, v, as, first, n, to);
        return;
    }
    char *out = to;
    while (n > 0) {
        size_t row = first / columns, column = first % columns;
        size_t run = columns - column < n ? columns - column : n;
        read_contiguous(m, v, as, row * v->columns + column, run, out);
        out += run * size;
        first += run;
        n -= run;
    }
}

bool model_set_needs_f64(const struct model_set *m, size_t index, size_t k)
{
    const struct tensor_view *v = get_tensor_view(m, index, k),
                             *base = &m->tensors[index].match.base;
    if (model_source_is_adapted(m->models[v->model], v->tensor) ||
        model_source_is_adapted(m->models[base->model], base->tensor))
        return true;
    return get_checkpoint_tensor_of_view(m, v)->dtype == DTYPE_F64 ||
           get_checkpoint_tensor_of_view(m, base)->dtype == DTYPE_F64;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Makes a block of a model that arrives through a pipe available. */
static int load_block(const struct model_set *m, const struct tensor_view *v, const struct block *b,
                      struct error *e)
{
    const struct model_source *model = m->models[v->model];
    return model_source_is_pipe(model) ? model_source_load(model, v->tensor, b->first, b->n, e) : 0;
}

/* An error if a number of the block, which was rounded to --dtype and is now x, of `dtype`, is
 * finite in the model but not in --dtype. Other numbers that are not finite are the runner's to
 * find. */
static int check_overflow(const struct model_set *m, size_t index, size_t k, const struct block *b,
                          enum dtype dtype, const void *x, struct error *e)
{
    const struct tensor_view *v = get_tensor_view(m, index, k);
    enum dtype rounding = m->options.rounding;
    size_t columns = m->tensors[index].columns;
    bool checks = rounding != DTYPE_NONE && !m->allow_nonfinite;
    size_t i = checks ? dtype_find_nonfinite(dtype, x, b->n) : b->n, element = b->first + i;
    double stored;
    if (i == b->n)
        return 0;
    if (v->columns)
        element = element / columns * v->columns + element % columns;
    model_source_read_f64(m->models[v->model], v->tensor, element, 1, DTYPE_NONE, &stored);
    return isfinite(stored)
               ? error_set(e,
                           "tensor %s of %s overflows %s: it has the number %g at flat index %zu "
                           "(choose another dtype, or --allow-nonfinite to accept it)",
                           m->header->tensors[index].name, model_source_name(m->models[v->model]),
                           dtype_name(rounding), stored, b->first + i)
               : 0;
}

/* Pages of truncated rows stay until the model is closed. */
static void release_pages_of_view(const struct model_set *m, const struct tensor_view *v,
                                  size_t first, size_t n)
{
    if (!v->columns)
        model_source_release_pages(m->models[v->model], v->tensor, first, n);
}

/* Hashes a block that has been loaded, counts its bytes and releases its pages. */
static void hash_and_release_block(struct model_set *m, size_t index, size_t k,
                                   const struct block *b)
{
    const struct tensor_view *v = get_tensor_view(m, index, k);
    const struct tensor_match *match = &m->tensors[index].match;
    full_hashes_add_block(m->hashes, index, match, k == MODEL_SET_BASE_VECTOR ? match->n : k, b);
    m->bytes_read += ckpt_tensor_bytes(get_checkpoint_tensor_of_view(m, v), b->n);
    size_t first, n; /* the whole block: the rest of a sampled block is not read */
    tensor_block_range(&m->header->tensors[index], b->index, &first, &n);
    release_pages_of_view(m, v, first, n);
}

static int read_block(struct model_set *m, size_t index, size_t k, const struct block *b,
                      enum read_as as, void *to, struct error *e)
{
    const struct tensor_view *v = get_tensor_view(m, index, k);
    if (load_block(m, v, b, e))
        return -1;
    read_view_elements(m, index, v, as, b->first, b->n, to);
    hash_and_release_block(m, index, k, b);
    return 0;
}

int model_set_read_block(struct model_set *m, size_t index, size_t k, const struct block *b,
                         void *to, struct error *e)
{
    enum dtype stored = get_checkpoint_tensor_of_view(m, get_tensor_view(m, index, k))->dtype;
    enum dtype rounding = model_set_dtype(m, index, k);
    if (rounding == stored)
        return read_block(m, index, k, b, AS_STORED, to, e);
    double *wide = mem_alloc_aligned(b->n * sizeof *wide);
    int failed = read_block(m, index, k, b, AS_F64, wide, e);
    if (!failed)
        dtype_from_f64(rounding, wide, to, b->n);
    free(wide);
    return failed ? -1 : check_overflow(m, index, k, b, rounding, to, e);
}

int model_set_read_block_f32(struct model_set *m, size_t index, size_t k, const struct block *b,
                             float *to, struct error *e)
{
    return read_block(m, index, k, b, AS_F32, to, e) ||
                   check_overflow(m, index, k, b, DTYPE_F32, to, e)
               ? -1
               : 0;
}

int model_set_read_block_f64(struct model_set *m, size_t index, size_t k, const struct block *b,
                             double *to, struct error *e)
{
    return read_block(m, index, k, b, AS_F64, to, e) ||
                   check_overflow(m, index, k, b, DTYPE_F64, to, e)
               ? -1
               : 0;
}

enum dtype model_set_dtype(const struct model_set *m, size_t index, size_t k)
{
    enum dtype d = get_checkpoint_tensor_of_view(m, get_tensor_view(m, index, k))->dtype;
    enum dtype rounding = m->options.rounding;
    return rounding != DTYPE_NONE && dtype_is_float(d) ? rounding : d;
}

const void *model_set_map_block(struct model_set *m, size_t index, size_t k, const struct block *b)
{
    const struct tensor_view *v = get_tensor_view(m, index, k);
    const struct ckpt_tensor *t = get_checkpoint_tensor_of_view(m, v);
    if (!t->data || v->columns || model_set_dtype(m, index, k) != t->dtype)
        return NULL;
    const unsigned char *bytes = t->data + dtype_bytes(t->dtype, b->first);
    if (dtype_bits(t->dtype) >= 8 && (uintptr_t)bytes % (dtype_bits(t->dtype) / 8))
        return NULL;
    hash_and_release_block(m, index, k, b);
    return bytes;
}

bool model_set_is_delta(const struct model_set *m, size_t index, size_t k)
{
    return tensor_matching_is_delta(&m->matching, &m->tensors[index].match, k);
}

void model_set_read_delta(struct model_set *m, size_t index, size_t k, const struct block *b,
                          float *to)
{
    const struct tensor_match *match = &m->tensors[index].match;
    const struct tensor_view *v = &match->views[k];
    const struct model_source *model = m->models[v->model];
    if (model_source_is_adapted(model, v->tensor))
        model_source_read_delta(model, v->tensor, b->first, b->n, to);
    else
        memset(to, 0, b->n * sizeof *to);
    full_hashes_add_block(m->hashes, index, match, k, b);
}

static int load_and_hash_block(struct model_set *m, size_t index, size_t k, const struct block *b,
                               struct error *e)
{
    if (load_block(m, get_tensor_view(m, index, k), b, e))
        return -1;
    hash_and_release_block(m, index, k, b);
    return 0;
}

int model_set_hash_block(const struct job *job, const struct block *b, struct error *e)
{
    struct model_set *m = job->stage->data;
    const struct tensor_match *match = &m->tensors[job->index].match;
    bool needs_base = false;
    for (size_t k = 0; k < match->n; k++) {
        bool is_delta = model_set_is_delta(m, job->index, k);
        needs_base |= m->matching.task_vectors && !is_delta;
        if (is_delta)
            full_hashes_add_block(m->hashes, job->index, match, k, b);
        else if (load_and_hash_block(m, job->index, k, b, e))
            return -1;
    }
    return needs_base ? load_and_hash_block(m, job->index, MODEL_SET_BASE_VECTOR, b, e) : 0;
}

/* ---- hashes --------------------------------------------------------------------------------- */

/* The block that is read last was released before. */
static void release_last_block(const struct model_set *m, size_t index)
{
    const struct tensor *t = &m->header->tensors[index];
    size_t n_blocks = tensor_block_count(t), first, n;
    if (n_blocks == 0)
        return;
    tensor_block_range(t, n_blocks - 1, &first, &n);
    for (size_t k = 0; k < t->n_vectors; k++)
        release_pages_of_view(m, get_tensor_view(m, index, k), first, n);
    if (m->matching.task_vectors)
        release_pages_of_view(m, get_tensor_view(m, index, MODEL_SET_BASE_VECTOR), first, n);
}

void model_set_end_tensor(struct model_set *m, size_t index, bool ok, struct stage *s)
{
    if (ok)
        full_hashes_end_tensor(m->hashes, index, &m->tensors[index].match, s);
    release_last_block(m, index);
}

int model_set_report_hashes(const struct model_set *m, struct stage *s, struct error *e)
{
    for (size_t i = 0; i < m->n_models; i++)
        if (model_source_check_unchanged(m->models[i], e))
            return -1;
    full_hashes_report(m->hashes, s);
    s->bytes_read = m->bytes_read;
    return 0;
}
