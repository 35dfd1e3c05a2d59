#include "token_rows.h"

#include "printable.h"

#include <string.h>

long token_rows_own_row(const struct vocabulary *v, const struct token_rows_model *m, size_t id)
{
    const struct token_source *s = v->tokens[id].source;
    return s && s->force ? -1 : v->models[m->model].row_of[id];
}

/* Has the tensor all rows of the model's tokens? */
static int check_row_count(const struct vocabulary *v, const char *tensor,
                           const struct token_rows_model *m, struct error *e)
{
    const struct vocabulary_model *model = &v->models[m->model];
    for (size_t id = 0; id < v->n && !m->no_tensor; id++)
        if (model->row_of[id] >= 0 && (uint64_t)model->row_of[id] >= m->rows)
            return error_set(
                e, "tensor %s of %.200s has %llu rows, but token \"%.80s\" has the id %d", tensor,
                model->name, (unsigned long long)m->rows, v->tokens[id].text, model->row_of[id]);
    return 0;
}

/* The row that the request names. */
static int find_source_row(const struct vocabulary *v, const char *tensor,
                           const struct token_source *s, size_t n,
                           const struct token_rows_model *models, struct token_row *row,
                           struct error *e)
{
    *row = (struct token_row){TOKEN_ROW_ZERO, 0};
    if (s->kind == TOKEN_SOURCE_ZERO)
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(v->models[models[i].model].name, s->model) != 0)
            continue;
        if (s->row >= models[i].rows && !models[i].no_tensor)
            return error_set(e,
                             "token %.80s: its source, row %zu of %s, is beyond the %llu rows "
                             "of %.200s",
                             s->token, s->row, tensor, (unsigned long long)models[i].rows,
                             s->model);
        *row = (struct token_row){(int32_t)i, (int32_t)s->row};
        return 0;
    }
    return error_set(e, "token %.80s: its source %.200s is not among the models of tensor %s",
                     s->token, s->model, tensor);
}

static struct token_row find_default_row(const struct vocabulary *v, size_t n,
                                         const struct token_rows_model *models, size_t id)
{
    struct token_row found = {TOKEN_ROW_ZERO, 0}, of_base = {TOKEN_ROW_MEAN, 0};
    size_t owners = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t row = v->models[models[i].model].row_of[id];
        if (row < 0)
            continue;
        found = (struct token_row){(int32_t)i, row};
        if ((long)models[i].model == v->base)
            of_base = found;
        owners++;
    }
    return owners > 1 ? of_base : found;
}

int token_rows_find_defaults(const struct vocabulary *v, const char *tensor, size_t n,
                             const struct token_rows_model *models, const char *tool,
                             struct token_row *defaults, struct error *e)
{
    size_t zeros = 0, first_zero = 0;
    for (size_t i = 0; i < n; i++)
        if (check_row_count(v, tensor, &models[i], e))
            return -1;
    for (size_t id = 0; id < v->n; id++) {
        const struct token_source *s = v->tokens[id].source;
        if (s && s->kind != TOKEN_SOURCE_NONE) {
            if (find_source_row(v, tensor, s, n, models, &defaults[id], e))
                return -1;
            continue;
        }
        defaults[id] = find_default_row(v, n, models, id);
        if (defaults[id].model != TOKEN_ROW_ZERO)
            continue;
        first_zero = zeros++ ? first_zero : id;
    }
    if (zeros && tool)
        printable_warning(tool,
                          "tensor %s: %zu row%s zero, because no model has the "
                          "token, such as \"%s\"",
                          tensor, zeros, zeros == 1 ? " is" : "s are", v->tokens[first_zero].text);
    return 0;
}
