#include "history_json.h"

#include "strict_json.h"

#include <stdlib.h>
#include <string.h>

/* ---- printing -------------------------------------------------------------------------------- */

static json_t *fingerprints_to_json(const struct history_step *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_fingerprints; i++) {
        char text[17];
        snprintf(text, sizeof text, "%016llx", (unsigned long long)s->fingerprints[i]);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

static json_t *history_to_json(const struct history *history)
{
    json_t *steps = json_array();
    for (size_t i = 0; i < history->n; i++) {
        const struct history_step *s = &history->steps[i];
        json_t *step = json_object(), *arguments = json_array(), *parents = json_array();
        for (size_t j = 0; j < s->n_arguments; j++)
            json_array_append_new(arguments, strict_json_string(s->arguments[j]));
        for (size_t j = 0; j < s->n_parents; j++)
            json_array_append_new(parents, history_to_json(&s->parents[j]));
        json_object_set_new(step, "tool", strict_json_string(s->tool));
        json_object_set_new(step, "version", strict_json_string(s->version));
        json_object_set_new(step, "arguments", arguments);
        if (s->n_fingerprints)
            json_object_set_new(step, "fingerprints", fingerprints_to_json(s));
        if (s->blas)
            json_object_set_new(step, "blas", strict_json_string(s->blas));
        if (s->n_parents)
            json_object_set(step, "parents", parents);
        json_decref(parents);
        json_array_append_new(steps, step);
    }
    return steps;
}

char *history_json_print(const struct history *history)
{
    json_t *steps = history_to_json(history);
    char *text = json_dumps(steps, JSON_COMPACT);
    json_decref(steps);
    return text;
}

/* ---- parsing --------------------------------------------------------------------------------- */

struct parser {
    const char *file;
    struct arena *a;
    struct error *e;
};

static int set_format_error(const struct parser *p, const char *expected)
{
    return error_set(p->e, "%s: its history was not written by tvtools: expected %s", p->file,
                     expected);
}

/* A string of the step; "" with an error if there is none. */
static int parse_string(const struct parser *p, const json_t *value, const char *expected,
                        const char **text)
{
    *text = json_is_string(value) ? arena_copy_text(p->a, json_string_value(value)) : "";
    return json_is_string(value) ? 0 : set_format_error(p, expected);
}

static int parse_arguments(const struct parser *p, const json_t *list, struct history_step *s)
{
    if (!json_is_array(list))
        return set_format_error(p, "a list of arguments in each step");
    s->arguments = arena_alloc(p->a, json_array_size(list), sizeof *s->arguments);
    for (; s->n_arguments < json_array_size(list); s->n_arguments++)
        if (parse_string(p, json_array_get(list, s->n_arguments), "arguments that are strings",
                         &s->arguments[s->n_arguments]))
            return -1;
    return 0;
}

static int parse_fingerprints(const struct parser *p, const json_t *list, struct history_step *s)
{
    size_t n = json_array_size(list);
    uint64_t *fingerprints = arena_alloc(p->a, n, sizeof *fingerprints);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
            return set_format_error(p, "fingerprints of 16 hexadecimal digits");
        fingerprints[i] = strtoull(text, NULL, 16);
    }
    s->n_fingerprints = n;
    s->fingerprints = fingerprints;
    return list && !json_is_array(list) ? set_format_error(p, "a list of fingerprints") : 0;
}

static int parse_blas(const struct parser *p, const json_t *value, struct history_step *s)
{
    return value ? parse_string(p, value, "a blas that is a string", &s->blas) : 0;
}

static int parse_steps(const struct parser *p, const json_t *list, struct history *history);

static int parse_parents(const struct parser *p, const json_t *list, struct history_step *s)
{
    if (list && !json_is_array(list))
        return set_format_error(p, "a list of parents");
    s->parents = arena_alloc(p->a, json_array_size(list), sizeof *s->parents);
    for (; s->n_parents < json_array_size(list); s->n_parents++)
        if (parse_steps(p, json_array_get(list, s->n_parents), &s->parents[s->n_parents]))
            return -1;
    return 0;
}

static int parse_step(const struct parser *p, const json_t *step, struct history_step *s)
{
    return parse_string(p, json_object_get(step, "tool"), "a tool in each step", &s->tool) ||
                   parse_string(p, json_object_get(step, "version"), "a version in each step",
                                &s->version) ||
                   parse_arguments(p, json_object_get(step, "arguments"), s) ||
                   parse_fingerprints(p, json_object_get(step, "fingerprints"), s) ||
                   parse_blas(p, json_object_get(step, "blas"), s) ||
                   parse_parents(p, json_object_get(step, "parents"), s)
               ? -1
               : 0;
}

static int parse_steps(const struct parser *p, const json_t *list, struct history *history)
{
    if (!json_is_array(list))
        return set_format_error(p, "a list of steps");
    history->steps = arena_alloc(p->a, json_array_size(list), sizeof *history->steps);
    for (; history->n < json_array_size(list); history->n++)
        if (parse_step(p, json_array_get(list, history->n), &history->steps[history->n]))
            return -1;
    return 0;
}

int history_json_parse(struct history *history, const char *file, const char *text, struct arena *a,
                       struct error *e)
{
    const struct parser p = {file, a, e};
    char *object = mem_printf("{\"history\":%s}", text);
    json_t *json =
        strict_json_parse(file, "its history", (const unsigned char *)object, strlen(object), e);
    *history = (struct history){0};
    int failed = json ? parse_steps(&p, json_object_get(json, "history"), history) : -1;
    json_decref(json);
    free(object);
    return failed;
}
