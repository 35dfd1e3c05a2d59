#include "initial_losses.h"

#include "calibration_coefficients.h"
#include "sample_losses.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* losses[i] of every training sample i, in batches of --accumulation samples; with `gradient` also
 * the sum of their gradients in the coefficients. */
static int compute_all_losses(struct calibration *c, bool gradient, struct loss *losses,
                              struct error *e)
{
    size_t n = c->training_samples.n, batch = c->options->accumulation;
    size_t *indices = mem_alloc(n, sizeof *indices);
    int failed = 0;
    for (size_t i = 0; i < n; i++)
        indices[i] = i;
    memset(c->coefficients.gradient, 0, c->coefficients.n_all * sizeof(double));
    for (size_t i = 0; i < n && !failed; i += batch)
        failed = sample_losses_compute(c, indices + i, n - i < batch ? n - i : batch, gradient,
                                       losses + i, e);
    free(indices);
    return failed;
}

/* ---- --init auto ----------------------------------------------------------------------------- */

/* The mean loss with one value for all coefficients. */
static int compute_mean_loss_at_alpha(struct calibration *c, const size_t *chunks, double alpha,
                                      double *loss, struct error *e)
{
    struct loss *losses = mem_alloc(c->training_samples.n, sizeof *losses);
    c->init.default_alpha = alpha;
    int failed = calibration_coefficients_init(c, chunks, false, e) ||
                 compute_all_losses(c, false, losses, e);
    struct loss mean = objective_mean_loss(losses, c->training_samples.n);
    *loss = mean.hidden + mean.logit;
    free(losses);
    return failed ? -1 : 0;
}

/* Compares multiples of a tenth of the range, then values in smaller steps around the best. */
int initial_losses_search_best_alpha(struct calibration *c, const size_t *chunks, struct error *e)
{
    double max = c->options->max, lowest = INFINITY, best = 0.5 * max, loss;
    for (double step = 0.1 * max; step > 0.02 * max; step /= 4) {
        double middle = best;
        for (int i = -4; i <= 4; i++) {
            double alpha = middle + i * step;
            if (!(alpha > 0 && alpha < max))
                continue;
            if (compute_mean_loss_at_alpha(c, chunks, alpha, &loss, e))
                return -1;
            if (loss < lowest) {
                lowest = loss;
                best = alpha;
            }
        }
    }
    c->init.default_alpha = best;
    return 0;
}

/* ---- --dry-run ------------------------------------------------------------------------------- */

static int log_initial_losses(const struct calibration *c, const struct loss *losses, FILE *log,
                              struct error *e)
{
    const struct calibrate_options *o = c->options;
    bool squared = o->regularizer == REGULARIZER_L2;
    const struct training_log_update initial = {
        .samples = c->training_samples.n,
        .mean = objective_mean_loss(losses, c->training_samples.n),
        .regularizer = o->gamma * coefficients_regularizer(&c->coefficients, squared)};
    return training_log_write_update(log, &initial, &c->coefficients, &c->names)
               ? error_set(e, "cannot write %s: %s", o->log, strerror(errno))
               : 0;
}

static void write_initial_gradients(const struct calibration *c, const struct loss *losses,
                                    FILE *out)
{
    const struct gradient_report report = {.tasks = c->training_samples.tasks,
                                           .sample_numbers = c->training_samples.sample_numbers,
                                           .losses = losses,
                                           .n = c->training_samples.n,
                                           .gamma = c->options->gamma,
                                           .squared = c->options->regularizer == REGULARIZER_L2};
    training_log_write_gradients(out, &report, &c->coefficients, &c->names);
}

/* All processes compute; those other than the first have no files. */
int initial_losses_write_report(struct calibration *c, FILE *log, FILE *gradients, struct error *e)
{
    const struct calibrate_options *o = c->options;
    if (!o->gradients && !o->log)
        return 0;
    struct loss *losses = mem_alloc(c->training_samples.n, sizeof *losses);
    int failed = compute_all_losses(c, o->gradients != NULL, losses, e);
    if (!failed && log)
        failed = log_initial_losses(c, losses, log, e);
    if (!failed && gradients)
        write_initial_gradients(c, losses, gradients);
    free(losses);
    return failed;
}
