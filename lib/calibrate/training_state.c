#include "training_state.h"

#include "atomic_file.h"
#include "hash.h"
#include "input_file.h"
#include "mapped_file.h"
#include "stage.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NOT_A_STATE "%s is not a file that --resume wrote"

uint64_t training_state_compute_key(struct stage *s, const struct header *h,
                                    const struct model_weights *base)
{
    struct arena a = {0};
    const struct string_list options = stage_history_arguments(s, &a);
    XXH64_hash_t key = model_source_fingerprint(model_weights_model_source(base));
    for (size_t i = 0; i < options.n; i++)
        key = XXH3_64bits_withSeed(options.items[i], strlen(options.items[i]), key);
    for (size_t m = 0; m < h->n_models; m++)
        key = XXH3_64bits_withSeed(&h->models[m].fingerprint, sizeof(uint64_t), key);
    for (size_t i = 0; i < h->history.n; i++)
        for (size_t j = 0; j < h->history.steps[i].n_arguments; j++) {
            const char *text = h->history.steps[i].arguments[j];
            key = XXH3_64bits_withSeed(text, strlen(text), key);
        }
    arena_free(&a);
    return key;
}

void training_state_end_epoch(struct training_state *s, double mean_loss,
                              const struct coefficients *c)
{
    bool is_best = mean_loss < s->best_loss;
    s->epoch++;
    s->samples_done = 0;
    s->loss_sum = 0;
    s->epochs_since_best = is_best ? 0 : s->epochs_since_best + 1;
    if (!is_best)
        return;
    s->best_loss = mean_loss;
    if (s->best_r)
        memcpy(s->best_r, c->r, c->n_learned * sizeof *c->r);
}

/* ---- to a file ------------------------------------------------------------------------------- */

static json_t *make_json_number_array(const double *x, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_real(x[i]));
    return list;
}

static json_t *make_json_chunk_counts(const struct coefficients *c)
{
    json_t *list = json_array();
    for (size_t j = 0; j < c->tensors; j++)
        json_array_append_new(
            list, json_integer(c->ranges[j].frozen ? 0 : (json_int_t)c->ranges[j].chunks));
    return list;
}

/* NULL if a loss is not finite, which JSON cannot express. */
static json_t *state_to_json(const struct training_state *s, const struct coefficients *c,
                             const struct adamw *a)
{
    char key[32];
    size_t n = c->n_learned;
    snprintf(key, sizeof key, "%016llx", (unsigned long long)s->key);
    json_t *o = json_pack("{s:s, s:i, s:I, s:I, s:f, s:I}", "key", key, "stage", s->phase, "epoch",
                          (json_int_t)s->epoch, "done", (json_int_t)s->samples_done, "sum",
                          s->loss_sum, "bad", (json_int_t)s->epochs_since_best);
    if (!o)
        return NULL;
    json_object_set_new(o, "updates", json_integer((json_int_t)a->updates));
    json_object_set_new(o, "at", json_integer((json_int_t)a->since_restart));
    json_object_set_new(o, "stretch", json_integer((json_int_t)a->cycle_length));
    json_object_set_new(o, "chunks", make_json_chunk_counts(c));
    json_object_set_new(o, "r", make_json_number_array(c->r, n));
    json_object_set_new(o, "m", make_json_number_array(a->m, n));
    json_object_set_new(o, "v", make_json_number_array(a->v, n));
    if (isfinite(s->best_loss))
        json_object_set_new(o, "best", json_real(s->best_loss));
    if (s->best_r)
        json_object_set_new(o, "kept", make_json_number_array(s->best_r, n));
    return o;
}

/* {"xxh3":"0123456789abcdef",     the hash of all bytes after this comma
 *  "key":...} */
#define CHECKSUM_START  "{\"xxh3\":\""
#define CHECKSUM_FORMAT CHECKSUM_START "%016llx\","
#define CHECKSUM_SIZE   27

static void format_checksum(char text[CHECKSUM_SIZE + 1], const char *rest, size_t size)
{
    snprintf(text, CHECKSUM_SIZE + 1, CHECKSUM_FORMAT, (unsigned long long)XXH3_64bits(rest, size));
}

static void write_with_checksum(const json_t *o, FILE *out)
{
    char *text = json_dumps(o, JSON_REAL_PRECISION(17) | JSON_COMPACT);
    char checksum[CHECKSUM_SIZE + 1];
    format_checksum(checksum, text + 1, strlen(text + 1));
    fputs(checksum, out);
    fputs(text + 1, out);
    free(text);
}

static bool has_right_checksum(const char *text, size_t size)
{
    char checksum[CHECKSUM_SIZE + 1];
    if (size < CHECKSUM_SIZE)
        return false;
    format_checksum(checksum, text + CHECKSUM_SIZE, size - CHECKSUM_SIZE);
    return memcmp(text, checksum, CHECKSUM_SIZE) == 0;
}

bool training_state_is_state(const char *text, size_t size)
{
    return strncmp(text, CHECKSUM_START, sizeof CHECKSUM_START - 1) == 0;
}

int training_state_save(const char *path, const struct training_state *s,
                        const struct coefficients *c, const struct adamw *a, struct error *e)
{
    struct atomic_file f;
    json_t *o = state_to_json(s, c, a);
    if (!o)
        return error_set(e, "cannot write %s: the loss is not finite", path);
    if (atomic_file_open(&f, path, training_state_is_state, e)) {
        json_decref(o);
        return -1;
    }
    write_with_checksum(o, f.out);
    json_decref(o);
    return atomic_file_close(&f, true, e);
}

/* ---- from a file ----------------------------------------------------------------------------- */

/* The n numbers of a list; NULL if it has another length. */
static double *read_numbers(const json_t *list, size_t n)
{
    if (!json_is_array(list) || json_array_size(list) != n)
        return NULL;
    double *x = mem_alloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = json_number_value(json_array_get(list, i));
    return x;
}

static uint64_t read_count(const json_t *o, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(o, key));
}

static void read_adamw(struct adamw *a, const json_t *o, size_t n)
{
    *a = (struct adamw){.n = n,
                        .updates = read_count(o, "updates"),
                        .since_restart = read_count(o, "at"),
                        .cycle_length = read_count(o, "stretch"),
                        .m = read_numbers(json_object_get(o, "m"), n),
                        .v = read_numbers(json_object_get(o, "v"), n)};
}

/* -1 if a key is missing. */
static int read_state(struct saved_training_state *s, const json_t *o)
{
    const char *key = json_string_value(json_object_get(o, "key"));
    const json_t *chunks = json_object_get(o, "chunks"), *best = json_object_get(o, "best");
    s->n = json_array_size(json_object_get(o, "r"));
    s->state = (struct training_state){.key = key ? strtoull(key, NULL, 16) : 0,
                                       .phase = (int)read_count(o, "stage"),
                                       .epoch = read_count(o, "epoch"),
                                       .samples_done = read_count(o, "done"),
                                       .loss_sum = json_number_value(json_object_get(o, "sum")),
                                       .best_loss = best ? json_number_value(best) : INFINITY,
                                       .epochs_since_best = read_count(o, "bad"),
                                       .best_r = read_numbers(json_object_get(o, "kept"), s->n)};
    read_adamw(&s->adamw, o, s->n);
    s->r = read_numbers(json_object_get(o, "r"), s->n);
    s->tensors = json_array_size(chunks);
    s->chunks = mem_alloc(s->tensors, sizeof *s->chunks);
    for (size_t j = 0; j < s->tensors; j++)
        s->chunks[j] = (size_t)json_integer_value(json_array_get(chunks, j));
    return key && s->r && s->adamw.m && s->adamw.v && s->adamw.cycle_length ? 0 : -1;
}

/* NULL if the file is not what training_state_save has written. */
static json_t *load_json(const char *path, struct error *e)
{
    struct mapped_file f;
    if (mapped_file_open(&f, path, NULL, NULL, e))
        return NULL;
    const char *text = (const char *)f.bytes;
    bool is_state = f.size >= 2 && memcmp(text, "{\"", 2) == 0;
    json_t *o = has_right_checksum(text, f.size) ? json_loadb(text, f.size, 0, NULL) : NULL;
    if (!o)
        error_set(e, is_state ? "%s is damaged: its checksum is wrong" : NOT_A_STATE, path);
    mapped_file_close(&f);
    return o;
}

int training_state_load(const char *path, uint64_t key, size_t tensors,
                        struct saved_training_state *s, struct error *e)
{
    *s = (struct saved_training_state){0};
    int exists = input_file_exists(path, e);
    if (exists <= 0)
        return exists;
    json_t *o = load_json(path, e);
    int failed = o ? read_state(s, o) : -1;
    if (o && failed)
        error_set(e, NOT_A_STATE, path);
    json_decref(o);
    if (failed)
        return -1;
    if (s->state.key != key || s->tensors != tensors)
        return error_set(e, "%s was written by a run with different inputs or options", path);
    return 0;
}

int training_state_restore(const struct saved_training_state *saved, const char *path,
                           struct coefficients *c, struct adamw *a, struct training_state *s,
                           struct error *e)
{
    size_t bytes = c->n_learned * sizeof *c->r;
    if (saved->n != c->n_learned)
        return error_set(e, "%s has %zu coefficients; expected %zu", path, saved->n, c->n_learned);
    memcpy(c->r, saved->r, bytes);
    memcpy(a->m, saved->adamw.m, bytes);
    memcpy(a->v, saved->adamw.v, bytes);
    a->updates = saved->adamw.updates;
    a->since_restart = saved->adamw.since_restart;
    a->cycle_length = saved->adamw.cycle_length;
    coefficients_compute_alpha(c);
    *s = saved->state;
    if (s->best_r) {
        s->best_r = mem_alloc(c->n_learned, sizeof *s->best_r);
        memcpy(s->best_r, saved->state.best_r, bytes);
    }
    return 0;
}

void saved_training_state_free(struct saved_training_state *s)
{
    adamw_free(&s->adamw);
    free(s->state.best_r);
    free(s->chunks);
    free(s->r);
    *s = (struct saved_training_state){0};
}
