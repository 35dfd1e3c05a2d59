#include "header.h"

#include "utf8.h"

#include <stdlib.h>
#include <string.h>

const char *stream_kind_name(enum stream_kind kind)
{
    switch (kind) {
    case KIND_WEIGHTS:
        return "weights";
    case KIND_TASK_VECTORS:
        return "task-vectors";
    case KIND_ACTIVATIONS:
        return "activations";
    }
    return "?";
}

static struct history copy_history(struct arena *a, struct history from)
{
    struct history to = {from.n, arena_copy(a, from.steps, from.n * sizeof *from.steps)};
    for (size_t i = 0; i < to.n; i++) {
        struct history_step *s = &to.steps[i];
        s->tool = arena_copy_text(a, s->tool);
        s->version = arena_copy_text(a, s->version);
        s->arguments = arena_copy(a, s->arguments, s->n_arguments * sizeof *s->arguments);
        for (size_t j = 0; j < s->n_arguments; j++)
            s->arguments[j] = arena_copy_text(a, s->arguments[j]);
        s->fingerprints =
            arena_copy(a, s->fingerprints, s->n_fingerprints * sizeof *s->fingerprints);
        s->blas = arena_copy_text(a, s->blas);
        s->parents = arena_copy(a, s->parents, s->n_parents * sizeof *s->parents);
        for (size_t j = 0; j < s->n_parents; j++)
            s->parents[j] = copy_history(a, s->parents[j]);
        s->unknown_keys = unknown_keys_copy(a, s->unknown_keys);
    }
    return to;
}

struct header *header_new(void)
{
    return mem_alloc(1, sizeof(struct header));
}

struct header *header_copy(const struct header *from)
{
    struct header *h = header_new();
    struct arena a = {0};
    *h = *from;
    h->models = arena_copy(&a, from->models, from->n_models * sizeof *from->models);
    for (size_t i = 0; i < h->n_models; i++) {
        h->models[i].name = arena_copy_text(&a, h->models[i].name);
        h->models[i].role = arena_copy_text(&a, h->models[i].role);
        h->models[i].hub = arena_copy_text(&a, h->models[i].hub);
        h->models[i].commit = arena_copy_text(&a, h->models[i].commit);
        h->models[i].quantization = arena_copy_text(&a, h->models[i].quantization);
        h->models[i].unknown_keys = unknown_keys_copy(&a, h->models[i].unknown_keys);
    }
    h->tensors = arena_alloc(&a, from->n_tensors, sizeof *from->tensors);
    for (size_t i = 0; i < h->n_tensors; i++) {
        h->tensors[i] = tensor_copy(&a, &from->tensors[i]);
        h->tensors[i].input_index = i;
    }
    h->history = copy_history(&a, from->history);
    h->unknown_keys = unknown_keys_copy(&a, from->unknown_keys);
    h->arena = a;
    h->model_capacity = 0;
    header_index_models(h);
    return h;
}

void header_free(struct header *h)
{
    if (!h)
        return;
    struct arena a = h->arena;
    arena_free(&a);
    free(h);
}

void header_index_models(struct header *h)
{
    h->model_index = (struct name_index){0};
    for (size_t i = 0; i < h->n_models; i++)
        name_index_add(&h->model_index, h->models[i].name, i, &h->arena);
}

long header_find_model(const struct header *h, const char *name)
{
    if (h->model_index.n == h->n_models)
        return name_index_find(&h->model_index, name);
    for (size_t i = 0; i < h->n_models; i++)
        if (strcmp(h->models[i].name, name) == 0)
            return (long)i;
    return -1;
}

long header_add_model(struct header *h, const char *name, const char *role, struct error *e)
{
    if (utf8_valid_prefix_length(name, strlen(name)) < strlen(name))
        return error_set(e, "the model name %s is not UTF-8; choose another name with name=path",
                         name);
    if (h->model_index.n != h->n_models)
        header_index_models(h);
    if (header_find_model(h, name) >= 0)
        return error_set(e, "two models have the name %s; choose another name with name=path",
                         name);
    h->models =
        arena_grow(&h->arena, h->models, h->n_models, &h->model_capacity, sizeof *h->models);
    struct model *m = &h->models[h->n_models];
    *m = (struct model){.name = arena_copy_text(&h->arena, name), .role = role};
    name_index_add(&h->model_index, m->name, h->n_models, &h->arena);
    return (long)h->n_models++;
}

void header_keep_tensors(struct header *h, const bool *keep)
{
    size_t n = 0;
    for (size_t i = 0; i < h->n_tensors; i++)
        if (keep[i])
            h->tensors[n++] = h->tensors[i];
    h->n_tensors = n;
}

struct history_step *header_add_history_step(struct header *h, const char *tool, size_t n_arguments,
                                             const char *const *arguments)
{
    struct arena *a = &h->arena;
    struct history_step *steps = arena_alloc(a, h->history.n + 1, sizeof *steps);
    if (h->history.n)
        memcpy(steps, h->history.steps, h->history.n * sizeof *steps);
    struct history_step *s = &steps[h->history.n++];
    h->history.steps = steps;
    s->tool = arena_copy_text(a, tool);
    s->version = TV_VERSION;
    s->n_arguments = n_arguments;
    s->arguments = arena_alloc(a, n_arguments, sizeof *s->arguments);
    for (size_t i = 0; i < n_arguments; i++)
        s->arguments[i] = arena_copy_text(a, arguments[i]);
    return s;
}
