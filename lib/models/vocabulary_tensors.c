#include "vocabulary_tensors.h"

#include "name_scheme.h"
#include "tensor_name.h"
#include "token_rows.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* One tensor in the models that have it: an embedding or a head. */
struct matrix_set {
    const struct vocabulary_tensors *owner;
    const char *name; /* in the first model that has it */
    size_t columns;
    enum dtype dtype; /* of the new matrices: F32 or F64 */
    size_t n;
    struct matrix *matrices;
    struct token_rows_model *models; /* [matrix] */
    struct token_row *defaults;      /* [token] */
};

/* The tensor in one model, and its new matrix. */
struct matrix {
    const struct matrix_set *set;
    struct model_source *source; /* NULL: it cannot be read here */
    size_t model;                /* its index */
    size_t position;             /* in the set */
    size_t stored;               /* how the source reads the rows as they are */
    const char *name;            /* of the new matrix */
    size_t from;                 /* the tensor before it is replaced */
    pthread_mutex_t lock;        /* held while the padding is computed */
    void *padding;               /* a row; NULL: not computed yet */
};

struct vocabulary_tensors {
    struct vocabulary *vocabulary;
    struct vocabulary_tensors_options options;
    size_t n_models;
    struct model_source *const *models;
    const char *const *names;
    size_t n_sets, capacity;
    struct matrix_set *sets;
    struct arena arena;
};

/* ---- reading rows ---------------------------------------------------------------------------- */

static size_t element_size(const struct matrix_set *s)
{
    return dtype_bits(s->dtype) / 8;
}

/* n elements of the rows as they are, from flat index `first` on. */
static void read_stored_elements(const struct matrix *m, size_t first, size_t n, void *to)
{
    enum dtype rounding = m->set->owner->options.rounding;
    if (m->set->dtype == DTYPE_F64)
        model_source_read_f64(m->source, m->stored, first, n, rounding, to);
    else
        model_source_read_f32(m->source, m->stored, first, n, rounding, to);
}

/* Adds n elements of a row of the new dtype to a sum. */
static void add_elements(const struct matrix_set *s, const void *row, size_t n, double *sum)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += s->dtype == DTYPE_F64 ? ((const double *)row)[i] : ((const float *)row)[i];
}

static void divide_elements(const struct matrix_set *s, const double *sum, size_t count, size_t n,
                            void *to)
{
    for (size_t i = 0; i < n; i++)
        if (s->dtype == DTYPE_F64)
            ((double *)to)[i] = sum[i] / (double)count;
        else
            ((float *)to)[i] = (float)(sum[i] / (double)count);
}

/* The mean of the rows of the models that have a token: n elements from a column on. */
static void read_mean_row(const struct matrix_set *s, size_t id, size_t column, size_t n, void *to)
{
    double *sum = mem_alloc(n, sizeof *sum);
    size_t count = 0;
    for (size_t i = 0; i < s->n; i++) {
        long row = s->owner->vocabulary->models[s->models[i].model].row_of[id];
        if (row < 0)
            continue;
        read_stored_elements(&s->matrices[i], (size_t)row * s->columns + column, n, to);
        add_elements(s, to, n, sum);
        count++;
    }
    divide_elements(s, sum, count, n, to);
    free(sum);
}

static void read_default_row(const struct matrix_set *s, size_t id, size_t column, size_t n,
                             void *to)
{
    const struct token_row *row = &s->defaults[id];
    if (row->model == TOKEN_ROW_ZERO)
        memset(to, 0, n * element_size(s));
    else if (row->model == TOKEN_ROW_MEAN)
        read_mean_row(s, id, column, n, to);
    else
        read_stored_elements(&s->matrices[row->model], (size_t)row->row * s->columns + column, n,
                             to);
}

/* n elements from flat index `first` on, of rows of tokens. */
static void read_token_rows(const struct matrix *m, size_t first, size_t n, void *to)
{
    const struct matrix_set *s = m->set;
    const struct vocabulary *v = s->owner->vocabulary;
    const struct token_rows_model *own = &s->models[m->position];
    char *out = to;
    while (n > 0) {
        size_t id = first / s->columns, column = first % s->columns, run = s->columns - column;
        long row = token_rows_own_row(v, own, id);
        /* Rows that follow each other in the model too are read at once. */
        for (size_t next = id + 1; row >= 0 && run < n && next < v->n; next++, run += s->columns)
            if (token_rows_own_row(v, own, next) != row + (long)(next - id))
                break;
        run = run < n ? run : n;
        if (row >= 0)
            read_stored_elements(m, (size_t)row * s->columns + column, run, out);
        else
            read_default_row(s, id, column, run, out);
        out += run * element_size(s);
        first += run;
        n -= run;
    }
}

/* The mean of the rows of all tokens. */
static void *compute_padding(const struct matrix *m)
{
    const struct matrix_set *s = m->set;
    size_t n = s->owner->vocabulary->n;
    void *row = mem_alloc(s->columns, element_size(s));
    double *sum = mem_alloc(s->columns, sizeof *sum);
    for (size_t id = 0; id < n; id++) {
        read_token_rows(m, id * s->columns, s->columns, row);
        add_elements(s, row, s->columns, sum);
    }
    divide_elements(s, sum, n, s->columns, row);
    free(sum);
    return row;
}

static const char *get_padding(struct matrix *m)
{
    pthread_mutex_lock(&m->lock);
    if (!m->padding)
        m->padding = compute_padding(m);
    pthread_mutex_unlock(&m->lock);
    return m->padding;
}

/* For struct computed_tensor. */
static void read_elements(const void *state, size_t first, size_t n, void *to)
{
    struct matrix *m = (struct matrix *)state;
    const struct matrix_set *s = m->set;
    size_t end = s->owner->vocabulary->n * s->columns, size = element_size(s);
    size_t of_tokens = first >= end ? 0 : end - first < n ? end - first : n;
    if (of_tokens)
        read_token_rows(m, first, of_tokens, to);
    for (size_t i = of_tokens; i < n;) {
        size_t column = (first + i) % s->columns, run = s->columns - column;
        run = run < n - i ? run : n - i;
        memcpy((char *)to + i * size, get_padding(m) + column * size, run * size);
        i += run;
    }
}

/* ---- finding the tensors --------------------------------------------------------------------- */

static int kind_of_tensor(const char *name)
{
    return tensor_name_is_token_embedding(name) ? VOCABULARY_EMBEDDINGS
           : tensor_name_is_lm_head(name)       ? VOCABULARY_HEADS
                                                : 0;
}

/* The name of the new matrix of a model: that of its tensor, unless it is an embedding that becomes
 * a head; that has the name which a head has in the model's naming scheme. */
static const char *name_matrix(struct vocabulary_tensors *t, const struct model_source *source,
                               size_t tensor, const char *name)
{
    const char *own = model_source_tensor(source, tensor)->name;
    char canonical[NAME_SCHEME_MAX_NAME], in_scheme[NAME_SCHEME_MAX_NAME];
    if (kind_of_tensor(own) != kind_of_tensor(name) && name_scheme_to_canonical(name, canonical) &&
        name_scheme_from_canonical(name_scheme_detect(source), canonical, in_scheme))
        return arena_copy_text(&t->arena, in_scheme);
    return arena_copy_text(&t->arena, own);
}

/* Has an earlier set this tensor of the model? */
static bool has_set_with(const struct vocabulary_tensors *t, size_t model, const char *name)
{
    for (size_t i = 0; i < t->n_sets; i++)
        for (size_t j = 0; j < t->sets[i].n; j++)
            if (t->sets[i].matrices[j].source && t->sets[i].matrices[j].model == model &&
                strcmp(t->sets[i].matrices[j].name, name) == 0)
                return true;
    return false;
}

static int check_matrix(const struct matrix_set *s, const struct matrix *m, const char *model,
                        struct error *e)
{
    const struct ckpt_tensor *t = model_source_tensor(m->source, m->from);
    if (t->rank != 2 || !dtype_is_float(t->dtype) || t->shape[1] == 0)
        return error_set(e,
                         "tensor %s of %.200s is no matrix of floating-point numbers, so its "
                         "rows cannot be moved",
                         t->name, model);
    if (s->columns && t->shape[1] != s->columns)
        return error_set(e, "tensor %s of %.200s has %llu columns, but %zu in another model",
                         t->name, model, (unsigned long long)t->shape[1], s->columns);
    return 0;
}

/* Adds the tensor `name` of model i, if the model has it. */
static int add_matrix(struct vocabulary_tensors *t, struct matrix_set *s, size_t i, struct error *e)
{
    struct model_source *source = t->models[i];
    long found = source ? name_scheme_find_tensor_or_tied(source, s->name) : -1;
    if (source && found < 0)
        return 0;
    struct matrix *m = &s->matrices[s->n];
    *m = (struct matrix){.source = source, .model = i, .position = s->n, .from = (size_t)found};
    long known = vocabulary_find_model(t->vocabulary, t->names[i]);
    s->models[s->n] = (struct token_rows_model){
        .model = known >= 0 ? (size_t)known
                            : vocabulary_add_model(t->vocabulary, t->names[i], t->options.tool),
        .no_tensor = !source};
    if (source) {
        if (check_matrix(s, m, t->names[i], e))
            return -1;
        const struct ckpt_tensor *tensor = model_source_tensor(source, m->from);
        s->columns = tensor->shape[1];
        s->dtype = tensor->dtype == DTYPE_F64 ? DTYPE_F64 : s->dtype;
        s->models[s->n].rows = tensor->shape[0];
        m->name = name_matrix(t, source, m->from, s->name);
    }
    pthread_mutex_init(&m->lock, NULL);
    s->n++;
    return 0;
}

/* Adds the set of a tensor of model i. */
static int add_set(struct vocabulary_tensors *t, const char *name, struct error *e)
{
    t->sets = arena_grow(&t->arena, t->sets, t->n_sets, &t->capacity, sizeof *t->sets);
    struct matrix_set *s = &t->sets[t->n_sets++];
    *s = (struct matrix_set){.owner = t,
                             .name = arena_copy_text(&t->arena, name),
                             .dtype = DTYPE_F32,
                             .matrices = arena_alloc(&t->arena, t->n_models, sizeof *s->matrices),
                             .models = arena_alloc(&t->arena, t->n_models, sizeof *s->models)};
    for (size_t i = 0; i < t->n_models; i++)
        if (add_matrix(t, s, i, e))
            return -1;
    return 0;
}

static int add_all_sets(struct vocabulary_tensors *t, struct error *e)
{
    for (size_t i = 0; i < t->n_models; i++) {
        const struct model_source *source = t->models[i];
        for (size_t j = 0; source && j < model_source_tensor_count(source); j++) {
            const char *name = model_source_tensor(source, j)->name;
            if ((kind_of_tensor(name) & t->options.which) && !has_set_with(t, i, name) &&
                add_set(t, name, e))
                return -1;
        }
    }
    return 0;
}

/* ---- default rows ---------------------------------------------------------------------------- */

/* Does the default row of a token need a model that cannot be read? */
static long find_unreadable_model(const struct matrix_set *s, size_t id)
{
    const struct token_row *row = &s->defaults[id];
    for (size_t i = 0; i < s->n; i++) {
        bool needed = row->model == TOKEN_ROW_MEAN
                          ? s->owner->vocabulary->models[s->models[i].model].row_of[id] >= 0
                          : row->model == (int32_t)i;
        if (needed && s->models[i].no_tensor)
            return (long)i;
    }
    return -1;
}

/* Can all rows of the matrices that are moved be read? */
static int check_readable(const struct matrix_set *s, struct error *e)
{
    const struct vocabulary *v = s->owner->vocabulary;
    for (size_t id = 0; id < v->n; id++)
        for (size_t i = 0; i < s->n; i++) {
            if (s->matrices[i].model >= s->owner->options.n_moved ||
                token_rows_own_row(v, &s->models[i], id) >= 0)
                continue;
            long missing = find_unreadable_model(s, id);
            if (missing >= 0)
                return error_set(e,
                                 "%.200s lacks token %.80s and needs the row of %.200s, whose "
                                 "weights are not in a file",
                                 v->models[s->models[i].model].name, v->tokens[id].text,
                                 v->models[s->models[missing].model].name);
        }
    return 0;
}

/* Here the sets stay where they are, so that the matrices can refer to them. */
static int find_default_rows(struct vocabulary_tensors *t, struct error *e)
{
    for (size_t i = 0; i < t->n_sets; i++) {
        struct matrix_set *s = &t->sets[i];
        s->defaults = arena_alloc(&t->arena, t->vocabulary->n, sizeof *s->defaults);
        for (size_t j = 0; j < s->n; j++)
            s->matrices[j].set = s;
        if (token_rows_find_defaults(t->vocabulary, s->name, s->n, s->models, t->options.tool,
                                     s->defaults, e) ||
            check_readable(s, e))
            return -1;
    }
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Is the new matrix the tensor as it is? */
static bool is_unchanged(const struct matrix *m)
{
    const struct vocabulary *v = m->set->owner->vocabulary;
    const struct ckpt_tensor *t = model_source_tensor(m->source, m->from);
    if (t->shape[0] != v->n || v->n_rows != v->n || strcmp(t->name, m->name) != 0)
        return false;
    for (size_t id = 0; id < v->n; id++)
        if (token_rows_own_row(v, &m->set->models[m->position], id) != (long)id)
            return false;
    return true;
}

/* The matrices of a model, at most one of each set; how many. */
static size_t list_matrices(const struct vocabulary_tensors *t, size_t model,
                            struct matrix **matrices)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_sets; i++)
        for (size_t j = 0; j < t->sets[i].n; j++)
            if (t->sets[i].matrices[j].source && t->sets[i].matrices[j].model == model)
                matrices[n++] = &t->sets[i].matrices[j];
    return n;
}

/* Gives a model its new matrices. */
static void replace_tensors(const struct vocabulary_tensors *t, size_t model)
{
    struct matrix **matrices = mem_alloc(t->n_sets, sizeof *matrices);
    struct computed_tensor *computed = mem_alloc(t->n_sets, sizeof *computed);
    size_t n = list_matrices(t, model, matrices), changed = 0,
           *stored = mem_alloc(t->n_sets, sizeof *stored);
    for (size_t i = 0; i < n; i++)
        if (!is_unchanged(matrices[i]))
            computed[changed++] = (struct computed_tensor){.name = matrices[i]->name,
                                                           .from = matrices[i]->from,
                                                           .rows = t->vocabulary->n_rows,
                                                           .dtype = matrices[i]->set->dtype,
                                                           .read = read_elements,
                                                           .state = matrices[i]};
    if (changed)
        model_source_set_computed_tensors(t->models[model], changed, computed, stored);
    for (size_t i = 0; i < n; i++)
        matrices[i]->stored =
            (size_t)model_source_find_tensor(matrices[i]->source, matrices[i]->name);
    for (size_t i = 0; i < changed; i++)
        ((struct matrix *)computed[i].state)->stored = stored[i];
    free(stored);
    free(computed);
    free(matrices);
}

struct vocabulary_tensors *vocabulary_tensors_move(struct vocabulary *v,
                                                   struct model_source *const *models,
                                                   const char *const *names, size_t n,
                                                   const struct vocabulary_tensors_options *o,
                                                   struct error *e)
{
    struct vocabulary_tensors *t = mem_alloc(1, sizeof *t);
    *t = (struct vocabulary_tensors){
        .vocabulary = v, .options = *o, .n_models = n, .models = models, .names = names};
    if (add_all_sets(t, e) || find_default_rows(t, e)) {
        vocabulary_tensors_free(t);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        replace_tensors(t, i);
    return t;
}

void vocabulary_tensors_free(struct vocabulary_tensors *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_sets; i++)
        for (size_t j = 0; j < t->sets[i].n; j++) {
            free(t->sets[i].matrices[j].padding);
            pthread_mutex_destroy(&t->sets[i].matrices[j].lock);
        }
    arena_free(&t->arena);
    free(t);
}
