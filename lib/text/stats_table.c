#include "stats_table.h"

#include "tensor_rules.h"
#include "text_print.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers --------------------------------------------------------------------------------- */

double stats_table_value(const struct joint_stats *t, enum stats_key key, size_t k, size_t j)
{
    const struct vector_stats *v = &t->vectors[k];
    bool empty = v->finite == 0;
    switch (key) {
    case STATS_ELEMENTS:
        return (double)v->elements;
    case STATS_ZERO:
        return vector_stats_zero_share(v);
    case STATS_L1:
        return empty ? NAN : v->l1;
    case STATS_L2:
        return empty ? NAN : sqrt(v->squares);
    case STATS_MEAN:
        return empty ? NAN : v->sum / (double)v->finite;
    case STATS_MAX_ABS:
        return vector_stats_max_abs(v);
    case STATS_MIN:
        return empty ? NAN : v->min;
    case STATS_MAX:
        return empty ? NAN : v->max;
    case STATS_COSINE:
        return joint_stats_cosine(t, k, j);
    default:
        return joint_stats_opposite_sign_share(t, k, j);
    }
}

static bool is_of_pair(enum stats_key key)
{
    return key == STATS_COSINE || key == STATS_CONFLICT;
}

double stats_table_sort_value(const struct joint_stats *t, enum stats_key key)
{
    double largest = NAN;
    for (size_t k = 0; k < t->n; k++)
        for (size_t j = 0; j < (is_of_pair(key) ? k : 1); j++) {
            double x = stats_table_value(t, key, k, j);
            x = key == STATS_MIN ? -x : key == STATS_MEAN ? fabs(x) : x;
            largest = isnan(largest) || x > largest ? x : largest;
        }
    return largest;
}

/* ---- the choice of columns ------------------------------------------------------------------- */

static bool has_key(const struct stats_columns *c, enum stats_key key)
{
    bool has = false;
    for (size_t i = 0; i < c->n; i++)
        has |= c->keys[i] == key;
    return has;
}

static void add_key(struct stats_columns *c, enum stats_key key)
{
    if (!has_key(c, key))
        c->keys[c->n++] = key;
}

int stats_columns_parse(struct stats_columns *c, const char *text, const char *label,
                        struct error *e)
{
    *c = (struct stats_columns){0};
    for (const char *p = text; p; p = strchr(p, ',')) {
        char name[16] = "";
        p += *p == ',';
        size_t length = strcspn(p, ",");
        memcpy(name, p, length < sizeof name ? length : sizeof name - 1);
        int key = tensor_rules_find_choice(STATS_KEYS, name);
        if (key < 0)
            return error_set(e, "%s: \"%.*s\" is not one of %s", label,
                             (int)(length < 200 ? length : 200), p, STATS_KEYS);
        if (has_key(c, (enum stats_key)key))
            return error_set(e, "%s: %s is repeated", label, name);
        add_key(c, (enum stats_key)key);
    }
    return 0;
}

/* The columns of a table that must be narrow, in the order in which they are kept: those that say
 * most about a merge first, the widest last. */
static struct stats_columns order_of_narrow_table(int sort_key)
{
    static const enum stats_key order[] = {
        STATS_ZERO, STATS_L2,   STATS_COSINE, STATS_CONFLICT, STATS_MAX_ABS,
        STATS_L1,   STATS_MEAN, STATS_MIN,    STATS_MAX,      STATS_ELEMENTS};
    struct stats_columns c = {0};
    if (sort_key >= 0)
        add_key(&c, (enum stats_key)sort_key);
    for (size_t i = 0; i < N_STATS_KEYS; i++)
        add_key(&c, order[i]);
    return c;
}

/* ---- columns --------------------------------------------------------------------------------- */

#define LEAST_WIDTH 40 /* columns of the narrowest table */
#define PAIR_WIDTH  12 /* of a pair's column in a table that must be narrow */

struct column {
    enum stats_key key;
    size_t model; /* of a pair: the earlier model */
    int width;
};

struct stats_table {
    size_t n_models;
    const char *const *models;
    int name_width, model_width;
    size_t n_columns, n_all; /* printed, and with those that did not fit */
    struct column *columns;
    int width; /* 0: any */
};

static const char *const titles[] = {"elements", "zero", "L1",  "L2",   "mean",
                                     "max|x|",   "min",  "max", "cos:", "opp:"};

/* Columns of the number's title, or of its prefix to the name of a model. */
static int title_width(enum stats_key key)
{
    return (int)strlen(titles[key]);
}

static int column_width(const struct stats_table *t, const struct column *c, bool narrow)
{
    if (!is_of_pair(c->key))
        return c->key == STATS_ELEMENTS ? 12 : c->key == STATS_ZERO ? 7 : 10;
    int width = title_width(c->key) + text_print_name_width(t->models[c->model]);
    if (narrow && width > PAIR_WIDTH)
        return PAIR_WIDTH;
    return width > 7 ? width : 7;
}

static void add_column(struct stats_table *t, enum stats_key key, size_t model, bool narrow)
{
    struct column *c = &t->columns[t->n_all++];
    *c = (struct column){.key = key, .model = model};
    c->width = column_width(t, c, narrow);
}

/* Adds the columns of these keys. If the two keys of pairs follow each other, their columns
 * alternate: both of the first model, both of the second, and so on. */
static void add_columns(struct stats_table *t, const struct stats_columns *keys, bool narrow)
{
    size_t end;
    t->n_all = 0;
    for (size_t i = 0; i < keys->n; i = end) {
        end = i + 1;
        if (!is_of_pair(keys->keys[i])) {
            add_column(t, keys->keys[i], 0, narrow);
            continue;
        }
        end += end < keys->n && is_of_pair(keys->keys[end]);
        for (size_t model = 0; model + 1 < t->n_models; model++)
            for (size_t key = i; key < end; key++)
                add_column(t, keys->keys[key], model, narrow);
    }
    t->n_columns = t->n_all;
}

/* Columns of a line, without the two names. */
static int line_width(const struct stats_table *t)
{
    int width = 2;
    for (size_t i = 0; i < t->n_columns; i++)
        width += 2 + t->columns[i].width;
    return width;
}

/* Leaves out the last columns, as many as needed, and then narrows the names. */
static void fit_into_width(struct stats_table *t)
{
    int name = text_print_ample_tensor_width(t->width), model = TEXT_PRINT_LEAST_MODEL_WIDTH;
    name = name < t->name_width ? name : t->name_width;
    model = model < t->model_width ? model : t->model_width;
    while (t->n_columns > 1 && name + model + line_width(t) > t->width)
        t->n_columns--;
    text_print_fit_names(&t->name_width, &t->model_width, line_width(t), t->width);
}

struct stats_table *stats_table_new(size_t n, const char *const *models, int name_width,
                                    const struct stats_columns *columns, int width, int sort_key)
{
    struct stats_columns all = {0}, narrow = order_of_narrow_table(sort_key);
    struct stats_table *t = mem_alloc(1, sizeof *t);
    t->n_models = n;
    t->models = models;
    t->name_width = name_width;
    t->model_width = 5;
    for (size_t i = 0; i < n; i++)
        t->model_width = text_print_max_name_width(t->model_width, models[i]);
    for (enum stats_key key = 0; key < N_STATS_KEYS; key++)
        add_key(&all, key);
    t->columns = mem_alloc(N_STATS_KEYS + 2 * n, sizeof *t->columns);
    add_columns(t, columns->n ? columns : &all, false);
    t->width = width && width < LEAST_WIDTH ? LEAST_WIDTH : width;
    if (width && t->name_width + t->model_width + line_width(t) > t->width) {
        add_columns(t, columns->n ? columns : &narrow, true);
        fit_into_width(t);
    }
    return t;
}

void stats_table_free(struct stats_table *t)
{
    if (t)
        free(t->columns);
    free(t);
}

/* ---- printing -------------------------------------------------------------------------------- */

void stats_table_print_titles(const struct stats_table *t)
{
    printf("%-*s  %-*s", t->name_width, "tensor", t->model_width, "model");
    for (size_t i = 0; i < t->n_columns; i++) {
        const struct column *c = &t->columns[i];
        const char *model = is_of_pair(c->key) ? t->models[c->model] : "";
        int most = c->width - title_width(c->key), width = text_print_name_width(model);
        width = width < most ? width : most;
        printf("  %*s", c->width - width, titles[c->key]);
        text_print_fitted_name(stdout, model, width);
    }
    puts("");
}

/* The vector of a model; `n` if the tensor has none. */
static size_t find_vector(const size_t *models, size_t n, size_t model)
{
    size_t k = 0;
    while (k < n && models[k] != model)
        k++;
    return k;
}

/* With 4 digits, or with fewer if these do not fit: 0.00916 in 7 columns. */
static void print_fitted_number(double x, int width)
{
    char text[32];
    int digits = 4;
    do {
        snprintf(text, sizeof text, "%.*g", digits, x);
    } while ((int)strlen(text) > width && --digits);
    printf("  %*s", width, text);
}

/* Prints the number of vector k in a column. */
static void print_number(const struct column *c, const struct joint_stats *stats, size_t k,
                         const size_t *models)
{
    size_t j = is_of_pair(c->key) ? find_vector(models, k, c->model) : 0;
    bool missing = is_of_pair(c->key) && j == k;
    double x = missing ? NAN : stats_table_value(stats, c->key, k, j);
    if (c->key == STATS_ELEMENTS)
        printf("  %*llu", c->width, (unsigned long long)stats->vectors[k].elements);
    else if (isfinite(x))
        print_fitted_number(x, c->width);
    else
        printf("  %*s", c->width, "-");
}

void stats_table_print_rows(const struct stats_table *t, const char *tensor,
                            const struct joint_stats *stats, const size_t *models)
{
    for (size_t k = 0; k < stats->n; k++) {
        const struct vector_stats *v = &stats->vectors[k];
        text_print_fitted_name(stdout, tensor, t->name_width);
        fputs("  ", stdout);
        text_print_fitted_name(stdout, t->models[models[k]], t->model_width);
        for (size_t i = 0; i < t->n_columns; i++)
            print_number(&t->columns[i], stats, k, models);
        if (v->floating > v->finite)
            printf("  %llu not finite", (unsigned long long)(v->floating - v->finite));
        puts("");
    }
}

/* Prints the name that --columns has for a key. */
static void print_key(enum stats_key key)
{
    const char *name = STATS_KEYS;
    for (enum stats_key i = 0; i < key; i++)
        name = strchr(name, '|') + 1;
    printf("%.*s", (int)strcspn(name, "|"), name);
}

void stats_table_print_left_out(const struct stats_table *t)
{
    struct stats_columns named = {0};
    if (t->n_columns == t->n_all)
        return;
    printf("\nleft out to fit %d columns (see --columns and --width): ", t->width);
    for (size_t i = t->n_columns; i < t->n_all; i++) {
        if (has_key(&named, t->columns[i].key))
            continue;
        fputs(named.n ? ", " : "", stdout);
        add_key(&named, t->columns[i].key);
        print_key(t->columns[i].key);
    }
    puts("");
}
