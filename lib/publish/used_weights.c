#include "used_weights.h"

#include "strict_json.h"

#include <stdlib.h>
#include <string.h>

struct used_weights {
    size_t n;
    json_t **of_tensor; /* [n]; NULL: not listed */
    json_t *last;       /* the last that was listed: equal ones share it */
};

struct used_weights *used_weights_new(size_t n)
{
    struct used_weights *u = mem_alloc(1, sizeof *u);
    *u = (struct used_weights){n, mem_alloc(n, sizeof *u->of_tensor), NULL};
    return u;
}

void used_weights_free(struct used_weights *u)
{
    if (!u)
        return;
    for (size_t i = 0; i < u->n; i++)
        json_decref(u->of_tensor[i]);
    free(u->of_tensor);
    free(u);
}

/* ---- listing --------------------------------------------------------------------------------- */

static json_t *weights_json(size_t n, const struct joined_vector *joined);

static json_t *weight_json(const struct joined_vector *v)
{
    json_t *weight = v->n_weights == 1 ? json_real(v->weights[0]) : json_array();
    for (size_t i = 0; v->n_weights > 1 && i < v->n_weights; i++)
        json_array_append_new(weight, json_real(v->weights[i]));
    if (v->n_joined == 0)
        return weight;
    return json_pack("{s:o, s:o}", "weight", weight, "weights",
                     weights_json(v->n_joined, v->joined));
}

static json_t *weights_json(size_t n, const struct joined_vector *joined)
{
    json_t *all = json_object();
    for (size_t i = 0; i < n; i++) {
        json_t *name = strict_json_string(joined[i].name);
        json_object_set_new(all, json_string_value(name), weight_json(&joined[i]));
        json_decref(name);
    }
    return all;
}

void used_weights_add(struct used_weights *u, size_t i, const struct vector *v)
{
    json_t *weights = weights_json(v->n_joined, v->joined);
    used_weights_add_json(u, i, weights);
    json_decref(weights);
}

json_t *used_weights_of_tensor(const struct used_weights *u, size_t i)
{
    return u->of_tensor[i];
}

void used_weights_add_json(struct used_weights *u, size_t i, json_t *weights)
{
    if (!u->last || !json_equal(u->last, weights))
        u->last = weights;
    json_incref(u->last);
    json_decref(u->of_tensor[i]);
    u->of_tensor[i] = u->last;
}

/* ---- the text -------------------------------------------------------------------------------- */

/* The weights of the first tensor that is listed, if all others have the same; else NULL. */
static json_t *find_common_weights(const struct used_weights *u)
{
    json_t *common = NULL;
    for (size_t i = 0; i < u->n; i++) {
        json_t *own = u->of_tensor[i];
        if (own && common && !json_equal(own, common))
            return NULL;
        common = own ? own : common;
    }
    return common;
}

static bool is_any_listed(const struct used_weights *u)
{
    for (size_t i = 0; i < u->n; i++)
        if (u->of_tensor[i])
            return true;
    return false;
}

char *used_weights_text(const struct used_weights *u, const struct header *h)
{
    json_t *common = find_common_weights(u), *tensors = json_object(), *all;
    for (size_t i = 0; !common && i < u->n; i++)
        if (u->of_tensor[i])
            json_object_set(tensors, h->tensors[i].name, u->of_tensor[i]);
    all = common ? json_pack("{s:O}", "weights", common) : json_pack("{s:O}", "tensors", tensors);
    bool all_are_1 = common ? json_object_size(common) == 0 : !is_any_listed(u);
    char *text = all_are_1 ? NULL : json_dumps(all, JSON_COMPACT);
    json_decref(all);
    json_decref(tensors);
    return text;
}

static bool is_merged_model(const struct model *m)
{
    return m->role && strcmp(m->role, "merged") == 0;
}

size_t used_weights_text_room(const struct header *h)
{
    static const double longest = -2.2250738585072014e-308;
    size_t size = sizeof "{\"weights\":{}}", merged = 0;
    for (size_t i = 0; i < h->n_models; i++) {
        const struct joined_vector v = {
            .name = h->models[i].name, .n_weights = 1, .weights = &longest};
        json_t *pair = weights_json(1, &v);
        char *text = json_dumps(pair, JSON_COMPACT);
        merged += is_merged_model(&h->models[i]);
        size += strlen(text);
        free(text);
        json_decref(pair);
    }
    return merged ? size : 0;
}

/* ---- the summary ----------------------------------------------------------------------------- */

struct summaries {
    const struct header *header;
    struct used_weights_summary *models; /* [model] */
};

static void add_weight(struct used_weights_summary *s, const json_t *weight)
{
    size_t n = json_is_array(weight) ? json_array_size(weight) : 1;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double x = json_number_value(json_is_array(weight) ? json_array_get(weight, i) : weight);
        s->least = x < s->least || (s->tensors == 0 && i == 0) ? x : s->least;
        s->most = x > s->most || (s->tensors == 0 && i == 0) ? x : s->most;
        sum += x;
    }
    s->sum += n ? sum / (double)n : 0;
    s->tensors++;
}

static void add_weights(const struct summaries *all, const json_t *weights)
{
    const char *name;
    json_t *weight;
    json_object_foreach((json_t *)weights, name, weight)
    {
        long model = header_find_model(all->header, name);
        const json_t *inner = json_is_object(weight) ? json_object_get(weight, "weights") : NULL;
        if (model >= 0)
            add_weight(&all->models[model], inner ? json_object_get(weight, "weight") : weight);
        if (inner)
            add_weights(all, inner);
    }
}

size_t used_weights_summarize(const struct used_weights *u, const struct header *h,
                              struct used_weights_summary **models)
{
    const struct summaries all = {h, mem_alloc(h->n_models, sizeof *all.models)};
    size_t n = 0;
    for (size_t i = 0; i < u->n; i++)
        add_weights(&all, u->of_tensor[i]);
    for (size_t i = 0; i < h->n_models; i++)
        if (all.models[i].tensors) {
            all.models[n] = all.models[i];
            all.models[n++].model = h->models[i].name;
        }
    *models = all.models;
    return n;
}
