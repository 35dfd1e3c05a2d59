#include "samples.h"

#include "model_name.h"
#include "hash.h"
#include "sample_image_reader.h"
#include "input_file.h"
#include "mapped_file.h"
#include "strict_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A JSON Lines file that is being read. */
struct samples_file {
    struct samples *all;
    const struct sample_requirements *required;
    const char *file, *default_task;
    struct sample_image_reader images;
};

/* ---- one sample ------------------------------------------------------------------------------ */

static int read_input_ids(const struct samples_file *f, struct sample *s, const json_t *list,
                          struct error *e)
{
    const struct arch *a = f->required->arch;
    s->n = json_array_size(list);
    if (!json_is_array(list))
        return sample_error(s, e, "input_ids must be a list of token ids");
    if (s->n == 0)
        return sample_error(s, e, "input_ids is empty");
    if (s->n > a->max_positions)
        return sample_error(s, e, "the sample has %zu tokens, but the model accepts at most %zu",
                            s->n, a->max_positions);
    uint32_t *ids = arena_alloc(&f->all->arena, s->n, sizeof *ids);
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

static int read_prompt_len(struct sample *s, const json_t *prompt,
                           const struct sample_requirements *required, struct error *e)
{
    s->prompt_tokens = 0;
    if (!prompt || json_is_null(prompt))
        return required->prompt_required
                   ? sample_error(s, e,
                                  "prompt_len is missing; it is the number of ids before the "
                                  "response")
                   : 0;
    json_int_t n = json_is_integer(prompt) ? json_integer_value(prompt) : 0;
    if (n < 1 || (uint64_t)n > s->n)
        return sample_error(s, e, "prompt_len must be a whole number from 1 to %zu", s->n);
    if (required->prompt_required && (size_t)n == s->n)
        return sample_error(s, e, "the response is empty: prompt_len counts all %zu ids", s->n);
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

static int read_task_name(const struct samples_file *f, struct sample *s, const json_t *task,
                          struct error *e)
{
    struct samples *all = f->all;
    if (task && !json_is_null(task) && !json_is_string(task))
        return sample_error(s, e, "task must be a string");
    const char *name = json_is_string(task) ? json_string_value(task) : f->default_task;
    long known = name_index_find(&all->task_index, name);
    s->task = known < 0 ? all->n_tasks : (size_t)known;
    if (known >= 0)
        return 0;
    all->tasks =
        arena_grow(&all->arena, all->tasks, all->n_tasks, &all->task_capacity, sizeof *all->tasks);
    all->tasks[all->n_tasks] = arena_copy_text(&all->arena, name);
    name_index_add(&all->task_index, all->tasks[all->n_tasks], all->n_tasks, &all->arena);
    all->n_tasks++;
    return 0;
}

static int read_sample_object(const struct samples_file *f, struct sample *s, const json_t *object,
                              struct error *e)
{
    struct samples *all = f->all;
    const json_t *ids = json_object_get(object, "input_ids");
    if (!ids)
        return sample_error(s, e, "input_ids is missing");
    if (read_input_ids(f, s, ids, e) ||
        read_prompt_len(s, json_object_get(object, "prompt_len"), f->required, e) ||
        read_task_name(f, s, json_object_get(object, "task"), e) ||
        sample_image_reader_read(&f->images, s, object, e))
        return -1;
    if (all->n == all->room) {
        all->room = all->room ? 2 * all->room : 64;
        all->samples = mem_resize(all->samples, all->room, sizeof *all->samples);
    }
    all->samples[all->n++] = *s;
    return 0;
}

/* ---- a file ---------------------------------------------------------------------------------- */

static bool is_blank_line(const unsigned char *line, size_t n)
{
    size_t i = 0;
    while (i < n && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r'))
        i++;
    return i == n;
}

static int read_sample_line(const struct samples_file *f, size_t number, const unsigned char *line,
                            size_t n, struct error *e)
{
    struct sample s = {.file = f->file, .line = number};
    char what[32];
    snprintf(what, sizeof what, "line %zu", number);
    json_t *object = strict_json_parse(f->file, what, line, n, e);
    int failed = !object || read_sample_object(f, &s, object, e);
    json_decref(object);
    return failed ? -1 : 0;
}

static int read_sample_lines(const struct samples_file *f, struct error *e)
{
    struct mapped_file m;
    size_t before = f->all->n, number = 0;
    int failed = 0;
    if (mapped_file_open(&m, f->file, NULL, NULL, e))
        return -1;
    f->all->hash = XXH3_64bits(m.bytes, m.size);
    for (size_t at = 0; at < m.size && !failed; number++) {
        const unsigned char *line = m.bytes + at, *end = memchr(line, '\n', m.size - at);
        size_t n = end ? (size_t)(end - line) : m.size - at;
        if (!is_blank_line(line, n))
            failed = read_sample_line(f, number + 1, line, n, e);
        at += n + 1;
    }
    failed = failed || mapped_file_check_unchanged(&m, f->file, e);
    mapped_file_close(&m);
    if (failed)
        return -1;
    return f->all->n > before ? 0 : error_set(e, "%s has no samples", f->file);
}

/* ---- a folder with images -------------------------------------------------------------------- */

/* Opens tensors.safetensors of a folder; *pixels is NULL if there is none. The path begins with "/"
 * or "./", so that model_source_open does not parse a '=' in it as NAME=PATH. */
static int open_pixel_tensors(struct samples *s, const char *folder,
                              const struct model_source **pixels, struct error *e)
{
    const char *path =
        arena_printf(&s->arena, "%s%s/tensors.safetensors", folder[0] == '/' ? "" : "./", folder);
    *pixels = NULL;
    int exists = input_file_exists(path, e);
    if (exists <= 0)
        return exists;
    struct model_source *in = model_source_open(path, NULL, "samples", e);
    if (!in)
        return -1;
    s->files = mem_resize(s->files, s->n_files + 1, sizeof *s->files);
    s->files[s->n_files++] = in;
    *pixels = in;
    return 0;
}

int samples_read(struct samples *s, const char *file, const struct sample_requirements *required,
                 struct error *e)
{
    const struct model_source *pixels = NULL;
    bool folder = is_folder(file);
    struct samples_file f = {
        .all = s, .required = required, .default_task = samples_default_task(file, &s->arena)};
    f.file = arena_printf(&s->arena, "%s%s", file, folder ? "/samples.jsonl" : "");
    if (folder && open_pixel_tensors(s, file, &pixels, e))
        return -1;
    f.images = (struct sample_image_reader){required->arch, pixels, &s->images, &s->arena};
    if (read_sample_lines(&f, e))
        return -1;
    if (pixels) {
        uint64_t both[] = {s->hash, model_source_fingerprint(pixels)};
        s->hash = XXH3_64bits(both, sizeof both);
    }
    return 0;
}

int samples_add_token_ids(struct samples *s, const char *text,
                          const struct sample_requirements *required, struct error *e)
{
    const struct samples_file f = {.all = s, .required = required, .default_task = "tokens"};
    struct sample sample = {.file = text};
    json_error_t why;
    json_t *ids = json_loads(arena_printf(&s->arena, "[%s]", text), 0, &why);
    if (!ids)
        return error_set(e, "%.200s: expected token ids, such as 1,17,4", text);
    json_t *object = json_pack("{so}", "input_ids", ids);
    int failed = read_sample_object(&f, &sample, object, e);
    json_decref(object);
    return failed;
}

void samples_build_batch(const struct samples *s, const struct arch *a, struct token_batch *b)
{
    struct sequence *sequences = mem_alloc(s->n, sizeof *sequences);
    for (size_t i = 0; i < s->n; i++)
        sequences[i] = samples_sequence(s, i);
    token_batch_build(b, a, sequences, s->n);
    free(sequences);
}

void samples_free(struct samples *s)
{
    for (size_t i = 0; i < s->n_files; i++)
        model_source_close(s->files[i]);
    free(s->files);
    free(s->samples);
    free(s->images.images);
    arena_free(&s->arena);
    *s = (struct samples){0};
}
