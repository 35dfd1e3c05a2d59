#include "model_set.h"

#include "hash.h"
#include "name_scheme.h"
#include "run_context.h"
#include "stage.h"
#include "tensor_name.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Where one model's contribution to one tensor comes from. */
struct view {
    size_t member, tensor;
    size_t columns; /* of the source's rows, where the tensor is a cut of it; 0: it is whole */
};

/* One tensor of the family. */
struct match {
    struct view base; /* task vectors */
    size_t n;         /* vectors */
    struct view *views;
    size_t *models;   /* [vector]: whose it is */
    size_t columns;   /* of the family's tensor */
    uint64_t *hashes; /* [view, the base's last][block], until the tensor has been read */
};

struct model_set {
    struct model_set_options options;
    bool task_vectors;
    size_t n_members;
    struct model_source **members;
    size_t n_matches;
    struct match *matches;
    const struct header *header; /* the stage's own, for block geometry */
    uint64_t **hashes;           /* [member][tensor of the family]: what was read; 0: nothing */
    pthread_mutex_t lock;        /* of who makes room for a tensor's hashes */
    _Atomic uint64_t bytes_read;
    struct arena arena;
};

/* ---- matching ------------------------------------------------------------------------------- */

static const struct ckpt_tensor *tensor_of(const struct model_set *f, const struct view *v)
{
    return model_source_tensor(f->members[v->member], v->tensor);
}

static bool same_shape(const struct ckpt_tensor *a, const struct ckpt_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

static int mismatch(struct model_set *f, size_t m, const struct ckpt_tensor *own,
                    const struct ckpt_tensor *first, struct error *e)
{
    return error_set(
        e, "tensor %s is %s in %s but %s in %s%s", first->name,
        tensor_format_shape(&f->arena, own->rank, own->shape), model_source_name(f->members[m]),
        tensor_format_shape(&f->arena, first->rank, first->shape), model_source_name(f->members[0]),
        tensor_name_has_vocabulary_rows(first->name) ? " (--embed=truncate or --embed=base goes on)"
                                                     : " (--mismatch=drop leaves it out)");
}

/* Does this model have the q, k and v of a vision layer in three tensors and not in one, or in one
 * and not in three? */
static bool is_fused_otherwise(const struct model_source *in, const char *name)
{
    char plain[NAME_SCHEME_MAX_NAME], other[NAME_SCHEME_MAX_NAME];
    if (!name_scheme_to_canonical(name, plain) ||
        name_scheme_qkv_kind(plain) == NAME_SCHEME_NOT_QKV)
        return false;
    size_t head = (size_t)(strstr(plain, ".attn.") + strlen(".attn.") - plain);
    const char *rest = strchr(plain + head, '.'),
               *word = name_scheme_qkv_kind(plain) == NAME_SCHEME_FUSED_QKV ? "q_proj" : "qkv";
    int n = snprintf(other, sizeof other, "%.*s%s%s", (int)head, plain, word, rest);
    return n > 0 && (size_t)n < sizeof other && name_scheme_find_tensor(in, other) >= 0;
}

static int fused_otherwise(const struct model_set *f, size_t m, const char *name, struct error *e)
{
    return error_set(
        e,
        "one of %s and %s has q, k and v of a vision layer in one tensor, the other in "
        "three (%s): save both in one layout",
        model_source_name(f->members[0]), model_source_name(f->members[m]), name);
}

/* Finds model m's tensor for the first model's `name`: 1 found, 0 left out, -1 error. */
static int find_view(struct model_set *f, size_t m, const char *name, struct view *v,
                     struct error *e)
{
    long own = name_scheme_find_tensor_or_tied(f->members[m], name);
    long first = name_scheme_find_tensor_or_tied(f->members[0], name);
    *v = (struct view){.member = 0, .tensor = (size_t)first};
    if (own < 0) {
        if (is_fused_otherwise(f->members[m], name))
            return fused_otherwise(f, m, name, e);
        if (f->options.missing < 0)
            return error_set(e,
                             "%s lacks the tensor %s of %s (--missing=base or --missing=skip "
                             "goes on)",
                             model_source_name(f->members[m]), name,
                             model_source_name(f->members[0]));
        return f->options.missing == MODEL_SET_MISSING_BASE;
    }
    const struct ckpt_tensor *a = model_source_tensor(f->members[m], (size_t)own);
    const struct ckpt_tensor *b = model_source_tensor(f->members[0], (size_t)first);
    if (same_shape(a, b)) {
        *v = (struct view){.member = m, .tensor = (size_t)own};
        return 1;
    }
    if (tensor_name_has_vocabulary_rows(name) && f->options.embed == MODEL_SET_EMBED_BASE)
        return 1;
    if (tensor_name_has_vocabulary_rows(name) && f->options.embed == MODEL_SET_EMBED_TRUNCATE &&
        a->rank == 2 && b->rank == 2) {
        *v = (struct view){.member = m, .tensor = (size_t)own, .columns = a->shape[1]};
        return 1;
    }
    if (!tensor_name_has_vocabulary_rows(name) && f->options.mismatch >= 0)
        return 0;
    return mismatch(f, m, a, b, e);
}

/* The shape in which the views of a tensor meet: the first model's, or the common part of
 * embeddings that were asked to be cut. */
static const uint64_t *common_shape(struct model_set *f, const struct match *m,
                                    const struct ckpt_tensor *first)
{
    uint64_t *dims = arena_copy(&f->arena, first->shape, first->rank * sizeof *dims);
    for (size_t k = 0; k < m->n; k++) {
        const struct view *v = &m->views[k];
        const struct ckpt_tensor *t = tensor_of(f, v);
        for (size_t d = 0; v->columns && d < 2; d++)
            dims[d] = t->shape[d] < dims[d] ? t->shape[d] : dims[d];
    }
    return dims;
}

/* A view whose own shape is the common one needs no cutting; one that is not is cut by columns. */
static void settle_cut(struct model_set *f, struct view *v, size_t rank, const uint64_t *shape)
{
    const struct ckpt_tensor *t = tensor_of(f, v);
    bool cut = rank == 2 && t->shape[1] != shape[1];
    v->columns = cut ? t->shape[1] : 0;
}

static bool changed(struct model_set *f, const struct match *m)
{
    const struct ckpt_tensor *b = tensor_of(f, &m->base);
    for (size_t k = 0; k < m->n; k++) {
        const struct ckpt_tensor *t = tensor_of(f, &m->views[k]);
        if (t->dtype != b->dtype || !same_shape(t, b) ||
            model_source_hash_elements(f->members[m->views[k].member], m->views[k].tensor, 0,
                                       t->elements) !=
                model_source_hash_elements(f->members[0], m->base.tensor, 0, b->elements))
            return true;
    }
    return false;
}

/* True if the tensor can be subtracted; says so where leaving it out loses something. */
static int is_subtractable(struct stage *s, struct model_set *f, const char *name,
                           const struct match *m, struct error *e)
{
    bool is_float = dtype_is_float(tensor_of(f, &m->base)->dtype);
    bool all_float = is_float;
    for (size_t k = 0; k < m->n; k++)
        all_float &= dtype_is_float(tensor_of(f, &m->views[k])->dtype);
    if (is_float != all_float)
        return error_set(e, "tensor %s is floating in one model and not in another", name);
    enum dtype d = tensor_of(f, &m->base)->dtype;
    if (dtype_is_quantized(d) && changed(f, m))
        return error_set(e,
                         "tensor %s is %s and differs between the models; quantized weights cannot "
                         "be subtracted: convert the models first",
                         name, dtype_name(d));
    if (!is_float && changed(f, m))
        fprintf(stderr,
                "%s: warning: tensor %s is %s and differs between the models; it is left "
                "out\n",
                s->filter->name, name, dtype_name(d));
    return is_float;
}

static struct vector plain_vector(const struct model_set *f, const struct match *m, size_t k)
{
    const struct ckpt_tensor *t = tensor_of(f, &m->views[k]);
    enum dtype wire = t->dtype;
    if (f->task_vectors)
        wire = DTYPE_F32;
    else if (f->options.rounding != DTYPE_NONE && dtype_is_float(wire))
        wire = f->options.rounding;
    const char *name = model_source_stored_name(f->members[m->views[k].member], m->views[k].tensor);
    return vector_with_defaults(m->models[k], name, wire, t->dtype);
}

/* Where no expert is left for a tensor the base's stands in for all of them. */
static void stand_in(const struct model_set *f, struct match *m)
{
    for (size_t i = 1; i < f->n_members; i++) {
        m->views[m->n] = m->base;
        m->models[m->n++] = i;
    }
}

/* Matches one tensor and appends it to family and manifest, unless it is left out. */
static int add_match(struct stage *s, struct model_set *f, struct header *h, const char *name,
                     struct error *e)
{
    struct arena *a = &f->arena;
    struct match m = {.views = arena_alloc(a, f->n_members, sizeof *m.views),
                      .models = arena_alloc(a, f->n_members, sizeof *m.models)};
    for (size_t i = 0; i < f->n_members; i++) {
        int found = find_view(f, i, name, &m.views[m.n], e);
        if (found < 0)
            return -1;
        if (found && f->task_vectors && i == 0) {
            m.base = m.views[0];
        } else if (found) {
            m.models[m.n++] = i;
        }
    }
    if (m.n == 0)
        stand_in(f, &m);
    size_t place = (size_t)name_scheme_find_tensor_or_tied(f->members[0], name);
    const struct ckpt_tensor *first = model_source_tensor(f->members[0], place);
    const char *base_name = model_source_stored_name(f->members[0], place);
    const uint64_t *shape = common_shape(f, &m, first);
    for (size_t k = 0; k < m.n; k++)
        settle_cut(f, &m.views[k], first->rank, shape);
    if (f->task_vectors)
        settle_cut(f, &m.base, first->rank, shape);
    int take = f->task_vectors ? is_subtractable(s, f, name, &m, e) : 1;
    if (take <= 0)
        return take;
    struct tensor t = {.name = arena_copy_text_n(&h->arena, name, strlen(name)),
                       .rank = first->rank,
                       .n_vectors = m.n,
                       .input_index = h->n_tensors};
    if (f->task_vectors && strcmp(base_name, name) != 0)
        t.base_name = arena_copy_text_n(&h->arena, base_name, strlen(base_name));
    t.shape = arena_copy(&h->arena, shape, first->rank * sizeof *shape);
    t.vectors = arena_alloc(&h->arena, m.n, sizeof *t.vectors);
    for (size_t k = 0; k < m.n; k++) {
        t.vectors[k] = plain_vector(f, &m, k);
        const char *source = t.vectors[k].source;
        t.vectors[k].source = strcmp(source, name) == 0
                                  ? t.name
                                  : arena_copy_text_n(&h->arena, source, strlen(source));
    }
    m.columns = tensor_columns(&t);
    h->tensors[h->n_tensors++] = t;
    f->matches[f->n_matches++] = m;
    return 0;
}

/* ---- names ---------------------------------------------------------------------------------- */

/* Buffers that old Llama files hold beside the weights: computed, not trained. */
static bool is_ignorable(const char *name)
{
    return strstr(name, "rotary_emb.inv_freq") != NULL;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Does this slice put the tensor out? */
static bool is_wanted(const struct model_set *f, const char *name)
{
    const struct model_source_select_layers *cut = model_source_selected_layers(f->members[0]);
    int outside = f->options.outside;
    if (f->task_vectors && is_ignorable(name))
        return false;
    return outside < 0 || layer_slice_contributes(name, cut->stack, cut->length,
                                                  outside == MODEL_SET_OUTSIDE_FIRST,
                                                  outside == MODEL_SET_OUTSIDE_LAST);
}

/* Has the first model the tensor under this name, or in another layout under one that model m does
 * not use for something else? */
static bool is_in_first(const struct model_set *f, size_t m, const char *name)
{
    char plain[NAME_SCHEME_MAX_NAME];
    if (model_source_find_tensor(f->members[0], name) >= 0)
        return true;
    long first =
        name_scheme_to_canonical(name, plain) ? name_scheme_find_tensor(f->members[0], plain) : -1;
    return first >= 0 &&
           model_source_find_tensor(f->members[m],
                                    model_source_tensor(f->members[0], (size_t)first)->name) < 0;
}

/* The names of the first model, and of a head that only other models have. The caller frees. */
static int collect_names(struct stage *s, struct model_set *f, const char ***names, size_t *n,
                         struct error *e)
{
    size_t room = model_source_tensor_count(f->members[0]) + f->n_members;
    const char **all = mem_alloc(room, sizeof *all);
    *names = all;
    *n = 0;
    for (size_t i = 0; i < model_source_tensor_count(f->members[0]); i++)
        if (is_wanted(f, model_source_tensor(f->members[0], i)->name))
            all[(*n)++] = model_source_tensor(f->members[0], i)->name;
    size_t own = *n;
    for (size_t m = 1; m < f->n_members; m++)
        for (size_t i = 0; i < model_source_tensor_count(f->members[m]); i++) {
            const char *name = model_source_tensor(f->members[m], i)->name;
            bool known = is_in_first(f, m, name) || is_ignorable(name) || !is_wanted(f, name);
            for (size_t j = own; !known && j < *n; j++)
                known = strcmp(all[j], name) == 0;
            if (known)
                continue;
            if (tensor_name_is_lm_head(name) &&
                name_scheme_find_tensor_or_tied(f->members[0], name) >= 0)
                all[(*n)++] = name;
            else if (is_fused_otherwise(f->members[0], name))
                return fused_otherwise(f, m, name, e);
            else if (f->options.missing < 0)
                return error_set(
                    e, "%s has a tensor %s that %s lacks (--missing=skip leaves it out)",
                    model_source_name(f->members[m]), name, model_source_name(f->members[0]));
            else
                fprintf(stderr, "%s: warning: tensor %s of %s is left out: %s has none\n",
                        s->filter->name, name, model_source_name(f->members[m]),
                        model_source_name(f->members[0]));
        }
    qsort(all, *n, sizeof *all, by_text);
    return 0;
}

/* ---- opening -------------------------------------------------------------------------------- */

static bool is_given(const struct stage *s, const char *option)
{
    size_t i = 0;
    while (s->filter->options[i].name && strcmp(s->filter->options[i].name, option) != 0)
        i++;
    return s->filter->options[i].name && s->given[i];
}

/* Layers pair by their position in the ranges: all are numbered as the first model's. */
static int plan_slices(const struct stage *s, const struct model_set *f,
                       struct layer_slice_options *o, struct error *e)
{
    bool numbered = is_given(s, "first-layer");
    if (numbered && f->options.first_layer >= 1000000)
        return error_set(e, "--first-layer must be below 1000000");
    *o = (struct layer_slice_options){.stack = f->options.stack,
                                      .first_layer = numbered ? (long)f->options.first_layer : -1,
                                      .without_range = numbered};
    for (size_t i = 0; i < s->operands.n; i++)
        o->without_range |= layer_slice_is_given(s->operands.items[i]);
    const char *needs = f->options.stack ? "--stack" : f->options.outside >= 0 ? "--outside" : NULL;
    return needs && !o->without_range
               ? error_set(e, "%s needs a range in an operand, or --first-layer", needs)
               : 0;
}

static int check_length(const struct model_set *f, const struct model_source *in, struct error *e)
{
    const struct model_source_select_layers *first = model_source_selected_layers(f->members[0]),
                                            *cut = model_source_selected_layers(in);
    long n = first ? first->to - first->from : 0, own = cut ? cut->to - cut->from : 0;
    return n == own ? 0
                    : error_set(e, "%ld layers of %s cannot be paired with %ld of %s", own,
                                model_source_name(in), n, model_source_name(f->members[0]));
}

static int open_members(struct stage *s, struct model_set *f, struct header *h, struct error *e)
{
    struct layer_slice_options slices;
    if (plan_slices(s, f, &slices, e))
        return -1;
    f->members = mem_alloc(s->operands.n, sizeof *f->members);
    for (size_t i = 0; i < s->operands.n; i++) {
        const char *operand = s->operands.items[i];
        struct model_source *in =
            layer_slice_open(operand, &slices, s->common.spool, s->filter->name, e);
        if (!in)
            return -1;
        f->members[f->n_members++] = in;
        if (check_length(f, in, e))
            return -1;
        if (model_source_selected_layers(in))
            slices.first_layer = model_source_selected_layers(in)->first;
        const char *role = f->task_vectors ? (i ? "expert" : "base") : NULL;
        long model = header_add_model(h, model_source_name(in), role, e);
        if (model < 0)
            return -1;
        h->models[model].has_fingerprint = true;
        h->models[model].fingerprint = model_source_fingerprint(in);
        stage_record_operand(s, layer_slice_describe(in, operand, &s->arena));
    }
    return 0;
}

struct model_set *model_set_open(struct stage *s, const struct model_set_options *o,
                                 bool task_vectors, struct header *h, struct error *e)
{
    struct model_set *f = mem_alloc(1, sizeof *f);
    pthread_mutex_init(&f->lock, NULL);
    const char **names = NULL;
    size_t n = 0;
    f->options = *o;
    f->task_vectors = task_vectors;
    h->kind = task_vectors ? KIND_TASK_VECTORS : KIND_WEIGHTS;
    h->input_rounding = o->rounding;
    f->header = h;
    int failed = open_members(s, f, h, e) || collect_names(s, f, &names, &n, e);
    if (!failed) {
        f->matches = mem_alloc(n, sizeof *f->matches);
        h->tensors = arena_alloc(&h->arena, n, sizeof *h->tensors);
    }
    for (size_t i = 0; !failed && i < n; i++)
        failed = add_match(s, f, h, names[i], e);
    free(names);
    if (failed) {
        model_set_close(f);
        return NULL;
    }
    tensor_name_set_layer_numbers(h);
    layer_slice_set_layer_numbers(f->members[0], h);
    f->hashes = mem_alloc(f->n_members, sizeof *f->hashes);
    for (size_t m = 0; m < f->n_members; m++)
        f->hashes[m] = mem_alloc(f->n_matches, sizeof **f->hashes);
    return f;
}

void model_set_close(struct model_set *f)
{
    if (!f)
        return;
    for (size_t m = 0; m < f->n_members; m++) {
        model_source_close(f->members[m]);
        if (f->hashes)
            free(f->hashes[m]);
    }
    for (size_t i = 0; i < f->n_matches; i++)
        free(f->matches[i].hashes);
    free(f->hashes);
    pthread_mutex_destroy(&f->lock);
    free(f->members);
    free(f->matches);
    arena_free(&f->arena);
    free(f);
}

/* ---- elements ------------------------------------------------------------------------------- */

static const struct view *view_of(const struct model_set *f, size_t index, size_t k)
{
    const struct match *m = &f->matches[index];
    return k == MODEL_SET_BASE_VECTOR ? &m->base : &m->views[k];
}

enum form { AS_STORED, AS_F32, AS_F64 };

static void read_run(const struct model_set *f, const struct view *v, enum form form, size_t first,
                     size_t n, void *to)
{
    const struct model_source *in = f->members[v->member];
    if (form == AS_STORED)
        model_source_read_stored(in, v->tensor, first, n, to);
    else if (form == AS_F32)
        model_source_read_f32(in, v->tensor, first, n, f->options.rounding, to);
    else
        model_source_read_f64(in, v->tensor, first, n, f->options.rounding, to);
}

/* Whole views in one go, cut ones row by row. */
static void read_view(const struct model_set *f, size_t index, size_t k, enum form form,
                      size_t first, size_t n, void *to)
{
    const struct view *v = view_of(f, index, k);
    size_t columns = f->matches[index].columns, size = dtype_bits(tensor_of(f, v)->dtype) / 8;
    if (form != AS_STORED)
        size = form == AS_F32 ? 4 : 8;
    if (!v->columns) {
        read_run(f, v, form, first, n, to);
        return;
    }
    char *out = to;
    while (n > 0) {
        size_t row = first / columns, column = first % columns;
        size_t m = columns - column < n ? columns - column : n;
        read_run(f, v, form, row * v->columns + column, m, out);
        out += m * size;
        first += m;
        n -= m;
    }
}

bool model_set_needs_f64(const struct model_set *f, size_t index, size_t k)
{
    return tensor_of(f, view_of(f, index, k))->dtype == DTYPE_F64 ||
           tensor_of(f, &f->matches[index].base)->dtype == DTYPE_F64;
}

/* ---- hashes --------------------------------------------------------------------------------- */

/* Full hash of a model (share/stream.md, "Full hashes"): per tensor over its name, dtype, shape
 * and the hashes of its blocks; then over those of the tensors in order. */

static uint64_t hash_rows(const struct model_source *in, const struct view *v,
                          const struct block *b, size_t columns)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < b->n; i += columns)
        hash = hash * 31 + model_source_hash_elements(
                               in, v->tensor, (b->first + i) / columns * v->columns, columns);
    return hash;
}

/* Keeps the block's hash, if this is all of it and the first time. */
static void keep_hash(struct model_set *f, size_t index, size_t k, const struct block *b)
{
    struct match *m = &f->matches[index];
    const struct tensor *t = &f->header->tensors[index];
    const struct view *v = view_of(f, index, k);
    size_t blocks = tensor_block_count(t), first, n;
    tensor_block_range(t, b->index, &first, &n);
    if (b->n < n)
        return;
    pthread_mutex_lock(&f->lock);
    if (!m->hashes)
        m->hashes = mem_alloc((m->n + 1) * blocks, sizeof *m->hashes);
    pthread_mutex_unlock(&f->lock);
    uint64_t *hash = &m->hashes[(k == MODEL_SET_BASE_VECTOR ? m->n : k) * blocks + b->index];
    if (*hash)
        return;
    *hash = v->columns
                ? hash_rows(f->members[v->member], v, b, m->columns)
                : model_source_hash_elements(f->members[v->member], v->tensor, b->first, b->n);
}

static uint64_t tensor_hash(const struct ckpt_tensor *t, const char *name, const uint64_t *blocks,
                            size_t n)
{
    XXH3_state_t *state = XXH3_createState();
    const char *dtype = dtype_name(t->dtype);
    uint64_t rank = t->rank;
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, name, strlen(name) + 1);
    XXH3_64bits_update(state, dtype, strlen(dtype) + 1);
    XXH3_64bits_update(state, &rank, sizeof rank);
    XXH3_64bits_update(state, t->shape, t->rank * sizeof *t->shape);
    XXH3_64bits_update(state, blocks, n * sizeof *blocks);
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash ? hash : 1;
}

void model_set_hash_tensor(struct model_set *f, size_t index, struct stage *s)
{
    struct match *m = &f->matches[index];
    size_t blocks = tensor_block_count(&f->header->tensors[index]);
    for (size_t k = 0; k < m->n + f->task_vectors; k++) {
        const struct view *v = k < m->n ? &m->views[k] : &m->base;
        f->hashes[v->member][index] =
            tensor_hash(tensor_of(f, v), model_source_stored_name(f->members[v->member], v->tensor),
                        m->hashes ? m->hashes + k * blocks : NULL, m->hashes ? blocks : 0);
        run_context_add_tensor_hash(s, model_source_name(f->members[v->member]), index,
                                    f->hashes[v->member][index]);
    }
    free(m->hashes);
    m->hashes = NULL;
}

void model_set_report_hashes(const struct model_set *f, struct stage *s)
{
    for (size_t m = 0; m < f->n_members; m++) {
        XXH3_state_t *state = XXH3_createState();
        XXH3_64bits_reset(state);
        for (size_t i = 0; i < f->n_matches; i++)
            if (f->hashes[m][i])
                XXH3_64bits_update(state, &f->hashes[m][i], sizeof f->hashes[m][i]);
        run_context_add_model_hash(s, model_source_name(f->members[m]), XXH3_64bits_digest(state));
        XXH3_freeState(state);
    }
    s->bytes_read = f->bytes_read;
}

/* ---- reading -------------------------------------------------------------------------------- */

static void read_block(struct model_set *f, size_t index, size_t k, const struct block *b,
                       enum form form, void *to)
{
    const struct view *v = view_of(f, index, k);
    read_view(f, index, k, form, b->first, b->n, to);
    keep_hash(f, index, k, b);
    f->bytes_read += dtype_bytes(tensor_of(f, v)->dtype, b->n);
    size_t first, n; /* of the whole block: after its head nobody reads the rest */
    tensor_block_range(&f->header->tensors[index], b->index, &first, &n);
    if (!v->columns) /* a cut is read row by row, its pages go when the model does */
        model_source_release_pages(f->members[v->member], v->tensor, first, n);
}

void model_set_read_block(struct model_set *f, size_t index, size_t k, const struct block *b,
                          void *to)
{
    enum dtype stored = tensor_of(f, view_of(f, index, k))->dtype, wire = f->options.rounding;
    if (wire == DTYPE_NONE || wire == stored || !dtype_is_float(stored)) {
        read_block(f, index, k, b, AS_STORED, to);
        return;
    }
    double *wide = mem_alloc_aligned(b->n * sizeof *wide);
    read_block(f, index, k, b, AS_F64, wide);
    dtype_from_f64(wire, wide, to, b->n);
    free(wide);
}

void model_set_read_block_f32(struct model_set *f, size_t index, size_t k, const struct block *b,
                              float *to)
{
    read_block(f, index, k, b, AS_F32, to);
}

void model_set_read_block_f64(struct model_set *f, size_t index, size_t k, const struct block *b,
                              double *to)
{
    read_block(f, index, k, b, AS_F64, to);
}
