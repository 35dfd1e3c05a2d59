#include "initial_losses.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int initial_losses_compute(struct calibration *c, size_t group, bool gradient, struct loss *losses,
                           struct error *e)
{
    size_t n = c->examples.n, *which = mem_alloc(n, sizeof *which);
    int failed = 0;
    for (size_t i = 0; i < n; i++)
        which[i] = i;
    memset(c->coefficients.gradient, 0, c->coefficients.n_all * sizeof(double));
    for (size_t i = 0; i < n && !failed; i += group)
        failed = calibration_losses(c, which + i, n - i < group ? n - i : group, gradient,
                                    losses + i, e);
    free(which);
    return failed;
}

/* The mean loss with one coefficient for all. */
static int loss_at(struct calibration *c, size_t group, const size_t *chunks, double alpha,
                   double *loss, struct error *e)
{
    struct loss *losses = mem_alloc(c->examples.n, sizeof *losses);
    c->init.default_alpha = alpha;
    int failed = calibration_init_coefficients(c, chunks, false, e) ||
                 initial_losses_compute(c, group, false, losses, e);
    struct loss mean = objective_mean_loss(losses, c->examples.n);
    *loss = mean.hidden + mean.logit;
    free(losses);
    return failed ? -1 : 0;
}

/* The best of ten for all coefficients, then of finer steps around it. */
int initial_losses_search_init(struct calibration *c, size_t group, const size_t *chunks,
                               struct error *e)
{
    double max = c->options->max, best = INFINITY, at = 0.5 * max, loss;
    for (double step = 0.1 * max; step > 0.02 * max; step /= 4) {
        double middle = at;
        for (int i = -4; i <= 4; i++) {
            double alpha = middle + i * step;
            if (!(alpha > 0 && alpha < max))
                continue;
            if (loss_at(c, group, chunks, alpha, &loss, e))
                return -1;
            if (loss < best) {
                best = loss;
                at = alpha;
            }
        }
    }
    c->init.default_alpha = at;
    return 0;
}
