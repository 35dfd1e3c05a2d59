#include "training.h"

#include "calibration_coefficients.h"
#include "mpi.h"
#include "printable.h"
#include "sample_losses.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A phase of training. */
struct phase {
    const struct training *training;
    struct calibration *calibration;
    const struct calibrate_options *options;
    uint64_t epochs;
    struct training_state state;
    struct adamw adamw;
};

/* ---- one update ------------------------------------------------------------------------------ */

/* g = 1/A sum over the samples of d loss / d r, where c->gradient is the sum of d loss / d alpha
 * without the regularizer. A is --accumulation, even if there are fewer samples. */
static void compute_gradient_of_raw_coefficients(const struct calibrate_options *o,
                                                 const struct coefficients *c, size_t samples,
                                                 double *g)
{
    bool squared = o->regularizer == REGULARIZER_L2;
    for (size_t i = 0; i < c->n_learned; i++) {
        double regularizer = o->gamma * coefficients_regularizer_gradient(c, i, squared);
        g[i] = (c->gradient[i] + (double)samples * regularizer) *
               coefficients_sigmoid_derivative(c, i) / (double)o->accumulation;
    }
}

/* r by AdamW, then alpha from r; the merged model follows. */
static void run_optimizer_step(struct phase *p, struct training_log_update *u)
{
    struct coefficients *c = &p->calibration->coefficients;
    double *g = mem_alloc(c->n_learned, sizeof *g);
    compute_gradient_of_raw_coefficients(p->options, c, u->samples, g);
    u->lr = adamw_learning_rate(&p->adamw);
    u->grad_norm = adamw_clip_gradient(&p->adamw, g);
    adamw_step(&p->adamw, c->r, g);
    u->update = p->adamw.updates;
    coefficients_compute_alpha(c);
    merged_model_discard_loaded_layer(p->calibration->merged_model);
    free(g);
}

/* A line of the log, and one on the terminal. */
static void log_and_print_update(const struct phase *p, const struct training_log_update *u)
{
    const struct calibration *c = p->calibration;
    double loss = u->mean.hidden + u->mean.logit + u->regularizer;
    if (p->training->log && !*p->training->log_error &&
        training_log_write_update(p->training->log, u, &c->coefficients, &c->names))
        *p->training->log_error = errno;
    if (isatty(STDERR_FILENO) && !printable_is_quiet())
        fprintf(stderr,
                "\r\033[K%s epoch %llu of %llu, update %llu: loss %.5g = hidden %.5g + logits %.5g "
                "+ regularizer %.5g",
                u->phase == 2 ? "++" : "", (unsigned long long)u->epoch,
                (unsigned long long)p->epochs, (unsigned long long)u->update, loss, u->mean.hidden,
                u->mean.logit, u->regularizer);
}

/* One update from the next n samples of the epoch: forward and backward pass, then AdamW. */
static int run_training_update(struct phase *p, size_t n, struct error *e)
{
    struct coefficients *c = &p->calibration->coefficients;
    struct training_state *state = &p->state;
    const size_t *samples = p->calibration->training_samples.order + state->samples_done;
    struct loss *losses = mem_alloc(n, sizeof *losses);
    memset(c->gradient, 0, c->n_all * sizeof *c->gradient);
    int failed = sample_losses_compute(p->calibration, samples, n, true, losses, e);
    if (!failed) {
        bool squared = p->options->regularizer == REGULARIZER_L2;
        struct training_log_update u = {.phase = state->phase,
                                        .epoch = state->epoch + 1,
                                        .samples = n,
                                        .mean = objective_mean_loss(losses, n),
                                        .regularizer = p->options->gamma *
                                                       coefficients_regularizer(c, squared)};
        run_optimizer_step(p, &u);
        state->samples_done += n;
        state->loss_sum += (double)n * (u.mean.hidden + u.mean.logit + u.regularizer);
        log_and_print_update(p, &u);
    }
    free(losses);
    return failed;
}

/* ---- epochs ---------------------------------------------------------------------------------- */

/* The mean loss of the held-out samples, after this number of epochs. */
static int compute_validation_loss(const struct phase *p, uint64_t epoch, double *mean,
                                   struct error *e)
{
    const struct training_samples *x = &p->calibration->training_samples;
    size_t batch = p->options->accumulation, n = x->n_held_out;
    struct loss *losses = mem_alloc(n, sizeof *losses);
    int failed = 0;
    for (size_t i = 0; i < n && !failed; i += batch)
        failed = sample_losses_compute(p->calibration, x->held_out + i,
                                       n - i < batch ? n - i : batch, false, losses + i, e);
    struct loss all = objective_mean_loss(losses, n);
    *mean = all.hidden + all.logit;
    if (p->training->log && !*p->training->log_error && !failed &&
        training_log_write_validation(p->training->log, p->state.phase, epoch, &all))
        *p->training->log_error = errno;
    free(losses);
    return failed;
}

/* With --validate the initial coefficients are the first candidates for the best. */
static int keep_initial_coefficients_as_best(struct phase *p, struct error *e)
{
    const struct coefficients *c = &p->calibration->coefficients;
    if (!p->options->held_out)
        return 0;
    p->state.best_r = mem_alloc(c->n_learned, sizeof *p->state.best_r);
    memcpy(p->state.best_r, c->r, c->n_learned * sizeof *c->r);
    return compute_validation_loss(p, 0, &p->state.best_loss, e);
}

/* The loss of an epoch: the mean over its samples or, with --validate, over those held out. */
static int compute_epoch_loss_and_end_epoch(struct phase *p, struct error *e)
{
    double mean = p->state.loss_sum / (double)p->calibration->training_samples.n_order;
    if (p->options->held_out && compute_validation_loss(p, p->state.epoch + 1, &mean, e))
        return -1;
    training_state_end_epoch(&p->state, mean, &p->calibration->coefficients);
    return 0;
}

/* With --validate the best coefficients are the result, otherwise the last. */
static void restore_best_coefficients(struct phase *p)
{
    struct coefficients *c = &p->calibration->coefficients;
    if (!p->state.best_r)
        return;
    memcpy(c->r, p->state.best_r, c->n_learned * sizeof *c->r);
    coefficients_compute_alpha(c);
    merged_model_discard_loaded_layer(p->calibration->merged_model);
}

static int save_training_state(const struct phase *p, struct error *e)
{
    const char *file = p->options->resume;
    if (!file || mpi_rank() > 0)
        return 0;
    return training_state_save(file, &p->state, &p->calibration->coefficients, &p->adamw, e);
}

static bool phase_is_done(const struct phase *p)
{
    uint64_t patience = p->options->patience;
    return p->state.epoch >= p->epochs || (patience && p->state.epochs_since_best >= patience);
}

static int run_epochs(struct phase *p, struct error *e)
{
    size_t n = p->calibration->training_samples.n_order, A = p->options->accumulation;
    while (!phase_is_done(p)) {
        size_t left = n - p->state.samples_done;
        if (run_training_update(p, left < A ? left : A, e))
            return -1;
        if (p->state.samples_done == n && compute_epoch_loss_and_end_epoch(p, e))
            return -1;
        if (save_training_state(p, e))
            return -1;
    }
    restore_best_coefficients(p);
    return 0;
}

/* ---- a phase and its saved state ------------------------------------------------------------- */

int training_run_phase(const struct training *t, int phase, const size_t *chunks,
                       const struct saved_training_state *saved, struct error *e)
{
    struct calibration *c = t->calibration;
    const struct calibrate_options *o = c->options;
    struct phase p = {.training = t, .calibration = c, .options = o, .epochs = o->epochs};
    bool resumes = saved->n && saved->state.phase == phase;
    if (phase == 1 && o->first_epochs)
        p.epochs = o->first_epochs;
    p.state = (struct training_state){.key = t->key, .phase = phase, .best_loss = INFINITY};
    int failed = calibration_coefficients_init(c, resumes ? saved->chunks : chunks, phase != 1, e);
    adamw_new(&p.adamw, &o->adamw, c->coefficients.n_learned);
    if (c->coefficients.n_learned == 0)
        p.epochs = 0;
    if (!failed && resumes)
        failed = training_state_restore(saved, o->resume, &c->coefficients, &p.adamw, &p.state, e);
    else if (!failed)
        failed = keep_initial_coefficients_as_best(&p, e);
    failed = failed || run_epochs(&p, e);
    adamw_free(&p.adamw);
    free(p.state.best_r);
    return failed ? -1 : 0;
}

int training_load_state(const struct training *t, struct saved_training_state *saved,
                        struct error *e)
{
    const char *file = t->calibration->options->resume;
    if (!file)
        return 0;
    if (mpi_any_failed(training_state_load(file, t->key, t->calibration->merged.n, saved, e), e))
        return -1;
    uint64_t updates = saved->n ? saved->adamw.updates + 1 : 0;
    return mpi_check_equal_on_all_ranks(updates + ((uint64_t)saved->state.phase << 56),
                                        "a --resume file", e);
}
