#include "sample_losses.h"

#include "mpi.h"
#include "source_sink_services.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int check_losses_are_finite(const struct calibration *c, const size_t *indices, size_t n,
                                   const struct loss *losses, struct error *e)
{
    const struct training_samples *x = &c->training_samples;
    for (size_t i = 0; i < n && !c->stage->common.allow_nonfinite; i++)
        if (!isfinite(losses[i].hidden) || !isfinite(losses[i].logit))
            return error_set(e, "the loss of sample %zu of task %s is not finite",
                             x->sample_numbers[indices[i]], x->tasks[indices[i]]);
    return 0;
}

/* The losses of those samples that this process computes, zeros for the others. */
static int compute_losses_of_own_samples(const struct calibration *c, const size_t *indices,
                                         size_t n, bool gradient, struct loss *losses,
                                         struct error *e)
{
    const struct training_sample *samples = c->training_samples.list;
    size_t count = 0, *own = mem_alloc(n, sizeof *own);
    struct loss *computed = mem_alloc(n, sizeof *computed);
    for (size_t i = 0; i < n; i++)
        if (!samples[indices[i]].on_other_rank)
            own[count++] = indices[i];
    int failed =
        count && (objective_compute_losses(c->objective, own, count, gradient, computed, e) ||
                  check_losses_are_finite(c, own, count, computed, e));
    for (size_t i = 0, at = 0; i < n; i++)
        losses[i] = samples[indices[i]].on_other_rank ? (struct loss){0, 0} : computed[at++];
    free(own);
    free(computed);
    return failed;
}

/* The gradients so far are the sum over all processes: only rank 0 contributes them to the next
 * sum. */
int sample_losses_compute(const struct calibration *c, const size_t *indices, size_t n,
                          bool gradient, struct loss *losses, struct error *e)
{
    const struct coefficients *all = &c->coefficients;
    source_sink_services_exit_if_reader_gone(c->stage);
    if (gradient && mpi_rank() > 0)
        memset(all->gradient, 0, all->n_all * sizeof *all->gradient);
    if (mpi_any_failed(compute_losses_of_own_samples(c, indices, n, gradient, losses, e), e))
        return -1;
    mpi_sum_over_ranks(&losses->hidden, n * sizeof *losses / sizeof(double));
    if (gradient)
        mpi_sum_over_ranks(all->gradient, all->n_all);
    return 0;
}
