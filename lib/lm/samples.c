#include "samples.h"

#include "container.h"
#include "hash.h"
#include "mapped.h"
#include "strict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- one sample ------------------------------------------------------------------------------ */

static int read_ids(struct samples *all, struct sample *s, const json_t *list,
                    const struct sample_limits *limits, struct error *e)
{
    s->n = json_array_size(list);
    if (!json_is_array(list))
        return sample_error(s, e, "input_ids is not a list of token ids");
    if (s->n == 0)
        return sample_error(s, e, "input_ids is empty");
    if (s->n > limits->arch->positions)
        return sample_error(s, e, "%zu tokens are too many; the model takes %zu", s->n,
                            limits->arch->positions);
    uint32_t *ids = arena_alloc(&all->arena, s->n, sizeof *ids);
    for (size_t t = 0; t < s->n; t++) {
        const json_t *id = json_array_get(list, t);
        if (!json_is_integer(id))
            return sample_error(s, e, "input_ids[%zu] is not a whole number", t);
        json_int_t value = json_integer_value(id);
        if (value < 0 || (uint64_t)value >= limits->arch->vocab)
            return sample_error(s, e,
                                "token id %lld at position %zu is outside the vocabulary of %zu",
                                (long long)value, t, limits->arch->vocab);
        ids[t] = (uint32_t)value;
    }
    s->ids = ids;
    return 0;
}

static int read_prompt(struct sample *s, const json_t *prompt, const struct sample_limits *limits,
                       struct error *e)
{
    s->prompt = 0;
    if (!prompt || json_is_null(prompt))
        return limits->prompts ? sample_error(s, e,
                                              "prompt_len is missing: where does the "
                                              "response begin?")
                               : 0;
    json_int_t n = json_is_integer(prompt) ? json_integer_value(prompt) : 0;
    if (n < 1 || (uint64_t)n > s->n)
        return sample_error(s, e, "prompt_len is not a number from 1 to %zu", s->n);
    if (limits->prompts && (size_t)n == s->n)
        return sample_error(s, e, "there is no response behind the prompt");
    s->prompt = (size_t)n;
    return 0;
}

const char *samples_task_of(const char *file, struct arena *a)
{
    const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    const char *dot = strrchr(name, '.');
    return arena_text(a, name, dot && dot > name ? (size_t)(dot - name) : strlen(name));
}

static int read_task(struct samples *all, struct sample *s, const json_t *task,
                     const struct sample_limits *limits, struct error *e)
{
    if (task && !json_is_null(task) && !json_is_string(task))
        return sample_error(s, e, "task is not a text");
    const char *name = json_string_value(task);
    name = name ? name : samples_task_of(s->file, &all->arena);
    bool known = limits->n_tasks == 0;
    for (size_t i = 0; i < limits->n_tasks; i++)
        known |= strcmp(name, limits->tasks[i]) == 0;
    if (!known)
        return sample_error(s, e, "nobody knows the task %s", name);
    s->task = 0;
    while (s->task < all->n_tasks && strcmp(name, all->tasks[s->task]) != 0)
        s->task++;
    if (s->task < all->n_tasks)
        return 0;
    all->tasks = mem_resize(all->tasks, all->n_tasks + 1, sizeof *all->tasks);
    all->tasks[all->n_tasks++] = arena_text(&all->arena, name, strlen(name));
    return 0;
}

static int read_object(struct samples *all, struct sample *s, const json_t *object,
                       const struct sample_limits *limits, const struct input *pixels,
                       struct error *e)
{
    const json_t *ids = json_object_get(object, "input_ids");
    if (!ids)
        return sample_error(s, e, "input_ids is missing");
    if (read_ids(all, s, ids, limits, e) ||
        read_prompt(s, json_object_get(object, "prompt_len"), limits, e) ||
        read_task(all, s, json_object_get(object, "task"), limits, e) ||
        container_read(all, s, object, limits->arch, pixels, e))
        return -1;
    if (all->n == all->room) {
        all->room = all->room ? 2 * all->room : 64;
        all->samples = mem_resize(all->samples, all->room, sizeof *all->samples);
    }
    all->samples[all->n++] = *s;
    return 0;
}

/* ---- a file ---------------------------------------------------------------------------------- */

static bool is_blank(const unsigned char *line, size_t n)
{
    size_t i = 0;
    while (i < n && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r'))
        i++;
    return i == n;
}

static int read_line(struct samples *all, const char *file, size_t number,
                     const unsigned char *line, size_t n, const struct sample_limits *limits,
                     const struct input *pixels, struct error *e)
{
    struct sample s = {.file = file, .line = number};
    char what[32];
    snprintf(what, sizeof what, "line %zu", number);
    json_t *object = strict_json(file, what, line, n, e);
    int failed = !object || read_object(all, &s, object, limits, pixels, e);
    json_decref(object);
    return failed ? -1 : 0;
}

static int read_file(struct samples *s, const char *file, const struct sample_limits *limits,
                     const struct input *pixels, struct error *e)
{
    struct mapped m;
    size_t before = s->n, number = 0;
    int failed = 0;
    if (mapped_open(&m, file, NULL, NULL, e))
        return -1;
    s->hash = XXH3_64bits(m.bytes, m.size);
    for (size_t at = 0; at < m.size && !failed; number++) {
        const unsigned char *line = m.bytes + at, *end = memchr(line, '\n', m.size - at);
        size_t n = end ? (size_t)(end - line) : m.size - at;
        if (!is_blank(line, n))
            failed = read_line(s, file, number + 1, line, n, limits, pixels, e);
        at += n + 1;
    }
    mapped_close(&m);
    if (failed)
        return -1;
    return s->n > before ? 0 : error_set(e, "%s has no samples", file);
}

/* ---- a container ----------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The tensors of a container; there need be none. A path is no operand: "./" hides its '='. */
static int open_pixels(struct samples *s, const char *folder, const struct input **pixels,
                       struct error *e)
{
    const char *path =
        arena_printf(&s->arena, "%s%s/tensors.safetensors", folder[0] == '/' ? "" : "./", folder);
    *pixels = NULL;
    if (access(path, F_OK))
        return 0;
    struct input *in = input_open(path, NULL, "samples", e);
    if (!in)
        return -1;
    s->files = mem_resize(s->files, s->n_files + 1, sizeof *s->files);
    s->files[s->n_files++] = in;
    *pixels = in;
    return 0;
}

int samples_read(struct samples *s, const char *file, const struct sample_limits *limits,
                 struct error *e)
{
    const struct input *pixels = NULL;
    if (!is_folder(file))
        return read_file(s, arena_copy_text(&s->arena, file), limits, NULL, e);
    if (open_pixels(s, file, &pixels, e) ||
        read_file(s, arena_printf(&s->arena, "%s/samples.jsonl", file), limits, pixels, e))
        return -1;
    if (pixels) {
        uint64_t both[] = {s->hash, input_fingerprint(pixels)};
        s->hash = XXH3_64bits(both, sizeof both);
    }
    return 0;
}

void samples_free(struct samples *s)
{
    for (size_t i = 0; i < s->n_files; i++)
        input_close(s->files[i]);
    free(s->files);
    free(s->samples);
    free(s->tasks);
    free(s->pictures);
    arena_free(&s->arena);
    *s = (struct samples){0};
}
