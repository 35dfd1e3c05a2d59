#include "adapter_deltas.h"

#include "adapter_config.h"
#include "adapter_modules.h"
#include "adapter_targets.h"
#include "factor_cache.h"
#include "hash.h"
#include "tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIECE ((size_t)16384) /* elements read at a time */

/* The delta of one tensor of the base. */
struct delta {
    const char *module;
    long whole;                /* tensor of the adapter in place of the base's; -1: none */
    long tokens;               /* rows in place of the base's; -1: none */
    const int64_t *token_rows; /* of the base */
    struct factors *factors;   /* NULL: none */
    double scale;
    long bias;          /* a vector to be scaled and added; -1: none */
    double *magnitudes; /* DoRA: of each row, or column; NULL: none */
    double *norms;      /* of the rows or columns of V; NULL: not computed yet */
    bool by_column;
    size_t rows,
        columns; /* of the tensor; a convolution's columns are all but the first dimension */
    uint64_t hash;
};

struct adapter_deltas {
    struct ckpt *file;
    struct adapter_base base;
    struct adapter_config *config;
    struct adapter_modules modules;
    struct factor_cache cache;
    struct delta **deltas; /* [tensor of the base]; NULL: unchanged */
    pthread_mutex_t norms_lock;
    struct arena arena;
};

static const struct ckpt_tensor *base_tensor(const struct adapter_deltas *d, size_t i)
{
    return d->base.tensor(d->base.model, i);
}

static const struct ckpt_tensor *part_tensor(const struct adapter_deltas *d, long part)
{
    return ckpt_tensor(d->file, (size_t)part);
}

/* ---- reading the adapter --------------------------------------------------------------------- */

/* Reads n elements of a tensor of the adapter. */
static void read_part(const struct adapter_deltas *d, long part, size_t first, size_t n, double *to)
{
    enum dtype dtype = part_tensor(d, part)->dtype;
    double stored[1024]; /* wide enough for every dtype */
    for (size_t done = 0; done < n; done += 1024) {
        size_t count = n - done < 1024 ? n - done : 1024;
        ckpt_read_elements(d->file, (size_t)part, first + done, count, stored);
        dtype_to_f64(dtype, stored, to + done, count);
    }
}

/* Checks a tensor of the adapter, and adds its elements to the hash. */
static int check_part(const struct adapter_deltas *d, const char *module, long part,
                      XXH3_state_t *state, struct error *e)
{
    const struct ckpt_tensor *t = part_tensor(d, part);
    double x[1024];
    if (!dtype_is_float(t->dtype))
        return error_set(e, "a tensor of %s is %s; expected F16, BF16, F32 or F64", module,
                         dtype_name(t->dtype));
    for (size_t done = 0; done < t->elements; done += 1024) {
        size_t n = t->elements - done < 1024 ? t->elements - done : 1024;
        read_part(d, part, done, n, x);
        if (dtype_find_nonfinite(DTYPE_F64, x, n) < n)
            return error_set(e, "%s has a value that is not finite, in %s", module, t->name);
        XXH3_64bits_update(state, x, n * sizeof *x);
    }
    ckpt_release_pages(d->file, (size_t)part, 0, t->elements);
    return 0;
}

static void read_base(const struct adapter_deltas *d, size_t i, size_t first, size_t n, double *to)
{
    d->base.read_f64(d->base.model, i, first, n, to);
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static const char *format_shape(struct adapter_deltas *d, const struct ckpt_tensor *t)
{
    return tensor_format_shape(&d->arena, t->rank, t->shape);
}

static int check_same_shape(struct adapter_deltas *d, const char *module, long part, size_t i,
                            struct error *e)
{
    const struct ckpt_tensor *own = part_tensor(d, part), *base = base_tensor(d, i);
    if (own->rank == base->rank &&
        memcmp(own->shape, base->shape, own->rank * sizeof *own->shape) == 0)
        return 0;
    return error_set(e, "%s is %s, but %s in %s", module, format_shape(d, own),
                     format_shape(d, base), d->base.name);
}

/* Rows and columns of a tensor as a matrix. */
static void set_matrix_size(struct delta *to, const struct ckpt_tensor *t)
{
    to->rows = t->rank > 1 ? t->shape[0] : 1;
    to->columns = to->rows ? t->elements / to->rows : 0;
}

static int set_delta_shape_error(struct adapter_deltas *d, const char *module,
                                 const struct ckpt_tensor *b, const struct ckpt_tensor *a,
                                 const struct ckpt_tensor *base, struct error *e)
{
    return error_set(e, "%s has factors of the shapes %s and %s, but is %s in %s", module,
                     format_shape(d, b), format_shape(d, a), format_shape(d, base), d->base.name);
}

/* Does B A, or its transpose, have the shape of the base's tensor? */
static bool product_fits(const struct ckpt_tensor *b, const struct ckpt_tensor *a,
                         const struct ckpt_tensor *base, bool is_transpose)
{
    if (is_transpose)
        return base->rank == 2 && a->rank == 2 && base->shape[0] == a->shape[1] &&
               base->shape[1] == b->shape[0];
    return base->rank == a->rank && base->shape[0] == b->shape[0] &&
           memcmp(base->shape + 1, a->shape + 1, (a->rank - 1) * sizeof *a->shape) == 0;
}

/* ---- the parts of a module ------------------------------------------------------------------- */

/* The delta of tensor i of the base, a new one if it has none. */
static int add_delta(struct adapter_deltas *d, const char *module, size_t i, struct delta **to,
                     struct error *e)
{
    if (!dtype_is_float(base_tensor(d, i)->dtype))
        return error_set(e, "%s is %s in %s, to which nothing can be added", module,
                         dtype_name(base_tensor(d, i)->dtype), d->base.name);
    if (!d->deltas[i]) {
        d->deltas[i] = arena_alloc(&d->arena, 1, sizeof **d->deltas);
        *d->deltas[i] = (struct delta){.module = module, .whole = -1, .tokens = -1, .bias = -1};
        set_matrix_size(d->deltas[i], base_tensor(d, i));
    }
    *to = d->deltas[i];
    return strcmp((*to)->module, module) == 0 ? 0
                                              : error_set(e, "%s and %s are the same tensor of %s",
                                                          (*to)->module, module, d->base.name);
}

static int check_rank(const struct adapter_deltas *d, const char *module,
                      const struct ckpt_tensor *a, const struct ckpt_tensor *b, struct error *e)
{
    long long rank = adapter_config_rank(d->config, module);
    unsigned long long own = a->rank >= 2 ? a->shape[0] : 0, other = b->rank >= 2 ? b->shape[1] : 0;
    if (rank < 1)
        return error_set(e, "%s has rank %lld in the config; a rank is at least 1", module, rank);
    if (own == (unsigned long long)rank && other == own)
        return 0;
    return error_set(e, "%s has factors of rank %llu, but the config says %lld", module,
                     own == (unsigned long long)rank ? other : own, rank);
}

static int set_factors(struct adapter_deltas *d, const struct adapter_module *m, struct delta *to,
                       size_t i, struct error *e)
{
    bool is_embedding = m->parts[ADAPTER_EMBEDDING_A] >= 0;
    long a = m->parts[is_embedding ? ADAPTER_EMBEDDING_A : ADAPTER_A];
    long b = m->parts[is_embedding ? ADAPTER_EMBEDDING_B : ADAPTER_B];
    const struct ckpt_tensor *ta = part_tensor(d, a), *tb = part_tensor(d, b);
    const struct ckpt_tensor *base = base_tensor(d, i);
    if (check_rank(d, m->name, ta, tb, e))
        return -1;
    bool fits = product_fits(tb, ta, base, false),
         fits_transposed = product_fits(tb, ta, base, true);
    bool is_transpose = is_embedding || (fits_transposed &&
                                         (!fits || adapter_targets_is_conv1d(&d->base, m->name)));
    if (!(is_transpose ? fits_transposed : fits) || tb->elements != tb->shape[0] * tb->shape[1])
        return set_delta_shape_error(d, m->name, tb, ta, base, e);
    to->factors = arena_alloc(&d->arena, 1, sizeof *to->factors);
    *to->factors = (struct factors){.a = (size_t)a,
                                    .b = (size_t)b,
                                    .is_transpose = is_transpose,
                                    .rank = ta->shape[0],
                                    .rows = to->rows,
                                    .columns = to->columns};
    to->scale = adapter_config_scale(d->config, m->name);
    to->by_column = is_transpose;
    return isfinite(to->scale) ? 0 : error_set(e, "the scale of %s is not finite", m->name);
}

/* Both factors or none: *has says which. */
static int find_factors(const struct adapter_module *m, bool *has, struct error *e)
{
    bool a = m->parts[ADAPTER_A] >= 0, b = m->parts[ADAPTER_B] >= 0;
    bool ea = m->parts[ADAPTER_EMBEDDING_A] >= 0, eb = m->parts[ADAPTER_EMBEDDING_B] >= 0;
    *has = (a && b) || (ea && eb);
    if (a != b || ea != eb)
        return error_set(e, "%s has only one of its two factors", m->name);
    if (a && ea)
        return error_set(e, "%s has the factors of a matrix and of an embedding", m->name);
    return 0;
}

static int set_magnitudes(struct adapter_deltas *d, const struct adapter_module *m,
                          struct delta *to, struct error *e)
{
    long part = m->parts[ADAPTER_MAGNITUDE];
    bool uses_dora = adapter_config_uses_dora(d->config);
    if (!uses_dora && part < 0)
        return 0;
    if (part < 0)
        return error_set(e, "%s has no lora_magnitude_vector, but the config has use_dora",
                         m->name);
    if (!uses_dora)
        return error_set(e, "%s has a lora_magnitude_vector, but the config has no use_dora",
                         m->name);
    size_t n = to->by_column ? to->columns : to->rows;
    if (part_tensor(d, part)->elements != n)
        return error_set(e, "the lora_magnitude_vector of %s has %zu elements; expected %zu",
                         m->name, part_tensor(d, part)->elements, n);
    to->magnitudes = arena_alloc(&d->arena, n, sizeof *to->magnitudes);
    read_part(d, part, 0, n, to->magnitudes);
    return 0;
}

static int set_token_rows(struct adapter_deltas *d, const struct adapter_module *m,
                          struct delta *to, struct error *e)
{
    size_t n;
    const struct ckpt_tensor *t = part_tensor(d, m->parts[ADAPTER_TOKENS]);
    const int64_t *rows = adapter_config_token_indices(d->config, m->name, &n);
    if (!rows || t->rank != 2 || t->shape[0] != n)
        return error_set(e,
                         "%s has %zu trained tokens, but trainable_token_indices in the config "
                         "lists %zu",
                         m->name, t->rank ? (size_t)t->shape[0] : 0, n);
    if (t->shape[1] != to->columns)
        return error_set(e, "the trained tokens of %s have %zu columns, but %zu in %s", m->name,
                         (size_t)t->shape[1], to->columns, d->base.name);
    for (size_t j = 0; j < n; j++)
        if ((uint64_t)rows[j] >= to->rows)
            return error_set(e, "token %lld of %s is beyond the %zu rows of %s", (long long)rows[j],
                             m->name, to->rows, d->base.name);
    to->tokens = m->parts[ADAPTER_TOKENS];
    to->token_rows = rows;
    return 0;
}

static int set_missing_module_error(const struct adapter_deltas *d, const char *module,
                                    const char *leaf, struct error *e)
{
    if (adapter_targets_is_tied_head(&d->base, module))
        return error_set(e,
                         "%s is tied to the token embedding of %s, which the adapter would change "
                         "too",
                         module, d->base.name);
    return error_set(e, "%s has no tensor %s.%s", d->base.name, module, leaf);
}

/* The parts that change MODULE.weight. */
static int add_weight_delta(struct adapter_deltas *d, const struct adapter_module *m,
                            struct error *e)
{
    struct delta *to;
    bool has_factors;
    if (find_factors(m, &has_factors, e))
        return -1;
    if (!has_factors && m->parts[ADAPTER_WEIGHT] < 0 && m->parts[ADAPTER_TOKENS] < 0)
        return m->parts[ADAPTER_MAGNITUDE] < 0
                   ? 0
                   : error_set(e, "%s has a lora_magnitude_vector, but no factors", m->name);
    long i = adapter_targets_find(&d->base, m->name, "weight");
    if (i < 0)
        return set_missing_module_error(d, m->name, "weight", e);
    if (add_delta(d, m->name, (size_t)i, &to, e))
        return -1;
    if (m->parts[ADAPTER_WEIGHT] >= 0 &&
        check_same_shape(d, m->name, m->parts[ADAPTER_WEIGHT], (size_t)i, e))
        return -1;
    to->whole = m->parts[ADAPTER_WEIGHT];
    if (m->parts[ADAPTER_TOKENS] >= 0 && set_token_rows(d, m, to, e))
        return -1;
    return has_factors ? set_factors(d, m, to, (size_t)i, e) || set_magnitudes(d, m, to, e) ? -1 : 0
                       : 0;
}

/* The parts that change MODULE.bias. */
static int add_bias_delta(struct adapter_deltas *d, const struct adapter_module *m, struct error *e)
{
    struct delta *to;
    long whole = m->parts[ADAPTER_BIAS], added = m->parts[ADAPTER_B_BIAS];
    if (whole < 0 && added < 0)
        return 0;
    long i = adapter_targets_find(&d->base, m->name, "bias");
    if (i < 0 && added >= 0)
        return error_set(e, "%s has a bias in lora_B (lora_bias), but %s has no %s.bias", m->name,
                         d->base.name, m->name);
    if (i < 0)
        return set_missing_module_error(d, m->name, "bias", e);
    if (add_delta(d, m->name, (size_t)i, &to, e) ||
        (whole >= 0 && check_same_shape(d, m->name, whole, (size_t)i, e)) ||
        (added >= 0 && check_same_shape(d, m->name, added, (size_t)i, e)))
        return -1;
    if (added >= 0 && adapter_config_rank(d->config, m->name) < 1)
        return error_set(e, "%s has a bias in lora_B, but rank %lld in the config", m->name,
                         (long long)adapter_config_rank(d->config, m->name));
    to->whole = whole;
    to->bias = added;
    to->scale = added >= 0 ? adapter_config_scale(d->config, m->name) : 0;
    return 0;
}

/* Checks the values of all parts of a module. */
static int check_values(const struct adapter_deltas *d, const struct adapter_module *m,
                        uint64_t *hash, struct error *e)
{
    XXH3_state_t *state = hash_new_state();
    int failed = 0;
    for (size_t part = 0; part < ADAPTER_PARTS && !failed; part++) {
        int64_t present = m->parts[part] >= 0;
        XXH3_64bits_update(state, &present, sizeof present);
        if (present)
            failed = check_part(d, m->name, m->parts[part], state, e);
    }
    *hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return failed;
}

static void set_hash(struct adapter_deltas *d, const char *module, uint64_t values)
{
    for (size_t i = 0; i < d->base.n_tensors; i++) {
        struct delta *delta = d->deltas[i];
        if (!delta || delta->module != module)
            continue;
        double numbers[2] = {delta->scale, (double)delta->by_column};
        XXH3_state_t *state = hash_new_state();
        XXH3_64bits_update(state, &values, sizeof values);
        XXH3_64bits_update(state, numbers, sizeof numbers);
        if (delta->tokens >= 0)
            XXH3_64bits_update(state, delta->token_rows,
                               part_tensor(d, delta->tokens)->shape[0] * sizeof *delta->token_rows);
        delta->hash = XXH3_64bits_digest(state);
        XXH3_freeState(state);
    }
}

/* ---- opening --------------------------------------------------------------------------------- */

static int read_config(struct adapter_deltas *d, struct error *e)
{
    char *text;
    size_t size;
    int found = ckpt_read_auxiliary_file(d->file, "adapter_config.json", &text, &size, e);
    if (found <= 0)
        return found < 0 ? -1 : error_set(e, "adapter_config.json is missing");
    d->config = adapter_config_parse("adapter_config.json", text, size, e);
    free(text);
    return d->config ? 0 : -1;
}

static void print_tied_note(const struct adapter_deltas *d, const char *path, const char *tool)
{
    for (size_t i = 0; i < d->base.n_tensors && !adapter_config_ties_weights(d->config); i++)
        if (d->deltas[i])
            adapter_targets_print_tied_note(&d->base, d->deltas[i]->module, path, tool);
}

/* Have two tensors of the adapter the same elements, the second perhaps transposed? */
static bool are_equal_parts(const struct adapter_deltas *d, long a, long b, bool is_transpose)
{
    if (a < 0 || b < 0)
        return a < 0 && b < 0;
    const struct ckpt_tensor *x = part_tensor(d, a), *y = part_tensor(d, b);
    if (x->rank != 2 || y->rank != 2 || x->shape[0] != y->shape[is_transpose] ||
        x->shape[1] != y->shape[!is_transpose])
        return false;
    size_t n = x->elements, columns = x->shape[1], rows = x->shape[0];
    double *own = mem_alloc(n, sizeof *own), *other = mem_alloc(n, sizeof *other);
    read_part(d, a, 0, n, own);
    read_part(d, b, 0, n, other);
    bool equal = true;
    for (size_t i = 0; i < n && equal; i++)
        equal = own[i] == other[is_transpose ? i % columns * rows + i / columns : i];
    free(own);
    free(other);
    return equal;
}

/* With ensure_weight_tying peft stores what it does to a tied embedding for the head again. */
static bool repeats_embedding(const struct adapter_deltas *d, const struct adapter_module *head)
{
    const struct adapter_module *m = NULL;
    if (!adapter_targets_is_tied_head(&d->base, head->name))
        return false;
    for (size_t i = 0; i < d->modules.n && !m; i++)
        if (adapter_targets_is_tied_embedding(&d->base, d->modules.list[i].name))
            m = &d->modules.list[i];
    return m && are_equal_parts(d, head->parts[ADAPTER_WEIGHT], m->parts[ADAPTER_WEIGHT], false) &&
           are_equal_parts(d, head->parts[ADAPTER_A], m->parts[ADAPTER_EMBEDDING_B], true) &&
           are_equal_parts(d, head->parts[ADAPTER_B], m->parts[ADAPTER_EMBEDDING_A], true) &&
           adapter_config_scale(d->config, head->name) ==
               adapter_config_scale(d->config, m->name) &&
           head->parts[ADAPTER_MAGNITUDE] < 0 && m->parts[ADAPTER_MAGNITUDE] < 0;
}

static int add_deltas(struct adapter_deltas *d, struct error *e)
{
    for (size_t i = 0; i < d->modules.n; i++) {
        const struct adapter_module *m = &d->modules.list[i];
        if (repeats_embedding(d, m))
            continue;
        if (add_weight_delta(d, m, e) || add_bias_delta(d, m, e))
            return -1;
    }
    for (size_t i = 0; i < d->modules.n; i++) {
        uint64_t values;
        if (check_values(d, &d->modules.list[i], &values, e))
            return -1;
        set_hash(d, d->modules.list[i].name, values);
    }
    return 0;
}

struct adapter_deltas *adapter_deltas_open(struct ckpt *adapter, const char *path,
                                           const struct adapter_base *base, const char *tool,
                                           struct error *e)
{
    struct adapter_deltas *d = mem_alloc(1, sizeof *d);
    struct error own;
    d->file = adapter;
    d->base = *base;
    d->deltas = mem_alloc(base->n_tensors, sizeof *d->deltas);
    factor_cache_init(&d->cache, adapter);
    pthread_mutex_init(&d->norms_lock, NULL);
    if (!read_config(d, &own) && !adapter_modules_list(&d->modules, adapter, &own) &&
        !add_deltas(d, &own)) {
        print_tied_note(d, path, tool);
        return d;
    }
    error_set(e, "%s: %s", path, own.text);
    adapter_deltas_close(d);
    return NULL;
}

void adapter_deltas_close(struct adapter_deltas *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->base.n_tensors; i++)
        if (d->deltas[i])
            free(d->deltas[i]->norms);
    free(d->deltas);
    factor_cache_free(&d->cache);
    pthread_mutex_destroy(&d->norms_lock);
    adapter_modules_free(&d->modules);
    adapter_config_free(d->config);
    ckpt_close(d->file);
    arena_free(&d->arena);
    free(d);
}

int adapter_deltas_check_unchanged(const struct adapter_deltas *d, struct error *e)
{
    return ckpt_check_unchanged(d->file, e);
}

bool adapter_deltas_change(const struct adapter_deltas *d, size_t i)
{
    return d->deltas[i] != NULL;
}

const struct ckpt *adapter_deltas_checkpoint(const struct adapter_deltas *d)
{
    return d->file;
}

uint64_t adapter_deltas_hash(const struct adapter_deltas *d, size_t i)
{
    return d->deltas[i]->hash;
}

/* ---- elements -------------------------------------------------------------------------------- */

/* Replaces those of n elements that are in rows of trained tokens. A row that is listed twice has
 * its last value. */
static void replace_token_rows(const struct adapter_deltas *d, const struct delta *t, size_t first,
                               size_t n, double *to)
{
    size_t rows = part_tensor(d, t->tokens)->shape[0];
    for (size_t j = 0; j < rows; j++) {
        size_t begin = (size_t)t->token_rows[j] * t->columns, end = begin + t->columns;
        size_t from = begin > first ? begin : first, stop = end < first + n ? end : first + n;
        if (from < stop)
            read_part(d, t->tokens, j * t->columns + from - begin, stop - from, to + from - first);
    }
}

static void add_bias(const struct adapter_deltas *d, const struct delta *t, size_t first, size_t n,
                     double *to)
{
    double x[1024];
    for (size_t done = 0; done < n; done += 1024) {
        size_t count = n - done < 1024 ? n - done : 1024;
        read_part(d, t->bias, first + done, count, x);
        for (size_t i = 0; i < count; i++)
            to[done + i] += t->scale * x[i];
    }
}

/* Replaces n elements of the base by those of the adapter, and adds the product: V of DoRA. */
static void change(const struct adapter_deltas *d, const struct delta *t, size_t first, size_t n,
                   double *to)
{
    if (t->whole >= 0)
        read_part(d, t->whole, first, n, to);
    if (t->tokens >= 0)
        replace_token_rows(d, t, first, n, to);
    if (t->factors)
        factor_cache_add_product((struct factor_cache *)&d->cache, t->factors, t->scale, first, n,
                                 to);
    if (t->bias >= 0)
        add_bias(d, t, first, n, to);
}

/* The norms of all rows or columns of V, summed in the order of the elements. */
static double *compute_norms(const struct adapter_deltas *d, size_t i, const struct delta *t)
{
    size_t count = t->by_column ? t->columns : t->rows, all = t->rows * t->columns;
    double *norms = mem_alloc(count, sizeof *norms), *v = mem_alloc_aligned(PIECE * sizeof *v);
    for (size_t first = 0; first < all; first += PIECE) {
        size_t n = all - first < PIECE ? all - first : PIECE;
        read_base(d, i, first, n, v);
        change(d, t, first, n, v);
        for (size_t j = 0; j < n; j++) {
            size_t at = first + j;
            norms[t->by_column ? at % t->columns : at / t->columns] += v[j] * v[j];
        }
    }
    for (size_t j = 0; j < count; j++)
        norms[j] = sqrt(norms[j]);
    free(v);
    return norms;
}

static void scale_to_magnitudes(const struct adapter_deltas *d, size_t i, struct delta *t,
                                size_t first, size_t n, double *to)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&d->norms_lock;
    pthread_mutex_lock(lock);
    if (!t->norms)
        t->norms = compute_norms(d, i, t);
    pthread_mutex_unlock(lock);
    for (size_t j = 0; j < n; j++) {
        size_t at = first + j, k = t->by_column ? at % t->columns : at / t->columns;
        to[j] *= t->magnitudes[k] / t->norms[k];
    }
}

void adapter_deltas_read_sum(const struct adapter_deltas *d, size_t i, size_t first, size_t n,
                             double *to)
{
    struct delta *t = d->deltas[i];
    read_base(d, i, first, n, to);
    change(d, t, first, n, to);
    if (t->magnitudes)
        scale_to_magnitudes(d, i, t, first, n, to);
}

/* The delta of a tensor of which the base's elements are needed: the difference of the sum and the
 * base. */
static void read_difference(const struct adapter_deltas *d, size_t i, size_t first, size_t n,
                            double *to)
{
    double base[1024];
    adapter_deltas_read_sum(d, i, first, n, to);
    for (size_t done = 0; done < n; done += 1024) {
        size_t count = n - done < 1024 ? n - done : 1024;
        read_base(d, i, first + done, count, base);
        for (size_t j = 0; j < count; j++)
            to[done + j] -= base[j];
    }
}

void adapter_deltas_read(const struct adapter_deltas *d, size_t i, size_t first, size_t n,
                         float *to)
{
    struct delta *t = d->deltas[i];
    bool needs_base = t->whole >= 0 || t->tokens >= 0 || t->magnitudes;
    if (!needs_base && t->bias < 0) {
        factor_cache_write_product((struct factor_cache *)&d->cache, t->factors, t->scale, first, n,
                                   to);
        return;
    }
    double *wide = mem_alloc(n, sizeof *wide);
    if (needs_base)
        read_difference(d, i, first, n, wide);
    else
        change(d, t, first, n, wide);
    dtype_from_f64(DTYPE_F32, wide, to, n);
    free(wide);
}
