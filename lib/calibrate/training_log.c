#include "training_log.h"

#include "number.h"
#include "text_print.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

/* ---- one number per coefficient -------------------------------------------------------------- */

static void write_number(FILE *out, double x)
{
    char text[32];
    fputs(isfinite(x) ? number_format(x, text) : "null", out);
}

static void write_number_field(FILE *out, const char *before, double x)
{
    fputs(before, out);
    write_number(out, x);
}

/* The number that is written for coefficient i. */
typedef double coefficient_value(const struct coefficients *c, size_t i, const void *context);

/* [[chunks of the first expert], ...] without the outer brackets. */
static void write_tensor_coefficients(FILE *out, const struct coefficients *c,
                                      const struct coefficient_range *range,
                                      coefficient_value *value, const void *context)
{
    for (size_t k = 0; k < c->experts; k++) {
        fputs(k ? ", [" : "[", out);
        for (size_t i = 0; i < range->chunks; i++) {
            fputs(i ? ", " : "", out);
            write_number(out, value(c, range->first + k * range->chunks + i, context));
        }
        putc(']', out);
    }
}

/* {"tensor": [[chunks of the first expert], ...], ...}; frozen tensors are left out. */
static void write_coefficients(FILE *out, const struct coefficients *c,
                               const struct training_log_names *names, coefficient_value *value,
                               const void *context)
{
    const char *before = "{";
    for (size_t j = 0; j < c->tensors; j++) {
        if (c->ranges[j].frozen)
            continue;
        fputs(before, out);
        text_print_quoted(out, names->tensors[j]);
        fputs(": [", out);
        write_tensor_coefficients(out, c, &c->ranges[j], value, context);
        putc(']', out);
        before = ", ";
    }
    fputs(*before == '{' ? "{}" : "}", out);
}

static double get_alpha(const struct coefficients *c, size_t i, const void *context)
{
    return c->alpha[i];
}

/* ---- recognizing ----------------------------------------------------------------------------- */

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

bool training_log_is_log(const char *text, size_t size)
{
    bool is_line = starts_with(text, "{\"stage\": ") || starts_with(text, "{\"update\": ") ||
                   starts_with(text, "{\"epoch\": ");
    return is_line &&
           (strstr(text, ", \"mean_hidden\": ") || strstr(text, ", \"validation_hidden\": "));
}

bool training_log_is_gradients(const char *text, size_t size)
{
    json_t *report = starts_with(text, "{\"samples\": [\n  {\"task\": ")
                         ? json_loadb(text, size, 0, NULL)
                         : NULL;
    int failed =
        json_unpack_ex(report, NULL, JSON_STRICT | JSON_VALIDATE_ONLY,
                       "{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "samples", "mean_hidden",
                       "mean_logit", "regulariser", "alpha", "grad_alignment", "grad_regulariser");
    json_decref(report);
    return !failed;
}

/* ---- the log --------------------------------------------------------------------------------- */

/* Writes a line that was printed to memory, and closes its stream: a write that fails leaves no
 * hole in the line. */
static int write_line(FILE *out, FILE *line, struct bytes *text)
{
    fputs("}\n", line);
    fclose(line);
    bool failed = fwrite(text->data, 1, text->size, out) != text->size;
    bytes_free(text);
    if (fflush(out) == 0 && !ferror(out) && !failed)
        return 0;
    if (errno == 0 || errno == ENOTTY) /* the reason is not known any more */
        errno = EIO;
    return -1;
}

int training_log_write_update(FILE *log, const struct training_log_update *u,
                              const struct coefficients *c, const struct training_log_names *names)
{
    struct bytes text = {0};
    FILE *out = bytes_open_stream(&text);
    fputc('{', out);
    if (u->phase)
        fprintf(out, "\"stage\": %d, ", u->phase);
    fprintf(out, "\"update\": %llu, \"epoch\": %llu, \"samples\": %llu",
            (unsigned long long)u->update, (unsigned long long)u->epoch,
            (unsigned long long)u->samples);
    if (u->update) {
        write_number_field(out, ", \"lr\": ", u->lr);
        write_number_field(out, ", \"grad_norm\": ", u->grad_norm);
    }
    write_number_field(out, ", \"mean_hidden\": ", u->mean.hidden);
    write_number_field(out, ", \"mean_logit\": ", u->mean.logit);
    write_number_field(out, ", \"mean_reg\": ", u->regularizer);
    fputs(", \"alpha\": ", out);
    write_coefficients(out, c, names, get_alpha, NULL);
    return write_line(log, out, &text);
}

int training_log_write_validation(FILE *log, int phase, uint64_t epoch, const struct loss *mean)
{
    struct bytes text = {0};
    FILE *out = bytes_open_stream(&text);
    fputc('{', out);
    if (phase)
        fprintf(out, "\"stage\": %d, ", phase);
    fprintf(out, "\"epoch\": %llu", (unsigned long long)epoch);
    write_number_field(out, ", \"validation_hidden\": ", mean->hidden);
    write_number_field(out, ", \"validation_logit\": ", mean->logit);
    return write_line(log, out, &text);
}

/* ---- losses and gradients -------------------------------------------------------------------- */

static double get_mean_gradient(const struct coefficients *c, size_t i, const void *context)
{
    return c->gradient[i] / (double)((const struct gradient_report *)context)->n;
}

static double compute_regularizer_gradient(const struct coefficients *c, size_t i,
                                           const void *context)
{
    const struct gradient_report *r = context;
    return r->gamma * coefficients_regularizer_gradient(c, i, r->squared);
}

static void write_sample_losses(FILE *out, const struct gradient_report *r, size_t i)
{
    fputs(i ? ",\n  {\"task\": " : "\n  {\"task\": ", out);
    text_print_quoted(out, r->tasks[i]);
    fprintf(out, ", \"sample\": %zu", r->sample_numbers[i]);
    write_number_field(out, ", \"hidden\": ", r->losses[i].hidden);
    write_number_field(out, ", \"logit\": ", r->losses[i].logit);
    putc('}', out);
}

void training_log_write_gradients(FILE *out, const struct gradient_report *r,
                                  const struct coefficients *c,
                                  const struct training_log_names *names)
{
    struct loss mean = objective_mean_loss(r->losses, r->n);
    fputs("{\"samples\": [", out);
    for (size_t i = 0; i < r->n; i++)
        write_sample_losses(out, r, i);
    write_number_field(out, "],\n \"mean_hidden\": ", mean.hidden);
    write_number_field(out, ",\n \"mean_logit\": ", mean.logit);
    write_number_field(out,
                       ",\n \"regulariser\": ", r->gamma * coefficients_regularizer(c, r->squared));
    fputs(",\n \"alpha\": ", out);
    write_coefficients(out, c, names, get_alpha, NULL);
    fputs(",\n \"grad_alignment\": ", out);
    write_coefficients(out, c, names, get_mean_gradient, r);
    fputs(",\n \"grad_regulariser\": ", out);
    write_coefficients(out, c, names, compute_regularizer_gradient, r);
    fputs("}\n", out);
}
