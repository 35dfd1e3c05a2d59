/* calibrate: learn the weight of each vector from a few unlabelled samples (Expert Merging)
 *
 *     M_j = W_j + sum_k alpha_kj tau_kj          alpha = sigmoid(r), one per tensor j and expert k
 *     loss = beta_k (w_h H + w_z Z) + gamma R    of a sample of task k
 *
 *     H   mean square of h_l - h_l^expert over the layers S           hidden states
 *     Z   Theta^2 cross entropy of softmax(z / Theta) and the expert's          logits
 *     R   mean |alpha - alpha_start| times the number of experts
 *
 * Expert Merging and Expert Merging++: arXiv 2509.25712. Only r is learned (AdamW, warm restarts);
 * no label is used, the expert of each task is the teacher. With --plus-plus a second run gives the
 * tensors that matter most several coefficients, one for each chunk.
 *
 *     tv-extract base math code | calibrate --base base --samples math.jsonl --samples code.jsonl |
 *         combine | pack --base base merged/
 *
 * The merged model is made one layer at a time, forward and again backward, and all samples of an
 * update pass a layer together; the gradient of a coefficient is <dL/dM_j, tau_kj>, panel by panel.
 * What later stages do to the vectors is not in the loss.
 */
#include "filter.h"
#include "gemm.h"
#include "hash.h"
#include "importance.h"
#include "mpi.h"
#include "mpi_relay.h"
#include "stdio_stages.h"
#include "settings.h"
#include "initial_losses.h"
#include "atomic_file.h"
#include "stage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct run {
    const struct settings *settings;
    struct calibration c;
    struct training_log_names names;
    struct atomic_file table, gradients;
    FILE *log;
    uint64_t key; /* of all that must not change when a run is resumed */
    bool learned;
    struct header *received; /* by a process that gets no stream */
};

extern const struct filter filter_calibrate;

static struct run *run_of(const struct stage *s)
{
    return s->data;
}

/* ---- one update ------------------------------------------------------------------------------ */

/* G = 1/A sum over the samples of d loss / d r */
static void set_gradient(const struct run *r, size_t samples, double *g)
{
    const struct settings *o = r->settings;
    const struct coefficients *c = &r->c.coefficients;
    for (size_t i = 0; i < c->n_learned; i++) {
        double slope =
            o->gamma * coefficients_regulariser_gradient(c, i, o->regularizer == REGULARIZER_L2);
        g[i] = (c->gradient[i] + (double)samples * slope) * coefficients_sigmoid_derivative(c, i) /
               (double)o->accumulation;
    }
}

static uint64_t epochs_of(const struct settings *o, int stage)
{
    return stage == 1 && o->first_epochs ? o->first_epochs : o->epochs;
}

static void report(const struct run *r, const struct training_log_update *u)
{
    double loss = u->mean.hidden + u->mean.logit + u->regulariser;
    if (r->log)
        training_log_write_update(r->log, u, &r->c.coefficients, &r->names);
    if (isatty(STDERR_FILENO))
        fprintf(stderr,
                "\r\033[K%s epoch %llu of %llu, update %llu: loss %.5g = hidden %.5g + logits %.5g "
                "+ regulariser %.5g",
                u->stage == 2 ? "++" : "", (unsigned long long)u->epoch,
                (unsigned long long)epochs_of(r->settings, u->stage), (unsigned long long)u->n,
                loss, u->mean.hidden, u->mean.logit, u->regulariser);
}

/* One update from n samples of the order. */
static int update(struct run *r, struct adamw *adamw, struct training_state *at, size_t n,
                  struct error *e)
{
    const struct settings *o = r->settings;
    struct coefficients *c = &r->c.coefficients;
    struct loss *losses = mem_alloc(n, sizeof *losses);
    double *g = mem_alloc(c->n_learned, sizeof *g);
    memset(c->gradient, 0, c->n_all * sizeof *c->gradient);
    int failed =
        calibration_losses(&r->c, r->c.examples.order + at->samples_done, n, true, losses, e);
    if (!failed) {
        struct training_log_update u = {.stage = at->phase, .epoch = at->epoch + 1, .samples = n};
        u.mean = objective_mean_loss(losses, n);
        u.regulariser = o->gamma * coefficients_regulariser(c, o->regularizer == REGULARIZER_L2);
        u.lr = adamw_learning_rate(adamw);
        set_gradient(r, n, g);
        u.grad_norm = adamw_clip_gradient(adamw, g);
        adamw_step(adamw, c->r, g);
        coefficients_compute_alpha(c);
        merged_model_invalidate(r->c.merged_model);
        u.n = adamw->updates;
        at->samples_done += n;
        at->loss_sum += (double)n * (u.mean.hidden + u.mean.logit + u.regulariser);
        report(r, &u);
    }
    free(losses);
    free(g);
    return failed;
}

/* ---- epochs ---------------------------------------------------------------------------------- */

/* The mean loss of the samples that are held out. */
static int validate(const struct run *r, const struct training_state *at, double *mean,
                    struct error *e)
{
    size_t group = r->settings->accumulation, n = r->c.examples.n_held_out;
    struct loss *losses = mem_alloc(n, sizeof *losses);
    int failed = 0;
    for (size_t i = 0; i < n && !failed; i += group)
        failed = calibration_losses(&r->c, r->c.examples.held_out + i,
                                    n - i < group ? n - i : group, false, losses + i, e);
    struct loss all = objective_mean_loss(losses, n);
    *mean = all.hidden + all.logit;
    if (r->log && !failed)
        training_log_write_validation(r->log, at->phase, at->epoch, &all);
    free(losses);
    return failed;
}

/* The end of an epoch: the mean loss of its samples, or of those held out; of these the best
 * coefficients are kept. */
static int end_epoch(const struct run *r, struct training_state *at, struct error *e)
{
    const struct coefficients *c = &r->c.coefficients;
    double mean = at->loss_sum / (double)r->c.examples.n_order;
    at->samples_done = 0;
    at->loss_sum = 0;
    at->epoch++;
    if (r->settings->what.held_out && validate(r, at, &mean, e))
        return -1;
    at->epochs_since_best = mean < at->best_loss ? 0 : at->epochs_since_best + 1;
    if (mean < at->best_loss && at->best_r)
        memcpy(at->best_r, c->r, c->n_learned * sizeof *c->r);
    at->best_loss = mean < at->best_loss ? mean : at->best_loss;
    return 0;
}

/* The start is the first candidate for the best. */
static int before_epochs(const struct run *r, struct training_state *at, struct error *e)
{
    const struct coefficients *c = &r->c.coefficients;
    if (!r->settings->what.held_out)
        return 0;
    at->best_r = mem_alloc(c->n_learned, sizeof *at->best_r);
    memcpy(at->best_r, c->r, c->n_learned * sizeof *c->r);
    return validate(r, at, &at->best_loss, e);
}

static void after_epochs(struct run *r, const struct training_state *at)
{
    struct coefficients *c = &r->c.coefficients;
    if (!at->best_r)
        return;
    memcpy(c->r, at->best_r, c->n_learned * sizeof *c->r);
    coefficients_compute_alpha(c);
    merged_model_invalidate(r->c.merged_model);
}

static int learn(struct run *r, struct adamw *adamw, struct training_state *at, struct error *e)
{
    const struct settings *o = r->settings;
    size_t epochs = r->c.coefficients.n_learned ? epochs_of(o, at->phase) : 0;
    while (at->epoch < epochs && !(o->patience && at->epochs_since_best >= o->patience)) {
        size_t left = r->c.examples.n_order - at->samples_done;
        if (update(r, adamw, at, left < o->accumulation ? left : o->accumulation, e))
            return -1;
        if (at->samples_done == r->c.examples.n_order && end_epoch(r, at, e))
            return -1;
        if (o->resume && mpi_rank() == 0 &&
            training_state_save(o->resume, at, &r->c.coefficients, adamw, e))
            return -1;
    }
    after_epochs(r, at);
    return 0;
}

/* One stage of learning, from its start or from where it was left. */
static int one_stage(struct run *r, int number, const size_t *chunks,
                     const struct saved_training_state *saved, struct error *e)
{
    struct training_state at = {.key = r->key, .phase = number, .best_loss = INFINITY};
    struct adamw adamw;
    bool goes_on = saved->n && saved->state.phase == number;
    int failed =
        calibration_init_coefficients(&r->c, goes_on ? saved->chunks : chunks, number != 1, e);
    adamw_new(&adamw, &r->settings->adamw, r->c.coefficients.n_learned);
    if (!failed)
        failed = goes_on ? training_state_restore(saved, r->settings->resume, &r->c.coefficients,
                                                  &adamw, &at, e)
                         : before_epochs(r, &at, e);
    failed = failed || learn(r, &adamw, &at, e);
    adamw_free(&adamw);
    free(at.best_r);
    return failed ? -1 : 0;
}

/* ---- the whole of it ------------------------------------------------------------------------- */

/* Losses at the start; gradients only if they are wanted, for they cost more. */
static int dry_run(struct run *r, struct error *e)
{
    const struct settings *o = r->settings;
    bool squared = o->regularizer == REGULARIZER_L2;
    if (!o->gradients && !o->log)
        return 0;
    struct loss *losses = mem_alloc(r->c.examples.n, sizeof *losses);
    const struct gradient_report report = {r->c.examples.tasks,
                                           r->c.examples.sample_numbers,
                                           losses,
                                           r->c.examples.n,
                                           o->gamma,
                                           squared};
    int failed = initial_losses_compute(&r->c, o->accumulation, o->gradients, losses, e);
    if (!failed && r->log) {
        struct training_log_update start = {.samples = r->c.examples.n};
        start.mean = objective_mean_loss(losses, r->c.examples.n);
        start.regulariser = o->gamma * coefficients_regulariser(&r->c.coefficients, squared);
        training_log_write_update(r->log, &start, &r->c.coefficients, &r->names);
    }
    if (!failed && r->gradients.out) {
        training_log_write_gradients(r->gradients.out, &report, &r->c.coefficients, &r->names);
        failed = atomic_file_close(&r->gradients, true, e);
    }
    free(losses);
    return failed;
}

/* One coefficient for each tensor and expert; with Expert Merging++ this gives the importance, and
 * a second stage has as many as that allots. */
static int learn_all(struct run *r, size_t *chunks, const struct saved_training_state *saved,
                     struct error *e)
{
    const struct settings *o = r->settings;
    for (size_t j = 0; j < r->c.n_merged; j++)
        chunks[j] = 1;
    if (r->c.init.source == COEFFICIENT_INIT_SEARCH &&
        initial_losses_search_init(&r->c, o->accumulation, chunks, e))
        return -1;
    if (o->plus_plus && saved->state.phase != 2 &&
        (one_stage(r, 1, chunks, saved, e) ||
         mpi_any_failed(importance_allocate_chunks(&r->c, o->budget, o->kappa, chunks, e), e)))
        return -1;
    if (o->dry_run)
        return calibration_init_coefficients(&r->c, chunks, true, e) || dry_run(r, e) ? -1 : 0;
    return one_stage(r, o->plus_plus ? 2 : 0, chunks, saved, e);
}

/* What was left of an interrupted run. Every process must see it. */
static int load_saved(const struct run *r, struct saved_training_state *saved, struct error *e)
{
    const char *file = r->settings->resume;
    if (!file)
        return 0;
    if (mpi_any_failed(training_state_load(file, r->key, r->c.n_merged, saved, e), e))
        return -1;
    uint64_t at = saved->n ? saved->adamw.updates + 1 : 0;
    return mpi_check_equal(at + ((uint64_t)saved->state.phase << 56), "a --resume file", e);
}

static int calibrate(struct run *r, struct error *e)
{
    size_t *chunks = mem_alloc(r->c.n_merged, sizeof *chunks);
    struct saved_training_state saved = {0};
    int failed = load_saved(r, &saved, e) || calibration_prepare(&r->c, e) ||
                 learn_all(r, chunks, &saved, e);
    saved_training_state_free(&saved);
    calibration_release(&r->c);
    free(chunks);
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    if (!failed && r->table.out) {
        calibration_write_table(&r->c, r->table.out);
        failed = atomic_file_close(&r->table, true, e);
    }
    r->learned = true;
    return failed ? -1 : 0;
}

/* ---- the filter's life ----------------------------------------------------------------------- */

/* What must be the same when a run is resumed. */
static uint64_t key_of(struct stage *s, const struct header *h)
{
    struct arena a = {0};
    const struct string_list own = stage_history_arguments(s, &a);
    XXH64_hash_t key =
        model_source_fingerprint(model_weights_model_source(run_of(s)->c.experts.base));
    for (size_t i = 0; i < own.n; i++)
        key = XXH3_64bits_withSeed(own.items[i], strlen(own.items[i]), key);
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

static int open_files(struct run *r, struct error *e)
{
    const struct settings *o = r->settings;
    if ((o->coefficients && atomic_file_open(&r->table, o->coefficients, e)) ||
        (o->gradients && atomic_file_open(&r->gradients, o->gradients, e)))
        return -1;
    if (o->log && !(r->log = fopen(o->log, o->resume ? "ae" : "we")))
        return error_set(e, "cannot write %s: %s", o->log, strerror(errno));
    return 0;
}

/* All but the files that are written. */
static int prepare(struct stage *s, const struct header *h, struct error *e)
{
    struct run *r = run_of(s);
    if (settings_complete(s, e) || gemm_init(s->common.threads, e) ||
        calibration_open(&r->c, &r->settings->what, s, h, e))
        return -1;
    if (mpi_process_count() > 1 && !r->c.vectors_from_files)
        return error_set(e, "several processes read the vectors in the models' files: they need an "
                            "--expert for each, and a stream that is tv-extract's alone");
    r->names = (struct training_log_names){r->c.tensor_names, r->c.experts.names};
    r->key = key_of(s, h);
    return 0;
}

static int open_calibrate(struct stage *s, struct header *h, struct error *e)
{
    struct run *r = s->data = mem_alloc(1, sizeof *r);
    r->settings = s->options;
    if (mpi_rank() > 0)
        return error_set(e,
                         "mpirun starts calibrate alone: tv-extract ... | mpirun ... calibrate ... "
                         "| combine");
    if (mpi_open(e))
        return -1;
    mpi_broadcast_header(s->in);
    int failed = prepare(s, s->in, e) || open_files(r, e);
    return mpi_any_failed(failed, e) || mpi_check_equal(r->key, "models, samples or options", e)
               ? -1
               : 0;
}

/* Until it has learned it must see all vectors, unless it can read them in the models' files. */
static enum scope scope(const struct stage *s)
{
    const struct run *r = s->data;
    return r && r->c.vectors_from_files ? SCOPE_BLOCK : SCOPE_MODEL;
}

/* Notes the weights that a tensor comes with; others than 1 are not to be lost. */
static int take_weights(struct job *job, struct error *e)
{
    struct calibration *c = &run_of(job->stage)->c;
    long j = c->merged_index[job->index];
    for (size_t v = 0; v < job->in->n_vectors; v++) {
        const struct vector *vector = &job->in->vectors[v];
        long k = task_vectors_expert_of_vector(c->task_vectors, vector);
        if (c->init.source != COEFFICIENT_INIT_STREAM && vector_is_weighted(vector))
            return error_set(e,
                             "tensor %s of %s has a weight other than 1, which would be lost "
                             "(--init stream starts from it)",
                             job->in->name, job->stage->in->models[vector->model].name);
        if (j >= 0 && k >= 0)
            coefficient_init_store_weights(&c->init, (size_t)j, (size_t)k, vector);
    }
    return 0;
}

static int begin(struct job *job, struct error *e)
{
    struct run *r = run_of(job->stage);
    if (take_weights(job, e))
        return -1;
    if (job->stage->in_model_rounds)
        return task_vectors_is_stored(r->c.task_vectors, job->index) ? PLAN_OBSERVE
                                                                     : PLAN_PASS_THROUGH;
    if (!r->learned && calibrate(r, e))
        return -1;
    for (size_t v = 0; v < job->out->n_vectors && tensor_is_float(job->in); v++) {
        size_t n;
        const double *w = calibration_vector_weights(&r->c, job->index, &job->in->vectors[v], &n);
        vector_set_weights(&job->out->vectors[v], job->arena, n, w);
    }
    return PLAN_PASS_THROUGH;
}

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    struct task_vectors *d = run_of(job->stage)->c.task_vectors;
    for (size_t v = 0; v < b->n_vectors; v++) {
        long k = task_vectors_expert_of_vector(d, &job->in->vectors[v]);
        if (k >= 0 &&
            task_vectors_write(d, job->index, (size_t)k, b->first, b->n, block_floats(b, v), e))
            return -1;
    }
    return 0;
}

static int decide(struct job *job, struct error *e)
{
    return calibrate(run_of(job->stage), e) ? -1 : VERDICT_DONE;
}

static int close_calibrate(struct stage *s, bool ok, struct error *e)
{
    struct run *r = s->data;
    struct error later;
    atomic_file_close(&r->table, false, &later);
    atomic_file_close(&r->gradients, false, &later);
    if (r->log)
        fclose(r->log);
    calibration_close(&r->c);
    header_free(r->received);
    free(r);
    mpi_close(ok);
    return 0;
}

/* ---- a process that helps -------------------------------------------------------------------- */

/* Under mpirun the stream comes to the first process and leaves from there. The others get its
 * header, read the vectors in the models' files, compute their share of the samples, and end. */
static int open_helper(struct stage *s, struct header *h, struct error *e)
{
    struct run *r = s->data = mem_alloc(1, sizeof *r);
    r->settings = s->options;
    s->stop_after_open = true;
    int failed = mpi_open(e) || !(r->received = mpi_receive_header(e));
    failed = failed || mpi_any_failed(prepare(s, r->received, e), e) ||
             mpi_check_equal(r->key, "models, samples or options", e) || calibrate(r, e);
    if (!failed || e->printed)
        return 0; /* mpirun ends all when one fails, and the first is to tell why before that */
    mpi_restore_stderr();
    return -1;
}

static const struct filter helper = {
    .name = "calibrate",
    .options_size = sizeof(struct settings),
    .options = settings_rows,
    .role = ROLE_SINK,
    .sink.source_for_operand = stdio_stages_empty_source,
    .operands_are_files = true,
    .open = open_helper,
    .close = close_calibrate,
};

/* It waits for the first one, which may find the command line wrong. */
static const struct filter *stand_in(void)
{
    struct error later;
    if (mpi_rank() == 0)
        return &filter_calibrate;
    mpi_mute_stderr();
    (void)mpi_open(&later);
    return &helper;
}

const struct filter filter_calibrate = {
    .name = "calibrate",
    .summary = "Learn the weight of each vector from a few samples (Expert Merging)",
    .notes =
        "  tv-extract base math code |\n"
        "      calibrate --base base --samples math.jsonl --samples code.jsonl |\n"
        "      combine | pack --base base merged/\n\n"
        "  Images: --samples FOLDER, which images-to-samples makes of them and of messages.\n"
        "  Several processes: mpirun -n 2 calibrate ... in its place, with an --expert for each "
        "model.",
    .options_size = sizeof(struct settings),
    .options = settings_rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .operands_are_files = true,
    .filter_for_process = stand_in,
    .open = open_calibrate,
    .choose_scope = scope,
    .begin = begin,
    .observe = observe,
    .decide = decide,
    .close = close_calibrate,
};
