/* calibrate: learn the weight of each vector from a few unlabeled samples (Expert Merging)
 *
 *     M_j = W_j + sum_k alpha_kj tau_kj          alpha = sigmoid(r), one per tensor j and expert k
 *     loss = beta_k (w_h H + w_z Z) + gamma R    of a sample of task k
 *
 *     H   mean square of h_l - h_l^expert over the layers S           hidden states
 *     Z   Theta^2 cross entropy of softmax(z / Theta) and the expert's          logits
 *     R   mean |alpha - alpha_0| times the number of experts
 *
 * Expert Merging and Expert Merging++: arXiv 2509.25712. The learned parameter is r (AdamW, cosine
 * schedule with warm restarts). No labels are used: the expert of each task is the teacher.
 *
 *     Expert Merging      one coefficient per tensor and expert: train
 *     Expert Merging++    phase 1: the same
 *                         importance of each tensor, u_j = sum_k alpha_kj ||tau_kj||_1, and from it
 *                         the number of its chunks
 *                         phase 2: train again from the start, one coefficient per chunk and expert
 *
 *     tv-extract base math code | calibrate --base base --samples math.jsonl --samples code.jsonl |
 *         combine | pack --base base merged/
 *
 * The merged model is computed one layer at a time, for the forward and again for the backward
 * pass, and all samples of an update pass through a layer together; the gradient of a coefficient
 * is <dL/dM_j, tau_kj> (lib/calibrate/README.md). Filters downstream of calibrate are not part of
 * the loss.
 */
#include "filter.h"

#include "atomic_file.h"
#include "calibration_coefficients.h"
#include "coefficient_table.h"
#include "fs.h"
#include "initial_losses.h"
#include "mpi.h"
#include "parallel_for.h"
#include "printable.h"
#include "read_files.h"
#include "stage.h"
#include "stdio_stages.h"
#include "tensor_importance.h"
#include "training.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct run {
    const struct calibrate_options *options;
    struct calibration c;
    struct training training;
    struct atomic_file table, gradients;
    int log_error; /* errno of a write to the log that failed; 0: none */
    bool trained;
    struct header *received_header; /* of a helper rank, which has no stream */
};

extern const struct filter filter_calibrate;

static struct run *run_of(const struct stage *s)
{
    return s->data;
}

/* ---- Expert Merging and Expert Merging++ ----------------------------------------------------- */

/* Phase 1 of Expert Merging++, and the number of chunks of each tensor in phase 2 by the importance
 * that it finds. */
static int choose_chunks_by_importance(struct run *r, size_t *chunks,
                                       const struct saved_training_state *saved, struct error *e)
{
    const struct calibrate_options *o = r->options;
    if (saved->state.phase == 2) /* they are in the saved state */
        return 0;
    if (training_run_phase(&r->training, 1, chunks, saved, e))
        return -1;
    int failed = tensor_importance_allocate_chunks(&r->c, o->budget, o->kappa, chunks, e);
    return mpi_any_failed(failed, e);
}

/* --dry-run: the initial coefficients and their losses. */
static int report_initial_losses(struct run *r, const size_t *chunks, struct error *e)
{
    if (calibration_coefficients_init(&r->c, chunks, true, e) ||
        initial_losses_write_report(&r->c, r->training.log, r->gradients.out, e))
        return -1;
    return atomic_file_close(&r->gradients, true, e);
}

/* One coefficient per tensor and expert: one phase of training. With --plus-plus that is phase 1,
 * and phase 2 has one coefficient per chunk and expert. `chunks`: room for a number per merged
 * tensor. */
static int train_expert_merging_coefficients(struct run *r, size_t *chunks,
                                             const struct saved_training_state *saved,
                                             struct error *e)
{
    const struct calibrate_options *o = r->options;
    for (size_t j = 0; j < r->c.merged.n; j++)
        chunks[j] = 1;
    if (r->c.init.source == COEFFICIENT_INIT_SEARCH &&
        initial_losses_search_best_alpha(&r->c, chunks, e))
        return -1;
    if (o->plus_plus && choose_chunks_by_importance(r, chunks, saved, e))
        return -1;
    if (o->dry_run)
        return report_initial_losses(r, chunks, e);
    return training_run_phase(&r->training, o->plus_plus ? 2 : 0, chunks, saved, e);
}

static int write_coefficient_table(struct run *r, struct error *e)
{
    if (!r->table.out)
        return 0;
    calibration_coefficients_write_table(&r->c, r->table.out);
    return atomic_file_close(&r->table, true, e);
}

static int close_log(struct run *r, struct error *e)
{
    FILE *log = r->training.log;
    if (!log)
        return 0;
    r->training.log = NULL;
    if (ferror(log) && !r->log_error)
        r->log_error = EIO;
    if (fclose(log) != 0)
        r->log_error = errno;
    return r->log_error
               ? error_set(e, "cannot write %s: %s", r->options->log, strerror(r->log_error))
               : 0;
}

/* All of it, when the task vectors have been stored: teachers, training, table. */
static int run_calibration(struct run *r, struct error *e)
{
    size_t *chunks = mem_alloc(r->c.merged.n, sizeof *chunks);
    struct saved_training_state saved = {0};
    int failed = training_load_state(&r->training, &saved, e) || calibration_prepare(&r->c, e) ||
                 train_expert_merging_coefficients(r, chunks, &saved, e) ||
                 experts_check_unchanged(&r->c.experts, e);
    saved_training_state_free(&saved);
    calibration_release(&r->c);
    free(chunks);
    if (isatty(STDERR_FILENO) && !printable_is_quiet())
        fputs("\r\033[K", stderr);
    r->trained = true;
    return failed || close_log(r, e) || write_coefficient_table(r, e) ? -1 : 0;
}

/* ---- the filter ------------------------------------------------------------------------------ */

/* A table that the run reads is not replaced: neither by this process nor, as the history tells, by
 * one before it in the pipe. */
static int check_table_is_no_input(const struct run *r, const char *path, struct error *e)
{
    struct stat st;
    uint64_t size, hash;
    if (lstat(path, &st) || !S_ISREG(st.st_mode))
        return 0;
    if (!read_files_contains(&st) && (fs_hash_file(AT_FDCWD, path, 0, &size, &hash) ||
                                      !stage_history_contains_file(&r->c.header->history, hash)))
        return 0;
    return error_set(e, "cannot write %s: it is an input of this run; write to another file", path);
}

static int open_output_files(struct run *r, struct error *e)
{
    const struct calibrate_options *o = r->options;
    if ((o->coefficients && check_table_is_no_input(r, o->coefficients, e)) ||
        (o->coefficients &&
         atomic_file_open(&r->table, o->coefficients, coefficient_table_is_printed, e)) ||
        (o->gradients &&
         atomic_file_open(&r->gradients, o->gradients, training_log_is_gradients, e)))
        return -1;
    if (o->log && !(r->training.log =
                        atomic_file_open_log(o->log, o->resume != NULL, training_log_is_log, e)))
        return -1;
    return o->resume ? atomic_file_check(o->resume, training_state_is_state, e) : 0;
}

/* Stores the weights that the stream gives a tensor's vectors, for --init stream. Without it they
 * would be lost, so a weight other than 1 is an error. */
static int store_stream_weights(const struct stage *s, size_t index, const struct tensor *t,
                                struct error *e)
{
    struct calibration *c = &run_of(s)->c;
    long j = c->merged.index[index];
    for (size_t v = 0; v < t->n_vectors; v++) {
        const struct vector *vector = &t->vectors[v];
        long k = task_vectors_expert_of_vector(c->task_vectors, vector);
        if (c->init.source != COEFFICIENT_INIT_STREAM && vector_is_weighted(vector))
            return error_set(e,
                             "tensor %s of %s has a weight other than 1, which would be lost (use "
                             "--init stream to start from it)",
                             t->name, c->header->models[vector->model].name);
        if (j >= 0 && k >= 0)
            coefficient_init_store_weights(&c->init, (size_t)j, (size_t)k, vector);
    }
    return 0;
}

/* Training starts before the weights of a saved stream pass by. */
static int store_weights_of_saved_stream(const struct stage *s, struct error *e)
{
    const struct saved_stream *saved = run_of(s)->c.saved_vectors;
    for (size_t i = 0; saved && i < saved_stream_header(saved)->n_tensors; i++)
        if (store_stream_weights(s, i, saved_stream_tensor(saved, i), e))
            return -1;
    return 0;
}

/* What every process opens; only rank 0 writes files. */
static int open_calibration_inputs(struct stage *s, const struct header *h, struct error *e)
{
    struct run *r = run_of(s);
    calibrate_options_apply_preset(s, h);
    parallel_set_threads(s->common.threads);
    if (calibration_open(&r->c, r->options, s, h, e) || store_weights_of_saved_stream(s, e))
        return -1;
    if (mpi_process_count() > 1 && !r->c.vectors_from_files)
        return error_set(e, "under mpirun every process reads the models' files: give an --expert "
                            "for each model, and a stream that comes directly from tv-extract");
    r->training.calibration = &r->c;
    r->training.log_error = &r->log_error;
    r->training.key = training_state_compute_key(s, h, r->c.experts.base);
    return 0;
}

static int open_calibrate(struct stage *s, struct header *h, struct error *e)
{
    struct run *r = s->data = mem_alloc(1, sizeof *r);
    r->options = s->options;
    if (mpi_rank() > 0)
        return error_set(e, "mpirun must start calibrate itself: tv-extract ... | mpirun ... "
                            "calibrate ... | combine");
    if (mpi_open(e))
        return -1;
    mpi_broadcast_header(s->in);
    int failed = open_calibration_inputs(s, s->in, e) || open_output_files(r, e);
    return mpi_any_failed(failed, e) ||
                   mpi_check_equal_on_all_ranks(r->training.key, "models, samples or options", e)
               ? -1
               : 0;
}

/* All vectors must have been stored before training, unless they can be read in files. */
static enum scope choose_scope(const struct stage *s)
{
    const struct run *r = s->data;
    return r && !calibration_stores_vectors(&r->c) ? SCOPE_BLOCK : SCOPE_MODEL;
}

/* Without --expert, the models of tv-extract are the teachers where a filter has changed vectors.
 */
static bool looks_at_source(const struct stage *s)
{
    const struct calibrate_options *o = s->options;
    return o->models.files.n == 0;
}

static int begin_tensor(struct job *job, struct error *e)
{
    struct run *r = run_of(job->stage);
    if (store_stream_weights(job->stage, job->index, job->in, e))
        return -1;
    if (job->stage->in_model_rounds)
        return task_vectors_is_stored_tensor(r->c.task_vectors, job->index) ? PLAN_OBSERVE
                                                                            : PLAN_PASS_THROUGH;
    if (!r->trained && run_calibration(r, e))
        return -1;
    for (size_t v = 0; v < job->out->n_vectors && tensor_is_float(job->in); v++) {
        size_t n;
        const double *w =
            calibration_coefficients_of_vector(&r->c, job->index, &job->in->vectors[v], &n);
        vector_set_weights(&job->out->vectors[v], job->arena, n, w);
    }
    return PLAN_PASS_THROUGH;
}

static int observe_block(const struct job *job, const struct block *b, void *work, struct error *e)
{
    struct task_vectors *tv = run_of(job->stage)->c.task_vectors;
    for (size_t v = 0; v < b->n_vectors; v++) {
        long k = task_vectors_expert_of_vector(tv, &job->in->vectors[v]);
        if (k >= 0 &&
            task_vectors_write(tv, job->index, (size_t)k, b->first, b->n, block_floats(b, v), e))
            return -1;
    }
    return 0;
}

static int end_round(struct job *job, struct error *e)
{
    return run_calibration(run_of(job->stage), e) ? -1 : VERDICT_DONE;
}

static int close_calibrate(struct stage *s, bool ok, struct error *e)
{
    struct run *r = s->data;
    struct error ignored;
    atomic_file_close(&r->table, false, &ignored);
    atomic_file_close(&r->gradients, false, &ignored);
    if (r->training.log)
        fclose(r->training.log);
    calibration_close(&r->c);
    header_free(r->received_header);
    free(r);
    mpi_close(ok);
    return 0;
}

/* ---- helper ranks of MPI --------------------------------------------------------------------- */

/* Under mpirun only rank 0 reads and writes the stream. The helper ranks receive its header, read
 * the vectors in the models' files, compute their share of the samples, and end. */
static int run_helper_rank(struct stage *s, struct header *h, struct error *e)
{
    struct run *r = s->data = mem_alloc(1, sizeof *r);
    r->options = s->options;
    s->stop_after_open = true;
    int failed = mpi_open(e) || !(r->received_header = mpi_receive_header(e));
    failed = failed || mpi_any_failed(open_calibration_inputs(s, r->received_header, e), e) ||
             mpi_check_equal_on_all_ranks(r->training.key, "models, samples or options", e) ||
             run_calibration(r, e);
    if (!failed || e->printed)
        return 0; /* mpirun kills all when one fails; rank 0 must report the reason before that */
    mpi_restore_stderr();
    return -1;
}

static const struct filter helper = {
    .name = "calibrate",
    .options_size = sizeof(struct calibrate_options),
    .options = calibrate_options_rows,
    .role = ROLE_SINK,
    .sink.source_for_operand = stdio_stages_empty_source,
    .operands_are_files = true,
    .open = run_helper_rank,
    .close = close_calibrate,
};

/* A helper waits here for rank 0, which may find an error in the command line. */
static const struct filter *choose_filter_for_mpi_rank(void)
{
    struct error ignored;
    if (mpi_rank() == 0)
        return &filter_calibrate;
    mpi_mute_stderr();
    (void)mpi_open(&ignored);
    return &helper;
}

const struct filter filter_calibrate = {
    .name = "calibrate",
    .summary = "Learn the weight of each vector from a few samples (Expert Merging)",
    .step = STEP_WEIGH,
    .notes = "  tv-extract base math code |\n"
             "      calibrate --base base --samples math.jsonl --samples code.jsonl |\n"
             "      combine | pack --base base merged/\n\n"
             "  A saved stream is mapped, not copied: calibrate ... < saved.tvs\n"
             "  Images: --samples FOLDER, as images-to-samples writes it.\n"
             "  Several processes: mpirun -n 2 calibrate ..., with an --expert for each model.",
    .options_size = sizeof(struct calibrate_options),
    .options = calibrate_options_rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .operands_are_files = true,
    .filter_for_process = choose_filter_for_mpi_rank,
    .check_options = calibrate_options_check,
    .open = open_calibrate,
    .choose_scope = choose_scope,
    .looks_at_source = looks_at_source,
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .end_round = end_round,
    .close = close_calibrate,
};
