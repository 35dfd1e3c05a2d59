#include "samples.h"

#include "model_name.h"
#include "image_samples.h"
#include "hash.h"
#include "mapped_file.h"
#include "strict_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A file, or the one in a container, that is being read. */
struct reading {
    struct samples *all;
    const struct sample_requirements *limits;
    const char *file, *task; /* task: of samples that say none */
    struct image_samples container;
};

/* ---- one sample ------------------------------------------------------------------------------ */

static int read_ids(const struct reading *r, struct sample *s, const json_t *list, struct error *e)
{
    const struct arch *a = r->limits->arch;
    s->n = json_array_size(list);
    if (!json_is_array(list))
        return sample_error(s, e, "input_ids is not a list of token ids");
    if (s->n == 0)
        return sample_error(s, e, "input_ids is empty");
    if (s->n > a->max_positions)
        return sample_error(s, e, "%zu tokens are too many; the model takes %zu", s->n,
                            a->max_positions);
    uint32_t *ids = arena_alloc(&r->all->arena, s->n, sizeof *ids);
    for (size_t t = 0; t < s->n; t++) {
        const json_t *id = json_array_get(list, t);
        if (!json_is_integer(id))
            return sample_error(s, e, "input_ids[%zu] is not a whole number", t);
        json_int_t value = json_integer_value(id);
        if (value < 0 || (uint64_t)value >= a->vocab)
            return sample_error(s, e,
                                "token id %lld at position %zu is outside the vocabulary of %zu",
                                (long long)value, t, a->vocab);
        ids[t] = (uint32_t)value;
    }
    s->ids = ids;
    return 0;
}

static int read_prompt(struct sample *s, const json_t *prompt,
                       const struct sample_requirements *limits, struct error *e)
{
    s->prompt_tokens = 0;
    if (!prompt || json_is_null(prompt))
        return limits->prompt_required ? sample_error(s, e,
                                                      "prompt_len is missing: where does the "
                                                      "response begin?")
                                       : 0;
    json_int_t n = json_is_integer(prompt) ? json_integer_value(prompt) : 0;
    if (n < 1 || (uint64_t)n > s->n)
        return sample_error(s, e, "prompt_len is not a number from 1 to %zu", s->n);
    if (limits->prompt_required && (size_t)n == s->n)
        return sample_error(s, e, "there is no response behind the prompt");
    s->prompt_tokens = (size_t)n;
    return 0;
}

const char *samples_default_task(const char *file, struct arena *a)
{
    if (is_folder(file)) {
        char *name = model_name_from_path(file);
        const char *copy = arena_copy_text(a, name);
        free(name);
        return copy;
    }
    const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    const char *dot = strrchr(name, '.');
    return arena_copy_text_n(a, name, dot && dot > name ? (size_t)(dot - name) : strlen(name));
}

static int read_task(const struct reading *r, struct sample *s, const json_t *task, struct error *e)
{
    struct samples *all = r->all;
    if (task && !json_is_null(task) && !json_is_string(task))
        return sample_error(s, e, "task is not a text");
    const char *name = json_is_string(task) ? json_string_value(task) : r->task;
    s->task = 0;
    while (s->task < all->n_tasks && strcmp(name, all->tasks[s->task]) != 0)
        s->task++;
    if (s->task < all->n_tasks)
        return 0;
    all->tasks = mem_resize(all->tasks, all->n_tasks + 1, sizeof *all->tasks);
    all->tasks[all->n_tasks++] = arena_copy_text(&all->arena, name);
    return 0;
}

static int read_object(const struct reading *r, struct sample *s, const json_t *object,
                       struct error *e)
{
    struct samples *all = r->all;
    const json_t *ids = json_object_get(object, "input_ids");
    if (!ids)
        return sample_error(s, e, "input_ids is missing");
    if (read_ids(r, s, ids, e) ||
        read_prompt(s, json_object_get(object, "prompt_len"), r->limits, e) ||
        read_task(r, s, json_object_get(object, "task"), e) ||
        image_samples_read(&r->container, s, object, e))
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

static int read_line(const struct reading *r, size_t number, const unsigned char *line, size_t n,
                     struct error *e)
{
    struct sample s = {.file = r->file, .line = number};
    char what[32];
    snprintf(what, sizeof what, "line %zu", number);
    json_t *object = strict_json_parse(r->file, what, line, n, e);
    int failed = !object || read_object(r, &s, object, e);
    json_decref(object);
    return failed ? -1 : 0;
}

static int read_file(const struct reading *r, struct error *e)
{
    struct mapped_file m;
    size_t before = r->all->n, number = 0;
    int failed = 0;
    if (mapped_file_open(&m, r->file, NULL, NULL, e))
        return -1;
    r->all->hash = XXH3_64bits(m.bytes, m.size);
    for (size_t at = 0; at < m.size && !failed; number++) {
        const unsigned char *line = m.bytes + at, *end = memchr(line, '\n', m.size - at);
        size_t n = end ? (size_t)(end - line) : m.size - at;
        if (!is_blank(line, n))
            failed = read_line(r, number + 1, line, n, e);
        at += n + 1;
    }
    mapped_file_close(&m);
    if (failed)
        return -1;
    return r->all->n > before ? 0 : error_set(e, "%s has no samples", r->file);
}

/* ---- a container ----------------------------------------------------------------------------- */

/* The tensors of a container; there need be none. A path is no operand: "./" hides its '='. */
static int open_pixels(struct samples *s, const char *folder, const struct model_source **pixels,
                       struct error *e)
{
    const char *path =
        arena_printf(&s->arena, "%s%s/tensors.safetensors", folder[0] == '/' ? "" : "./", folder);
    *pixels = NULL;
    if (access(path, F_OK))
        return 0;
    struct model_source *in = model_source_open(path, NULL, "samples", e);
    if (!in)
        return -1;
    s->files = mem_resize(s->files, s->n_files + 1, sizeof *s->files);
    s->files[s->n_files++] = in;
    *pixels = in;
    return 0;
}

int samples_read(struct samples *s, const char *file, const struct sample_requirements *limits,
                 struct error *e)
{
    const struct model_source *pixels = NULL;
    bool folder = is_folder(file);
    struct reading r = {.all = s, .limits = limits, .task = samples_default_task(file, &s->arena)};
    r.file = arena_printf(&s->arena, "%s%s", file, folder ? "/samples.jsonl" : "");
    if (folder && open_pixels(s, file, &pixels, e))
        return -1;
    r.container = (struct image_samples){limits->arch, pixels, &s->images, &s->arena};
    if (read_file(&r, e))
        return -1;
    if (pixels) {
        uint64_t both[] = {s->hash, model_source_fingerprint(pixels)};
        s->hash = XXH3_64bits(both, sizeof both);
    }
    return 0;
}

void samples_free(struct samples *s)
{
    for (size_t i = 0; i < s->n_files; i++)
        model_source_close(s->files[i]);
    free(s->files);
    free(s->samples);
    free(s->tasks);
    free(s->images.images);
    arena_free(&s->arena);
    *s = (struct samples){0};
}
