#include "training_log.h"

#include "filter.h"
#include "text_print.h"
#include "atomic_file.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- numbers of all coefficients ------------------------------------------------------------- */

static void put_number(FILE *out, double x)
{
    char text[32];
    fputs(isfinite(x) ? number_format(x, text) : "null", out);
}

static void put_field(FILE *out, const char *before, double x)
{
    fputs(before, out);
    put_number(out, x);
}

/* One number per coefficient, made by f. */
typedef double number_of(const struct coefficients *c, size_t i, const void *context);

static void put_span(FILE *out, const struct coefficients *c, const struct coefficient_range *s,
                     number_of *f, const void *context)
{
    for (size_t k = 0; k < c->experts; k++) {
        fputs(k ? ", [" : "[", out);
        for (size_t i = 0; i < s->chunks; i++) {
            fputs(i ? ", " : "", out);
            put_number(out, f(c, s->first + k * s->chunks + i, context));
        }
        putc(']', out);
    }
}

/* {"tensor": [[chunks of the first expert], ...], ...}; frozen tensors are left out. */
static void put_tree(FILE *out, const struct coefficients *c,
                     const struct training_log_names *names, number_of *f, const void *context)
{
    const char *before = "{";
    for (size_t j = 0; j < c->tensors; j++) {
        if (c->ranges[j].frozen)
            continue;
        fputs(before, out);
        text_print_quoted(out, names->tensors[j]);
        fputs(": [", out);
        put_span(out, c, &c->ranges[j], f, context);
        putc(']', out);
        before = ", ";
    }
    fputs(*before == '{' ? "{}" : "}", out);
}

static double alpha_of(const struct coefficients *c, size_t i, const void *context)
{
    return c->alpha[i];
}

/* ---- the log --------------------------------------------------------------------------------- */

void training_log_write_update(FILE *out, const struct training_log_update *u,
                               const struct coefficients *c, const struct training_log_names *names)
{
    fputc('{', out);
    if (u->stage)
        fprintf(out, "\"stage\": %d, ", u->stage);
    fprintf(out, "\"update\": %llu, \"epoch\": %llu, \"samples\": %llu", (unsigned long long)u->n,
            (unsigned long long)u->epoch, (unsigned long long)u->samples);
    if (u->n) {
        put_field(out, ", \"lr\": ", u->lr);
        put_field(out, ", \"grad_norm\": ", u->grad_norm);
    }
    put_field(out, ", \"mean_hidden\": ", u->mean.hidden);
    put_field(out, ", \"mean_logit\": ", u->mean.logit);
    put_field(out, ", \"mean_reg\": ", u->regulariser);
    fputs(", \"alpha\": ", out);
    put_tree(out, c, names, alpha_of, NULL);
    fputs("}\n", out);
    fflush(out);
}

void training_log_write_validation(FILE *out, int stage, uint64_t epoch, const struct loss *mean)
{
    fputc('{', out);
    if (stage)
        fprintf(out, "\"stage\": %d, ", stage);
    fprintf(out, "\"epoch\": %llu", (unsigned long long)epoch);
    put_field(out, ", \"validation_hidden\": ", mean->hidden);
    put_field(out, ", \"validation_logit\": ", mean->logit);
    fputs("}\n", out);
    fflush(out);
}

/* ---- losses and gradients -------------------------------------------------------------------- */

static double mean_gradient(const struct coefficients *c, size_t i, const void *context)
{
    return c->gradient[i] / (double)((const struct gradient_report *)context)->n;
}

static double regulariser_gradient(const struct coefficients *c, size_t i, const void *context)
{
    const struct gradient_report *r = context;
    return r->gamma * coefficients_regulariser_gradient(c, i, r->squared);
}

void training_log_write_gradients(FILE *out, const struct gradient_report *r,
                                  const struct coefficients *c,
                                  const struct training_log_names *names)
{
    struct loss mean = {0, 0};
    fputs("{\"samples\": [", out);
    for (size_t i = 0; i < r->n; i++) {
        fputs(i ? ",\n  {\"task\": " : "\n  {\"task\": ", out);
        text_print_quoted(out, r->tasks[i]);
        fprintf(out, ", \"sample\": %zu", r->numbers[i]);
        put_field(out, ", \"hidden\": ", r->losses[i].hidden);
        put_field(out, ", \"logit\": ", r->losses[i].logit);
        putc('}', out);
        mean.hidden += r->losses[i].hidden / (double)r->n;
        mean.logit += r->losses[i].logit / (double)r->n;
    }
    put_field(out, "],\n \"mean_hidden\": ", mean.hidden);
    put_field(out, ",\n \"mean_logit\": ", mean.logit);
    put_field(out, ",\n \"regulariser\": ", r->gamma * coefficients_regulariser(c, r->squared));
    fputs(",\n \"alpha\": ", out);
    put_tree(out, c, names, alpha_of, NULL);
    fputs(",\n \"grad_alignment\": ", out);
    put_tree(out, c, names, mean_gradient, r);
    fputs(",\n \"grad_regulariser\": ", out);
    put_tree(out, c, names, regulariser_gradient, r);
    fputs("}\n", out);
}

/* ---- where learning stands ------------------------------------------------------------------- */

static json_t *list_of(const double *x, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_real(x[i]));
    return list;
}

static json_t *list_of_chunks(const struct coefficients *c)
{
    json_t *list = json_array();
    for (size_t j = 0; j < c->tensors; j++)
        json_array_append_new(
            list, json_integer(c->ranges[j].frozen ? 0 : (json_int_t)c->ranges[j].chunks));
    return list;
}

int training_state_save(const char *path, const struct training_state *s,
                        const struct coefficients *c, const struct adamw *a, struct error *e)
{
    char key[32];
    struct atomic_file f;
    snprintf(key, sizeof key, "%016llx", (unsigned long long)s->key);
    json_t *o = json_pack("{s:s, s:i, s:I, s:I, s:f, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}",
                          "key", key, "stage", s->phase, "epoch", (json_int_t)s->epoch, "done",
                          (json_int_t)s->samples_done, "sum", s->loss_sum, "bad",
                          (json_int_t)s->epochs_since_best, "updates", (json_int_t)a->updates, "at",
                          (json_int_t)a->since_restart, "stretch", (json_int_t)a->cycle_length,
                          "chunks", list_of_chunks(c), "r", list_of(c->r, c->n_learned), "m",
                          list_of(a->m, c->n_learned), "v", list_of(a->v, c->n_learned));
    if (o && isfinite(s->best_loss))
        json_object_set_new(o, "best", json_real(s->best_loss));
    if (o && s->best_r)
        json_object_set_new(o, "kept", list_of(s->best_r, c->n_learned));
    if (!o || atomic_file_open(&f, path, e)) {
        json_decref(o);
        return o ? -1 : error_set(e, "cannot write %s: its numbers are not finite", path);
    }
    json_dumpf(o, f.out, JSON_REAL_PRECISION(17) | JSON_COMPACT);
    json_decref(o);
    return atomic_file_close(&f, true, e);
}

/* n numbers of a list; NULL if it has not so many. */
static double *numbers_of(const json_t *list, size_t n)
{
    if (!json_is_array(list) || json_array_size(list) != n)
        return NULL;
    double *x = mem_alloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = json_number_value(json_array_get(list, i));
    return x;
}

static uint64_t count_of(const json_t *o, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(o, key));
}

static int read_standing(struct saved_training_state *s, const json_t *o)
{
    const char *key = json_string_value(json_object_get(o, "key"));
    const json_t *chunks = json_object_get(o, "chunks"), *best = json_object_get(o, "best");
    s->n = json_array_size(json_object_get(o, "r"));
    s->tensors = json_array_size(chunks);
    s->state = (struct training_state){.key = key ? strtoull(key, NULL, 16) : 0,
                                       .phase = (int)count_of(o, "stage"),
                                       .epoch = count_of(o, "epoch"),
                                       .samples_done = count_of(o, "done"),
                                       .best_loss = best ? json_number_value(best) : INFINITY,
                                       .loss_sum = json_number_value(json_object_get(o, "sum")),
                                       .epochs_since_best = count_of(o, "bad")};
    s->adamw.updates = count_of(o, "updates");
    s->adamw.since_restart = count_of(o, "at");
    s->adamw.cycle_length = count_of(o, "stretch");
    s->adamw.n = s->n;
    s->r = numbers_of(json_object_get(o, "r"), s->n);
    s->adamw.m = numbers_of(json_object_get(o, "m"), s->n);
    s->adamw.v = numbers_of(json_object_get(o, "v"), s->n);
    s->state.best_r = numbers_of(json_object_get(o, "kept"), s->n);
    s->chunks = mem_alloc(s->tensors, sizeof *s->chunks);
    for (size_t j = 0; j < s->tensors; j++)
        s->chunks[j] = (size_t)json_integer_value(json_array_get(chunks, j));
    return key && s->r && s->adamw.m && s->adamw.v && s->adamw.cycle_length ? 0 : -1;
}

int training_state_load(const char *path, uint64_t key, size_t tensors,
                        struct saved_training_state *s, struct error *e)
{
    json_error_t where;
    *s = (struct saved_training_state){0};
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    json_t *o = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    int failed = !o || read_standing(s, o);
    json_decref(o);
    if (failed)
        return error_set(e, "%s does not say where learning stands", path);
    if (s->state.key != key || s->tensors != tensors)
        return error_set(e, "%s was left by a run with other inputs or options", path);
    return 0;
}

int training_state_restore(const struct saved_training_state *saved, const char *path,
                           struct coefficients *c, struct adamw *a, struct training_state *s,
                           struct error *e)
{
    size_t bytes = c->n_learned * sizeof *c->r;
    if (saved->n != c->n_learned)
        return error_set(e, "%s belongs to another model", path);
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
