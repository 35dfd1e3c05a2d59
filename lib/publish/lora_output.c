#include "lora_output.h"

#include "adapter_targets.h"
#include "glob_pattern.h"
#include "name_index.h"
#include "parts_plan.h"
#include "stage_rules.h"
#include "svd.h"
#include "tensor_name.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX     "base_model.model."
#define MAX_POWERS 16 /* ranks 1, 2, 4, ... in the card */

/* What becomes of a tensor. */
enum form { FORM_NONE, FORM_FACTORS, FORM_WHOLE };

/* A tensor of the adapter. */
struct part {
    const char *name;
    enum dtype dtype;
    size_t rank;
    uint64_t shape[2];
    const uint64_t *whole_shape; /* NULL: `shape` */
    void *bytes;
};

struct lora_tensor {
    enum form form;
    const char *module;
    bool is_bias, is_embedding, is_transpose;
    enum dtype dtype;
    size_t rank;               /* that is kept */
    double energy, kept;       /* |D|^2, and of the first `rank` singular values */
    size_t n_parts;            /* 0: it was left out, for it is zero */
    struct part parts[2];      /* A and B, or the whole */
    double powers[MAX_POWERS]; /* of the first 1, 2, 4, ... singular values */
};

struct lora_output {
    struct lora_output_options options;
    const struct header *header;
    const struct base_model *base;
    struct lora_tensor *tensors; /* [tensor of the stream] */
    struct name_index weights;   /* of `tensors` by the modules whose weights they are */
    bool has_conv1d;
    struct arena arena;
};

/* ---- choosing -------------------------------------------------------------------------------- */

/* Cuts ".weight" or ".bias" off; NULL if the name has neither. */
static const char *cut_leaf(struct lora_output *l, const char *name, bool *is_bias)
{
    const char *dot = strrchr(name, '.');
    *is_bias = dot && strcmp(dot, ".bias") == 0;
    if (!dot || (!*is_bias && strcmp(dot, ".weight") != 0))
        return NULL;
    return arena_copy_text_n(&l->arena, name, (size_t)(dot - name));
}

/* The name of the base's tensor, by which the adapter will find it. */
static const char *base_name(const struct lora_output *l, size_t index)
{
    return base_model_matching_tensor(l->base, index)->name;
}

static enum form choose_form(const struct lora_output *l, const struct tensor *t,
                             const struct lora_tensor *to)
{
    double value;
    bool is_matrix = t->rank == 2 && !to->is_bias && tensor_elements(t) > 0;
    bool is_vocabulary = to->is_embedding || tensor_name_is_lm_head(t->name);
    if (tensor_rules_find_value(&l->options.whole, NULL, t->name, t->layer, t->layers, &value))
        return FORM_WHOLE;
    if (!is_matrix)
        return l->options.skips_others ? FORM_NONE : FORM_WHOLE;
    if (stage_rules_tensor_value(&l->options.rank, t, INFINITY) < 1)
        return FORM_NONE;
    return is_vocabulary && !l->options.embeddings ? FORM_WHOLE : FORM_FACTORS;
}

static int choose(struct lora_output *l, size_t index, const struct adapter_base *base,
                  struct error *e)
{
    const struct tensor *t = &l->header->tensors[index];
    struct lora_tensor *to = &l->tensors[index];
    const char *name = base_name(l, index);
    if (tensor_name_is_lm_head(t->name) && !tensor_name_is_lm_head(name))
        return error_set(e,
                         "tensor %s: the head of %s is its token embedding, from which an adapter "
                         "cannot part it",
                         t->name, model_source_name(base_model_source(l->base)));
    to->module = cut_leaf(l, name, &to->is_bias);
    if (!to->module)
        return error_set(e,
                         "tensor %s is neither the weight nor the bias of a module, so a LoRA "
                         "adapter cannot have it",
                         name);
    if (!to->is_bias)
        name_index_add(&l->weights, to->module, index, &l->arena);
    to->is_embedding = t->rank == 2 && tensor_name_is_embedding(name);
    bool is_conv1d = t->rank == 2 && adapter_targets_is_conv1d(base, to->module);
    to->is_transpose = to->is_embedding || is_conv1d;
    to->form = choose_form(l, t, to);
    l->has_conv1d |= to->form == FORM_FACTORS && is_conv1d;
    to->dtype = l->options.dtype != DTYPE_NONE
                    ? l->options.dtype
                    : base_model_matching_tensor(l->base, index)->file_dtype;
    size_t side = t->rank == 2 && t->shape[0] > t->shape[1] ? t->shape[1] : t->shape[0];
    if (to->form == FORM_FACTORS && side > MATRIX_EIGEN_MAX)
        return error_set(e,
                         "tensor %s has %zu rows or columns at least; matrices of at most %zu can "
                         "be decomposed",
                         name, side, MATRIX_EIGEN_MAX);
    return 0;
}

struct lora_output *lora_output_new(const struct header *h, const struct base_model *base,
                                    const struct lora_output_options *options, struct error *e)
{
    struct lora_output *l = mem_alloc(1, sizeof *l);
    *l = (struct lora_output){.options = *options, .header = h, .base = base};
    l->tensors = mem_alloc(h->n_tensors, sizeof *l->tensors);
    const struct adapter_base below = model_source_adapter_base(base_model_source(base));
    int failed = matrix_init(e);
    for (size_t i = 0; !failed && i < h->n_tensors; i++)
        failed = choose(l, i, &below, e);
    if (!failed)
        return l;
    lora_output_free(l);
    return NULL;
}

void lora_output_free(struct lora_output *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->header->n_tensors; i++)
        for (size_t k = 0; k < l->tensors[i].n_parts; k++)
            free(l->tensors[i].parts[k].bytes);
    free(l->tensors);
    arena_free(&l->arena);
    free(l);
}

bool lora_output_wants_tensor(const struct lora_output *l, size_t index)
{
    return l->tensors[index].form != FORM_NONE;
}

/* ---- factors --------------------------------------------------------------------------------- */

/* How many of the `n` singular values, descending, are kept. */
static size_t choose_rank(const struct lora_output *l, const struct tensor *t, const double *s,
                          size_t n, double energy)
{
    double most = stage_rules_tensor_value(&l->options.rank, t, INFINITY);
    double share = stage_rules_tensor_value(&l->options.energy, t, 1), sum = 0;
    size_t rank = 0;
    while (rank < n && (double)rank + 1 <= most && s[rank] > l->options.epsilon &&
           s[rank] > SVD_MIN_TOLERANCE * s[0] && (share >= 1 || sum < share * energy)) {
        sum += s[rank] * s[rank];
        rank++;
    }
    return rank;
}

/* Have the n elements of a part been rounded to finite numbers? */
static int check_range(const struct part *p, size_t n, struct error *e)
{
    return dtype_find_nonfinite(p->dtype, p->bytes, n) == n
               ? 0
               : error_set(e, "%s has a number beyond the range of %s; choose another --dtype",
                           p->name, dtype_name(p->dtype));
}

/* The most singular values that are kept of a matrix. */
static size_t highest_rank(const struct lora_output *l, const struct tensor *t)
{
    double most = stage_rules_tensor_value(&l->options.rank, t, INFINITY);
    uint64_t side = t->shape[0] < t->shape[1] ? t->shape[0] : t->shape[1];
    return most < (double)side ? (size_t)most : side;
}

/* A part of (rows, columns), without its elements. */
static struct part make_part(const struct lora_tensor *t, const char *kind, size_t rows,
                             size_t columns, struct arena *a)
{
    return (struct part){.name = arena_printf(a, PREFIX "%s.%s", t->module, kind),
                         .dtype = t->dtype,
                         .rank = 2,
                         .shape = {rows, columns}};
}

/* The factors A and B of a matrix of m rows and n columns. */
static void make_factors(const struct lora_tensor *t, size_t rank, size_t m, size_t n,
                         struct part parts[2], struct arena *a)
{
    parts[0] = make_part(t, t->is_embedding ? "lora_embedding_A" : "lora_A.weight", rank,
                         t->is_transpose ? m : n, a);
    parts[1] = make_part(t, t->is_embedding ? "lora_embedding_B" : "lora_B.weight",
                         t->is_transpose ? n : m, rank, a);
}

/* Sets the elements of a part: `from`, whose rows are scaled by `scale`, or its transpose. */
static int set_part(struct part *to, const double *from, bool is_transpose, const double *scale,
                    struct error *e)
{
    size_t rows = to->shape[0], columns = to->shape[1];
    double *wide = mem_alloc_aligned(rows * columns * sizeof *wide);
    size_t long_side = is_transpose ? rows : columns;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            size_t k = is_transpose ? j : i, at = is_transpose ? i : j;
            wide[i * columns + j] = scale[k] * from[k * long_side + at];
        }
    to->bytes = mem_alloc_aligned(dtype_bytes(to->dtype, rows * columns));
    dtype_from_f64(to->dtype, wide, to->bytes, rows * columns);
    free(wide);
    return check_range(to, rows * columns, e);
}

/* Sums of the first 1, 2, 4, ... squares of n singular values. */
static void set_powers(struct lora_tensor *t, const double *s, size_t n)
{
    double sum = 0;
    for (size_t i = 0, power = 0; power < MAX_POWERS; power++) {
        for (; i < n && i < (size_t)1 << power; i++)
            sum += s[i] * s[i];
        t->powers[power] = sum;
    }
}

static int set_factors(struct lora_output *l, struct lora_tensor *t, const struct svd *svd,
                       size_t m, size_t n, struct error *e)
{
    double *a = mem_alloc(t->rank, sizeof *a), *b = mem_alloc(t->rank, sizeof *b);
    for (size_t i = 0; i < t->rank; i++) {
        a[i] = l->options.undistributed ? svd->s[i] : sqrt(svd->s[i]);
        b[i] = l->options.undistributed ? 1 : sqrt(svd->s[i]);
    }
    make_factors(t, t->rank, m, n, t->parts, &l->arena);
    t->n_parts = 2;
    int failed = set_part(&t->parts[0], t->is_transpose ? svd->U : svd->V, false, a, e) ||
                 set_part(&t->parts[1], t->is_transpose ? svd->V : svd->U, true, b, e);
    free(a);
    free(b);
    return failed ? -1 : 0;
}

static int add_matrix(struct lora_output *l, size_t index, const float *x, struct error *e)
{
    const struct tensor *h = &l->header->tensors[index];
    struct lora_tensor *t = &l->tensors[index];
    size_t m = h->shape[0], n = h->shape[1], side = m < n ? m : n;
    size_t count = highest_rank(l, h);
    double *D = mem_alloc_aligned(m * n * sizeof *D);
    struct svd svd;
    for (size_t i = 0; i < m * n; i++) {
        D[i] = (double)x[i];
        t->energy += D[i] * D[i];
    }
    int failed = 0;
    if (t->energy > 0) {
        int found = svd_compute_low_rank(&svd, m, n, D, count, e); /* as of merged adapters */
        failed = found < 0   ? -1
                 : found > 0 ? 0
                             : svd_compute(&svd, m, n, D, count, SVD_MIN_TOLERANCE, 0, e);
        if (!failed) {
            t->rank = choose_rank(l, h, svd.s, count, t->energy);
            for (size_t i = 0; i < t->rank; i++)
                t->kept += svd.s[i] * svd.s[i];
            set_powers(t, svd.s, side);
        }
        if (!failed && t->rank > 0)
            failed = set_factors(l, t, &svd, m, n, e);
        svd_free(&svd);
    }
    free(D);
    return failed;
}

/* ---- whole tensors --------------------------------------------------------------------------- */

static bool is_zero(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (x[i] != 0)
            return false;
    return true;
}

/* The tensor that is the weight of a module; NULL: the stream has none. */
static const struct lora_tensor *find_weight(const struct lora_output *l, const char *module)
{
    long i = name_index_find(&l->weights, module);
    return i < 0 ? NULL : &l->tensors[i];
}

/* Has the module factors, so that peft wraps it? */
static bool is_wrapped(const struct lora_output *l, const char *module)
{
    const struct lora_tensor *weight = find_weight(l, module);
    return weight && weight->form == FORM_FACTORS;
}

/* The tensor that is stored whole, without its elements. */
static struct part make_whole(const struct lora_output *l, size_t index, struct arena *a)
{
    const struct tensor *h = &l->header->tensors[index];
    const struct lora_tensor *t = &l->tensors[index];
    return (struct part){
        .name = arena_printf(a, PREFIX "%s%s.%s", t->module,
                             t->is_bias && is_wrapped(l, t->module) ? ".base_layer" : "",
                             t->is_bias ? "bias" : "weight"),
        .dtype = t->dtype,
        .rank = h->rank,
        .whole_shape = h->shape};
}

static int add_whole(struct lora_output *l, size_t index, const float *x, struct error *e)
{
    const struct tensor *h = &l->header->tensors[index];
    struct lora_tensor *t = &l->tensors[index];
    size_t n = tensor_elements(h);
    if (is_zero(x, n))
        return 0;
    t->n_parts = 1;
    t->parts[0] = make_whole(l, index, &l->arena);
    t->parts[0].bytes = mem_alloc_aligned(dtype_bytes(t->dtype, n) + 1);
    base_model_add(l->base, index, 0, n, DTYPE_F32, x, t->dtype, t->parts[0].bytes);
    return check_range(&t->parts[0], n, e);
}

int lora_output_add_tensor(struct lora_output *l, size_t index, const float *x, struct error *e)
{
    struct error cause;
    if (dtype_find_nonfinite(DTYPE_F32, x, tensor_elements(&l->header->tensors[index])) <
        tensor_elements(&l->header->tensors[index]))
        return error_set(e, "tensor %s has a value that is not finite",
                         l->header->tensors[index].name);
    return (l->tensors[index].form == FORM_WHOLE ? add_whole : add_matrix)(l, index, x, &cause)
               ? error_set(e, "tensor %s: %s", l->header->tensors[index].name, cause.text)
               : 0;
}

size_t lora_output_parts(const struct lora_output *l, size_t index,
                         struct lora_output_part parts[2])
{
    const struct lora_tensor *t = &l->tensors[index];
    for (size_t i = 0; i < t->n_parts; i++) {
        const struct part *p = &t->parts[i];
        parts[i] = (struct lora_output_part){p->name, p->dtype, p->rank,
                                             p->whole_shape ? p->whole_shape : p->shape, p->bytes};
    }
    return t->n_parts;
}

/* ---- adapter_config.json --------------------------------------------------------------------- */

static const char *last_component(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

/* Does a name of modules select none of the base that is not in the adapter in this form? peft
 * compares targets by components, but saved modules by the ending of their names. */
static bool selects_only(const struct lora_output *l, const char *name, enum form form)
{
    const struct model_source *base = base_model_source(l->base);
    char *ending = mem_printf("%s.weight", name);
    bool only = true;
    for (size_t i = 0; only && i < model_source_tensor_count(base); i++) {
        const char *tensor = model_source_stored_name(base, i);
        if (!glob_pattern_text_ends_with(tensor, ending) ||
            (form == FORM_FACTORS && !(strlen(tensor) == strlen(ending) ||
                                       tensor[strlen(tensor) - strlen(ending) - 1] == '.')))
            continue;
        char *module = mem_copy_text_n(tensor, strlen(tensor) - strlen(".weight"));
        const struct lora_tensor *t = find_weight(l, module);
        only = t && t->form == form && t->n_parts > 0;
        free(module);
    }
    free(ending);
    return only;
}

/* Names of modules of one form. */
struct module_names {
    enum form form;
    json_t *list;
    struct name_index endings; /* the last components that have been looked at */
    size_t n;
    bool *is_enough; /* [ending]: it selects nothing else, and is in the list */
};

/* Adds a name for the module, unless the list has it: the last component if that selects nothing
 * else. */
static void add_module_name(const struct lora_output *l, struct module_names *to,
                            const char *module, struct arena *a)
{
    const char *ending = last_component(module);
    size_t i = name_index_add(&to->endings, ending, to->n, a);
    if (i == to->n) {
        to->is_enough = mem_grow(to->is_enough, to->n++, sizeof *to->is_enough);
        to->is_enough[i] = selects_only(l, ending, to->form);
        if (to->is_enough[i])
            json_array_append_new(to->list, json_string(ending));
    }
    if (!to->is_enough[i])
        json_array_append_new(to->list, json_string(module));
}

static size_t largest_rank(const struct lora_output *l)
{
    size_t rank = 0;
    for (size_t i = 0; i < l->header->n_tensors; i++)
        rank = l->tensors[i].rank > rank ? l->tensors[i].rank : rank;
    return rank;
}

char *lora_output_config(const struct lora_output *l)
{
    size_t rank = largest_rank(l);
    const struct model_source *base = base_model_source(l->base);
    const struct ckpt *c = model_source_checkpoint(base);
    const char *hub = c ? ckpt_hub_model(c).name : NULL;
    json_t *root = json_object(), *ranks = json_object();
    struct module_names targets = {.form = FORM_FACTORS, .list = json_array()};
    struct module_names saved = {.form = FORM_WHOLE, .list = json_array()};
    struct arena a = {0};
    bool has_bias = false;
    for (size_t i = 0; i < l->header->n_tensors; i++) {
        const struct lora_tensor *t = &l->tensors[i];
        if (t->n_parts == 0)
            continue;
        has_bias |= t->is_bias;
        if (t->form == FORM_FACTORS && t->rank != rank)
            json_object_set_new(ranks, t->module, json_integer((json_int_t)t->rank));
        if (!t->is_bias)
            add_module_name(l, t->form == FORM_FACTORS ? &targets : &saved, t->module, &a);
    }
    json_object_set_new(root, "peft_type", json_string("LORA"));
    json_object_set_new(root, "task_type", json_string("CAUSAL_LM"));
    json_object_set_new(root, "base_model_name_or_path",
                        json_string(hub ? hub : model_source_name(base)));
    json_object_set_new(root, "r", json_integer((json_int_t)rank));
    json_object_set_new(root, "lora_alpha", json_integer((json_int_t)rank));
    json_object_set(root, "rank_pattern", ranks);
    json_object_set_new(root, "alpha_pattern", ranks);
    json_object_set_new(root, "target_modules", targets.list);
    json_object_set_new(root, "modules_to_save",
                        json_array_size(saved.list) ? json_incref(saved.list) : json_null());
    json_object_set_new(root, "bias", json_string(has_bias ? "all" : "none"));
    json_object_set_new(root, "fan_in_fan_out", json_boolean(l->has_conv1d));
    json_object_set_new(root, "use_rslora", json_false());
    json_object_set_new(root, "lora_dropout", json_real(0));
    json_object_set_new(root, "inference_mode", json_true());
    json_decref(saved.list);
    free(targets.is_enough);
    free(saved.is_enough);
    arena_free(&a);
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    return mem_check(text);
}

/* ---- writing --------------------------------------------------------------------------------- */

static size_t count_parts(const struct lora_output *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->header->n_tensors; i++)
        n += l->tensors[i].n_parts;
    return n;
}

static int compare_part_names(const void *a, const void *b)
{
    return strcmp((*(const struct part *const *)a)->name, (*(const struct part *const *)b)->name);
}

/* All tensors of the adapter, sorted by name; the caller frees. */
static const struct part **list_parts(const struct lora_output *l, size_t n)
{
    const struct part **list = mem_alloc(n + 1, sizeof *list);
    size_t at = 0;
    for (size_t i = 0; i < l->header->n_tensors; i++)
        for (size_t k = 0; k < l->tensors[i].n_parts; k++)
            list[at++] = &l->tensors[i].parts[k];
    qsort(list, n, sizeof *list, compare_part_names);
    return list;
}

/* The parts as tensors of the result's header, in the arena. */
static struct tensor *make_tensors(const struct part *const *parts, size_t n, struct arena *a)
{
    struct tensor *tensors = arena_alloc(a, n, sizeof *tensors);
    for (size_t i = 0; i < n; i++) {
        const struct part *p = parts[i];
        struct vector *v = arena_alloc(a, 1, sizeof *v);
        *v = vector_with_defaults(0, p->name, p->dtype, p->dtype);
        tensors[i] = (struct tensor){.name = p->name,
                                     .rank = p->rank,
                                     .shape = p->whole_shape ? p->whole_shape : p->shape,
                                     .layer = -1,
                                     .layers = -1,
                                     .n_vectors = 1,
                                     .vectors = v};
    }
    return tensors;
}

struct tensor *lora_output_largest_tensors(const struct lora_output *l, size_t *n, struct arena *a)
{
    size_t most = 2 * l->header->n_tensors;
    struct part *parts = arena_alloc(a, most, sizeof *parts);
    const struct part **list = arena_alloc(a, most, sizeof *list);
    *n = 0;
    for (size_t i = 0; i < l->header->n_tensors; i++) {
        const struct tensor *h = &l->header->tensors[i];
        const struct lora_tensor *t = &l->tensors[i];
        if (t->form == FORM_FACTORS)
            make_factors(t, highest_rank(l, h), h->shape[0], h->shape[1], &parts[*n], a);
        else if (t->form == FORM_WHOLE)
            parts[*n] = make_whole(l, i, a);
        *n += t->form == FORM_FACTORS ? 2 : t->form == FORM_WHOLE;
    }
    for (size_t i = 0; i < *n; i++)
        list[i] = &parts[i];
    return make_tensors(list, *n, a);
}

static int write_parts(struct checkpoint_writer *w, const struct header *result,
                       const struct part *const *parts, size_t n, struct error *e)
{
    struct arena a = {0};
    struct header h = *result;
    h.n_tensors = n;
    h.tensors = make_tensors(parts, n, &a);
    const struct parts_plan plan = {.stem = "adapter_model", .result = &h};
    struct shard_layout_spec spec = parts_plan_layout_spec(&plan, &a);
    spec.shard_size = UINT64_MAX;
    int failed = checkpoint_writer_declare_tensors(w, &spec, e);
    for (size_t i = 0; !failed && i < n; i++)
        failed = checkpoint_writer_write_tensor(
            w, i, 0, parts[i]->bytes, dtype_bytes(parts[i]->dtype, tensor_elements(&h.tensors[i])),
            e);
    arena_free(&a);
    return failed;
}

uint64_t lora_output_bytes(const struct lora_output *l)
{
    struct arena a = {0};
    size_t n = count_parts(l);
    const struct part **parts = list_parts(l, n);
    const struct tensor *tensors = make_tensors(parts, n, &a);
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += dtype_bytes(parts[i]->dtype, tensor_elements(&tensors[i]));
    free(parts);
    arena_free(&a);
    return bytes;
}

int lora_output_write(const struct lora_output *l, struct checkpoint_writer *w,
                      const struct header *result, struct error *e)
{
    size_t n = count_parts(l);
    if (largest_rank(l) == 0)
        return error_set(e, "the task vector has no matrix that changes, of which an adapter could "
                            "have the factors");
    const struct part **parts = list_parts(l, n);
    char *config = lora_output_config(l);
    int failed =
        checkpoint_writer_write_file(w, "adapter_config.json", config, strlen(config), e) ||
                write_parts(w, result, parts, n, e)
            ? -1
            : 0;
    free(config);
    free(parts);
    return failed;
}

void lora_output_print_tied_note(const struct lora_output *l, const char *path, const char *tool)
{
    const struct adapter_base base = model_source_adapter_base(base_model_source(l->base));
    for (size_t i = 0; i < l->header->n_tensors; i++)
        if (l->tensors[i].n_parts > 0)
            adapter_targets_print_tied_note(&base, l->tensors[i].module, path, tool);
}

/* ---- what is kept ---------------------------------------------------------------------------- */

static double percent(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 100;
}

struct totals {
    size_t matrices;
    double energy, kept, powers[MAX_POWERS];
};

static struct totals add_up(const struct lora_output *l)
{
    struct totals all = {0};
    for (size_t i = 0; i < l->header->n_tensors; i++) {
        const struct lora_tensor *t = &l->tensors[i];
        if (t->form != FORM_FACTORS)
            continue;
        all.matrices++;
        all.energy += t->energy;
        all.kept += t->kept;
        for (size_t power = 0; power < MAX_POWERS; power++)
            all.powers[power] += t->powers[power];
    }
    return all;
}

char *lora_output_summary(const struct lora_output *l)
{
    const struct totals all = add_up(l);
    struct bytes text = {0};
    FILE *out = bytes_open_stream(&text);
    fprintf(out, "rank %zu at most keeps %.1f %% of the change of %zu matrices (", largest_rank(l),
            percent(all.kept, all.energy), all.matrices);
    for (size_t power = 0; power < MAX_POWERS; power += 2) {
        fprintf(out, "%srank %zu: %.1f %%", power ? ", " : "", (size_t)1 << power,
                percent(all.powers[power], all.energy));
        if (percent(all.powers[power], all.energy) > 99.9)
            break;
    }
    fputs(")", out);
    fclose(out);
    return bytes_take_text(&text);
}

char *lora_output_card_text(const struct lora_output *l)
{
    const struct totals all = add_up(l);
    struct bytes text = {0};
    FILE *out = bytes_open_stream(&text);
    fprintf(out,
            "\n## Adapter\n\nA LoRA adapter of rank %zu. It keeps %.2f %% of the squared norm of "
            "the matrices' change.\n\nWhat other ranks would keep:\n\n| rank | kept |\n|---|---|\n",
            largest_rank(l), percent(all.kept, all.energy));
    for (size_t power = 0; power < MAX_POWERS; power++) {
        fprintf(out, "| %zu | %.2f %% |\n", (size_t)1 << power,
                percent(all.powers[power], all.energy));
        if (percent(all.powers[power], all.energy) > 99.99)
            break;
    }
    fputs("\n| module | rank | kept |\n|---|---|---|\n", out);
    for (size_t i = 0; i < l->header->n_tensors; i++) {
        const struct lora_tensor *t = &l->tensors[i];
        if (t->form == FORM_FACTORS)
            fprintf(out, "| `%s` | %zu | %.2f %% |\n", t->module, t->rank,
                    percent(t->kept, t->energy));
        else if (t->n_parts)
            fprintf(out, "| `%s.%s` | whole | |\n", t->module, t->is_bias ? "bias" : "weight");
    }
    fclose(out);
    return bytes_take_text(&text);
}
