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
#include "calibration.h"
#include "gemm.h"
#include "hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
    struct calibration_options what;
    int preset, regularizer, on, hidden_norm;
    double gamma, budget, kappa;
    struct adamw_settings adamw;
    uint64_t epochs, first_epochs, patience, accumulation;
    bool plus_plus, dry_run;
    const char *coefficients, *gradients, *log, *resume;
};
enum { PRESET_BEST, PRESET_PAPER };
enum { REGULARIZER_L1, REGULARIZER_L2 };
enum { ON_RESPONSE, ON_ALL };
enum { NORM_NONE, NORM_TOKEN };

#define FIELD(f) offsetof(struct options, f)
#define ABOVE_0                                                                                    \
    {                                                                                              \
        0, INFINITY, .low_open = true, .high_open = true                                           \
    }
#define FROM_0                                                                                     \
    {                                                                                              \
        0, INFINITY, .high_open = true                                                             \
    }
static const struct option_row rows[] = {
    {"base", OPTION_TEXT, FIELD(what.operands.base), "BASE",
     .help = "the model that the vectors are added to", .required = true, .silent = true},
    {"samples", OPTION_TEXTS, FIELD(what.samples), "FILE",
     .help = "samples as JSON Lines with input_ids, of every expert's task; may be repeated",
     .required = true, .silent = true},
    {"task", OPTION_TEXTS, FIELD(what.tasks), "TASK=MODEL",
     .help = "the samples of TASK belong to MODEL (default: the model of that name); may be "
             "repeated"},
    {"expert", OPTION_TEXTS, FIELD(what.operands.files), "[MODEL=]PATH",
     .help = "a model's own file, to learn from in place of base + vector; may be repeated",
     .silent = true},
    {"config", OPTION_FILE, FIELD(what.operands.config), "FILE",
     .help = "a config.json in place of the base's own"},
    {"onto", OPTION_FLAG, FIELD(what.operands.onto), NULL,
     .help = "BASE is meant, though the task vectors were made against another model"},
    {"preset", OPTION_CHOICE, FIELD(preset), "best|paper",
     .help = "defaults for all below: those that merge best, or the published ones",
     .choices = "best|paper", .preset = "best"},
    {"per-task", OPTION_COUNT, FIELD(what.per_task), "N",
     .help = "take the first N samples of each task (16; paper 5)"},
    {"validate", OPTION_COUNT, FIELD(what.held_out), "N",
     .help = "hold the last N samples of each task out; keep what is best for them"},
    {"epochs", OPTION_COUNT, FIELD(epochs), "N", .help = "pass all samples N times (5; paper 1)"},
    {"accumulation", OPTION_COUNT, FIELD(accumulation), "A", .help = "samples per update (8)"},
    {"on", OPTION_CHOICE, FIELD(on), "response|all",
     .help = "positions that count: those that foretell the response, or all (response; paper all)",
     .choices = "response|all"},
    {"hidden-layers", OPTION_TEXT, FIELD(what.hidden_layers), "LIST",
     .help = "hidden states to compare: numbers such as 0,4,8, middle, all or none (middle)",
     .preset = "middle"},
    {"hidden-weight", OPTION_NUMBER, FIELD(what.objective.hidden_weight), "W",
     .help = "weight of the hidden states (1)", .range = FROM_0},
    {"hidden-norm", OPTION_CHOICE, FIELD(hidden_norm), "none|token",
     .help = "compare hidden states as they are, or relative to the length of each token's",
     .choices = "none|token", .preset = "none"},
    {"skip-first", OPTION_COUNT, FIELD(what.objective.skip), "N",
     .help = "leave the first N tokens of a sample out of the hidden states (1; paper 0)"},
    {"logit-weight", OPTION_NUMBER, FIELD(what.objective.logit_weight), "W",
     .help = "weight of the logits (1)", .range = FROM_0},
    {"task-weight", OPTION_RULES, FIELD(what.task_weight), "RULE",
     .help = "weight of a task's samples: 2, or math=2 by model (1); may be repeated",
     .range = FROM_0},
    {"temperature", OPTION_NUMBER, FIELD(what.objective.temperature), "T",
     .help = "of the logits (1)", .range = ABOVE_0},
    {"gamma", OPTION_NUMBER, FIELD(gamma), "G", .help = "weight of the regulariser (0; paper 0.8)",
     .range = FROM_0},
    {"regularizer", OPTION_CHOICE, FIELD(regularizer), "l1|l2",
     .help = "how far from the start: its magnitude, or its square", .choices = "l1|l2",
     .preset = "l1"},
    {"init", OPTION_TEXTS, FIELD(what.init), "RULE",
     .help =
         "coefficients to start from: 0.5, math=0.3, stream (the weights that come), or auto (a "
         "search over one for all) (0.5; paper 0.3); may be repeated"},
    {"start", OPTION_FILE, FIELD(what.start), "FILE",
     .help = "start from the coefficients of this table; the regulariser still holds to --init"},
    {"range", OPTION_NUMBER, FIELD(what.max), "MAX",
     .help = "coefficients lie between 0 and MAX (1)", .range = ABOVE_0, .preset = "1"},
    {"per", OPTION_CHOICE, FIELD(what.per), "tensor|layer|model",
     .help = "what shares one coefficient (tensor)", .choices = "tensor|layer|model",
     .preset = "tensor"},
    {"keep-base", OPTION_TEXTS, FIELD(what.keep_base), "GLOB",
     .help = "tensors that stay the base's (default: norms, biases, embeddings and head); may be "
             "repeated"},
    {"lr", OPTION_NUMBER, FIELD(adamw.lr), "LR", .help = "learning rate (0.5)", .range = ABOVE_0},
    {"beta1", OPTION_NUMBER, FIELD(adamw.beta1), "B", .help = "of AdamW (0.9)",
     .range = {0, 1, .high_open = true}},
    {"beta2", OPTION_NUMBER, FIELD(adamw.beta2), "B", .help = "of AdamW (0.999)",
     .range = {0, 1, .high_open = true}},
    {"eps", OPTION_NUMBER, FIELD(adamw.eps), "E", .help = "of AdamW (1e-8)", .range = ABOVE_0},
    {"weight-decay", OPTION_NUMBER, FIELD(adamw.weight_decay), "D", .help = "of AdamW (1e-5)",
     .range = FROM_0},
    {"clip", OPTION_NUMBER, FIELD(adamw.clip), "C",
     .help = "largest norm of a gradient; 0: any (1)", .range = FROM_0},
    {"eta-min", OPTION_NUMBER, FIELD(adamw.eta_min), "SHARE",
     .help = "the least learning rate, as a share of --lr (0.1)", .range = {0, 1}},
    {"t0", OPTION_COUNT, FIELD(adamw.t0), "N",
     .help = "updates until the learning rate starts again (50)"},
    {"tmult", OPTION_COUNT, FIELD(adamw.tmult), "N",
     .help = "each stretch is N times as long as the one before (2)"},
    {"patience", OPTION_COUNT, FIELD(patience), "N",
     .help = "stop after N epochs without a better loss; 0: never (0; paper 3)"},
    {"plus-plus", OPTION_FLAG, FIELD(plus_plus), NULL,
     .help = "Expert Merging++: a second run with chunks where the first found importance"},
    {"budget", OPTION_NUMBER, FIELD(budget), "B",
     .help = "chunks for each tensor, on average (12; paper 1)", .range = ABOVE_0},
    {"first-epochs", OPTION_COUNT, FIELD(first_epochs), "N",
     .help = "epochs of the first of the two runs (as --epochs)"},
    {"kappa", OPTION_NUMBER, FIELD(kappa), "K", .help = "power of the importance (0.5; paper 1)",
     .range = FROM_0},
    {"coefficients", OPTION_FILE, FIELD(coefficients), "FILE",
     .help = "write a table of them, for weigh --table", .silent = true},
    {"log", OPTION_FILE, FIELD(log), "FILE", .help = "write a line of JSON for each update",
     .silent = true},
    {"dry-run", OPTION_FLAG, FIELD(dry_run), NULL, .help = "learn nothing, put out the start"},
    {"gradients", OPTION_FILE, FIELD(gradients), "FILE",
     .help = "with --dry-run: write losses and gradients at the start, as JSON", .silent = true},
    {"resume", OPTION_FILE, FIELD(resume), "FILE",
     .help = "note there where learning stands, and go on from there", .silent = true},
    {0}};

/* What an option is where it was not given. */
struct preset {
    const char *name;
    double best, paper;
};
static const struct preset presets[] = {{"per-task", 16, 5},
                                        {"epochs", 5, 1},
                                        {"accumulation", 8, 8},
                                        {"hidden-weight", 1, 1},
                                        {"skip-first", 1, 0},
                                        {"logit-weight", 1, 1},
                                        {"temperature", 1, 1},
                                        {"gamma", 0, 0.8},
                                        {"lr", 0.5, 0.5},
                                        {"beta1", 0.9, 0.9},
                                        {"beta2", 0.999, 0.999},
                                        {"eps", 1e-8, 1e-8},
                                        {"weight-decay", 1e-5, 1e-5},
                                        {"clip", 1, 1},
                                        {"eta-min", 0.1, 0.1},
                                        {"t0", 50, 50},
                                        {"tmult", 2, 2},
                                        {"patience", 0, 3},
                                        {"budget", 12, 1},
                                        {"kappa", 0.5, 1},
                                        {"on", ON_RESPONSE, ON_ALL}};
static const double preset_init[] = {[PRESET_BEST] = 0.5, [PRESET_PAPER] = 0.3};

struct run {
    const struct options *options;
    struct calibration c;
    struct journal_names names;
    struct journal_file table, gradients;
    FILE *log;
    uint64_t key; /* of all that must not change when a run is resumed */
    bool learned;
};

static struct run *run_of(const struct stage *s)
{
    return s->data;
}

/* ---- the algorithm --------------------------------------------------------------------------- */

static int check_losses(const struct stage *s, const size_t *which, size_t n,
                        const struct loss *losses, struct error *e)
{
    const struct run *r = run_of(s);
    for (size_t i = 0; i < n && !s->common.allow_nonfinite; i++)
        if (!isfinite(losses[i].hidden) || !isfinite(losses[i].logit))
            return error_set(e, "the loss of sample %zu of task %s is not finite",
                             r->c.examples.numbers[which[i]], r->c.examples.tasks[which[i]]);
    return 0;
}

/* Losses and the sum of their gradients of n examples. */
static int compute(const struct stage *s, const size_t *which, size_t n, bool gradient,
                   struct loss *losses, struct error *e)
{
    stage_works(s);
    return objective_compute(run_of(s)->c.objective, which, n, gradient, losses, e) ||
                   check_losses(s, which, n, losses, e)
               ? -1
               : 0;
}

/* G = 1/A sum over the samples of d loss / d r */
static void set_gradient(const struct run *r, size_t samples, double *g)
{
    const struct options *o = r->options;
    const struct coefficients *c = &r->c.coefficients;
    for (size_t i = 0; i < c->n; i++) {
        double slope =
            o->gamma * coefficients_regulariser_slope(c, i, o->regularizer == REGULARIZER_L2);
        g[i] = (c->gradient[i] + (double)samples * slope) * coefficients_slope(c, i) /
               (double)o->accumulation;
    }
}

static struct loss mean_of(const struct loss *losses, size_t n)
{
    struct loss mean = {0, 0};
    for (size_t i = 0; i < n; i++) {
        mean.hidden += losses[i].hidden / (double)n;
        mean.logit += losses[i].logit / (double)n;
    }
    return mean;
}

static uint64_t epochs_of(const struct options *o, int stage)
{
    return stage == 1 && o->first_epochs ? o->first_epochs : o->epochs;
}

static void report(const struct run *r, const struct journal_update *u)
{
    double loss = u->mean.hidden + u->mean.logit + u->regulariser;
    if (r->log)
        journal_put_update(r->log, u, &r->c.coefficients, &r->names);
    if (isatty(STDERR_FILENO))
        fprintf(stderr,
                "\r\033[K%s epoch %llu of %llu, update %llu: loss %.5g = hidden %.5g + logits %.5g "
                "+ regulariser %.5g",
                u->stage == 2 ? "++" : "", (unsigned long long)u->epoch,
                (unsigned long long)epochs_of(r->options, u->stage), (unsigned long long)u->n, loss,
                u->mean.hidden, u->mean.logit, u->regulariser);
}

/* One update from n samples of the order. */
static int update(const struct stage *s, struct adamw *adamw, struct standing *at, size_t n,
                  struct error *e)
{
    struct run *r = run_of(s);
    const struct options *o = r->options;
    struct coefficients *c = &r->c.coefficients;
    struct loss *losses = mem_alloc(n, sizeof *losses);
    double *g = mem_alloc(c->n, sizeof *g);
    memset(c->gradient, 0, c->all * sizeof *c->gradient);
    int failed = compute(s, r->c.examples.order + at->done, n, true, losses, e);
    if (!failed) {
        struct journal_update u = {.stage = at->stage, .epoch = at->epoch + 1, .samples = n};
        u.mean = mean_of(losses, n);
        u.regulariser = o->gamma * coefficients_regulariser(c, o->regularizer == REGULARIZER_L2);
        u.lr = adamw_lr(adamw);
        set_gradient(r, n, g);
        u.grad_norm = adamw_clip(adamw, g);
        adamw_step(adamw, c->r, g);
        coefficients_update(c);
        merged_changed(r->c.merged);
        u.n = adamw->updates;
        at->done += n;
        at->sum += (double)n * (u.mean.hidden + u.mean.logit + u.regulariser);
        report(r, &u);
    }
    free(losses);
    free(g);
    return failed;
}

/* The mean loss of the samples that are held out. */
static int validate(const struct stage *s, const struct standing *at, double *mean, struct error *e)
{
    const struct run *r = run_of(s);
    size_t group = r->options->accumulation, n = r->c.examples.n_held;
    struct loss *losses = mem_alloc(n, sizeof *losses);
    int failed = 0;
    for (size_t i = 0; i < n && !failed; i += group)
        failed =
            compute(s, r->c.examples.held + i, n - i < group ? n - i : group, false, losses + i, e);
    struct loss all = mean_of(losses, n);
    *mean = all.hidden + all.logit;
    if (r->log && !failed)
        journal_put_validation(r->log, at->stage, at->epoch, &all);
    free(losses);
    return failed;
}

/* The end of an epoch: the mean loss of its samples, or of those held out; of these the best
 * coefficients are kept. */
static int end_epoch(const struct stage *s, struct standing *at, struct error *e)
{
    const struct run *r = run_of(s);
    const struct coefficients *c = &r->c.coefficients;
    double mean = at->sum / (double)r->c.examples.n_order;
    at->done = 0;
    at->sum = 0;
    at->epoch++;
    if (r->options->what.held_out && validate(s, at, &mean, e))
        return -1;
    at->bad = mean < at->best ? 0 : at->bad + 1;
    if (mean < at->best && at->kept)
        memcpy(at->kept, c->r, c->n * sizeof *c->r);
    at->best = mean < at->best ? mean : at->best;
    return 0;
}

/* The start is the first candidate for the best. */
static int before_epochs(const struct stage *s, struct standing *at, struct error *e)
{
    const struct coefficients *c = &run_of(s)->c.coefficients;
    if (!run_of(s)->options->what.held_out)
        return 0;
    at->kept = mem_alloc(c->n, sizeof *at->kept);
    memcpy(at->kept, c->r, c->n * sizeof *c->r);
    return validate(s, at, &at->best, e);
}

static void after_epochs(const struct stage *s, const struct standing *at)
{
    struct coefficients *c = &run_of(s)->c.coefficients;
    if (!at->kept)
        return;
    memcpy(c->r, at->kept, c->n * sizeof *c->r);
    coefficients_update(c);
    merged_changed(run_of(s)->c.merged);
}

static int learn(const struct stage *s, struct adamw *adamw, struct standing *at, struct error *e)
{
    const struct run *r = run_of(s);
    const struct options *o = r->options;
    size_t epochs = r->c.coefficients.n ? epochs_of(o, at->stage) : 0;
    while (at->epoch < epochs && !(o->patience && at->bad >= o->patience)) {
        size_t left = r->c.examples.n_order - at->done;
        if (update(s, adamw, at, left < o->accumulation ? left : o->accumulation, e))
            return -1;
        if (at->done == r->c.examples.n_order && end_epoch(s, at, e))
            return -1;
        if (o->resume && journal_save(o->resume, at, &r->c.coefficients, adamw, e))
            return -1;
    }
    after_epochs(s, at);
    return 0;
}

/* ---- two stages: Expert Merging++ ------------------------------------------------------------ */

/* ||tau_kj||_1 */
static int l1_norm(const struct run *r, size_t j, size_t k, size_t n, double *norm, struct error *e)
{
    const struct vectors v = deltas_vectors(r->c.deltas);
    size_t piece = n < 65536 ? n : 65536;
    float *tau = mem_aligned(piece * sizeof *tau);
    int failed = 0;
    *norm = 0;
    for (size_t done = 0; done < n && !failed; done += piece) {
        size_t count = n - done < piece ? n - done : piece;
        failed =
            v.read(v.context, r->c.places[j].part, r->c.places[j].layer, k, done, count, tau, e);
        *norm += failed ? 0 : kern_sum_abs(tau, count);
    }
    free(tau);
    return failed;
}

/* u_j = sum_k alpha_kj ||tau_kj||_1, and from it the chunks of the second stage. */
static int allocate(const struct stage *s, size_t *chunks, struct error *e)
{
    struct run *r = run_of(s);
    double *u = mem_alloc(r->c.tensors, sizeof *u), norm;
    size_t *elements = mem_alloc(r->c.tensors, sizeof *elements);
    int failed = 0;
    for (size_t j = 0; j < r->c.tensors && !failed; j++) {
        elements[j] = tensor_elements(&s->in->tensors[r->c.places[j].tensor]);
        for (size_t k = 0; k < r->c.experts.n && !failed; k++) {
            failed = l1_norm(r, j, k, elements[j], &norm, e);
            u[j] +=
                failed ? 0
                       : fabs(r->c.coefficients.alpha[r->c.coefficients.spans[j].first + k]) * norm;
        }
    }
    if (!failed)
        coefficients_allocate(r->c.tensors, u, elements, r->options->budget, r->options->kappa,
                              chunks);
    free(u);
    free(elements);
    return failed;
}

/* The number of chunks that each tensor has in the first or only stage. */
static void one_chunk(const struct run *r, size_t *chunks)
{
    for (size_t j = 0; j < r->c.tensors; j++)
        chunks[j] = 1;
}

/* ---- looking before learning ----------------------------------------------------------------- */

/* Every example once, in groups, with the mean gradient if it is wanted. */
static int look(const struct stage *s, bool gradient, struct loss *losses, struct error *e)
{
    struct run *r = run_of(s);
    size_t group = r->options->accumulation, n = r->c.examples.n;
    size_t *which = mem_alloc(n, sizeof *which);
    int failed = 0;
    for (size_t i = 0; i < n; i++)
        which[i] = i;
    memset(r->c.coefficients.gradient, 0, r->c.coefficients.all * sizeof(double));
    for (size_t i = 0; i < n && !failed; i += group)
        failed = compute(s, which + i, n - i < group ? n - i : group, gradient, losses + i, e);
    free(which);
    return failed;
}

static int dry_run(const struct stage *s, struct error *e)
{
    struct run *r = run_of(s);
    struct loss *losses = mem_alloc(r->c.examples.n, sizeof *losses);
    int failed = r->gradients.out ? look(s, true, losses, e) : 0;
    const struct journal_report report = {
        r->c.examples.tasks, r->c.examples.numbers, losses,
        r->c.examples.n,     r->options->gamma,     r->options->regularizer == REGULARIZER_L2};
    if (!failed && r->gradients.out) {
        journal_put_gradients(r->gradients.out, &report, &r->c.coefficients, &r->names);
        failed = journal_close(&r->gradients, true, e);
    }
    free(losses);
    return failed;
}

/* The mean loss with one coefficient for all. */
static int loss_at(const struct stage *s, const size_t *chunks, double alpha, double *loss,
                   struct error *e)
{
    struct run *r = run_of(s);
    struct loss *losses = mem_alloc(r->c.examples.n, sizeof *losses);
    r->c.start.otherwise = alpha;
    int failed = calibration_start(&r->c, chunks, false, e) || look(s, false, losses, e);
    struct loss mean = mean_of(losses, r->c.examples.n);
    *loss = mean.hidden + mean.logit;
    free(losses);
    return failed ? -1 : 0;
}

/* --init auto: the best of ten for all coefficients, then of finer steps around it. */
static int search_init(const struct stage *s, const size_t *chunks, struct error *e)
{
    struct run *r = run_of(s);
    double max = r->options->what.max, best = INFINITY, at = 0.5 * max, loss;
    for (double step = 0.1 * max; step > 0.02 * max; step /= 4) {
        double middle = at;
        for (int i = -4; i <= 4; i++) {
            double alpha = middle + i * step;
            if (!(alpha > 0 && alpha < max))
                continue;
            if (loss_at(s, chunks, alpha, &loss, e))
                return -1;
            if (loss < best) {
                best = loss;
                at = alpha;
            }
        }
    }
    r->c.start.otherwise = at;
    return 0;
}

/* ---- the whole of it ------------------------------------------------------------------------- */

/* Goes on where a saved run stood: its stage, chunks and numbers. */
static int go_on(const struct stage *s, const struct saved_standing *saved, struct adamw *adamw,
                 struct standing *at, struct error *e)
{
    struct run *r = run_of(s);
    struct coefficients *c = &r->c.coefficients;
    size_t bytes = c->n * sizeof *c->r;
    if (saved->n != c->n)
        return error_set(e, "%s belongs to another model", r->options->resume);
    memcpy(c->r, saved->r, bytes);
    memcpy(adamw->m, saved->adamw.m, bytes);
    memcpy(adamw->v, saved->adamw.v, bytes);
    adamw->updates = saved->adamw.updates;
    adamw->at = saved->adamw.at;
    adamw->stretch = saved->adamw.stretch;
    coefficients_update(c);
    *at = saved->standing;
    at->kept = NULL;
    if (saved->standing.kept) {
        at->kept = mem_alloc(c->n, sizeof *at->kept);
        memcpy(at->kept, saved->standing.kept, bytes);
    }
    return 0;
}

/* One stage of learning, from its start or from where it was left. */
static int one_stage(const struct stage *s, int number, const size_t *chunks,
                     const struct saved_standing *saved, struct error *e)
{
    struct run *r = run_of(s);
    struct standing at = {.key = r->key, .stage = number, .best = INFINITY};
    struct adamw adamw;
    bool goes_on = saved->n && saved->standing.stage == number;
    int failed = calibration_start(&r->c, goes_on ? saved->chunks : chunks, number != 1, e);
    adamw_start(&adamw, &r->options->adamw, r->c.coefficients.n);
    if (!failed)
        failed = goes_on ? go_on(s, saved, &adamw, &at, e) : before_epochs(s, &at, e);
    failed = failed || learn(s, &adamw, &at, e);
    adamw_free(&adamw);
    free(at.kept);
    return failed ? -1 : 0;
}

/* What was left of an interrupted run, if it was this one. */
static int load_saved(const struct run *r, struct saved_standing *saved, struct error *e)
{
    const char *file = r->options->resume;
    *saved = (struct saved_standing){0};
    if (!file)
        return 0;
    if (journal_load(file, saved, e) < 0)
        return -1;
    if (saved->n && (saved->standing.key != r->key || saved->tensors != r->c.tensors))
        return error_set(e, "%s was left by a run with other inputs or options", file);
    return 0;
}

static int learn_all(const struct stage *s, size_t *chunks, const struct saved_standing *saved,
                     struct error *e)
{
    struct run *r = run_of(s);
    const struct options *o = r->options;
    one_chunk(r, chunks);
    if (r->c.start.from == START_SEARCH && search_init(s, chunks, e))
        return -1;
    if (o->plus_plus && saved->standing.stage != 2 &&
        (one_stage(s, 1, chunks, saved, e) || allocate(s, chunks, e)))
        return -1;
    if (o->dry_run)
        return calibration_start(&r->c, chunks, true, e) || dry_run(s, e) ? -1 : 0;
    return one_stage(s, o->plus_plus ? 2 : 0, chunks, saved, e);
}

static int calibrate(struct stage *s, struct error *e)
{
    struct run *r = run_of(s);
    size_t *chunks = mem_alloc(r->c.tensors, sizeof *chunks);
    struct saved_standing saved;
    int failed = load_saved(r, &saved, e) || calibration_prepare(&r->c, s, e) ||
                 learn_all(s, chunks, &saved, e);
    journal_forget(&saved);
    calibration_rest(&r->c);
    free(chunks);
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    if (!failed && r->table.out) {
        calibration_put_table(&r->c, r->table.out);
        failed = journal_close(&r->table, true, e);
    }
    r->learned = true;
    return failed ? -1 : 0;
}

/* ---- options --------------------------------------------------------------------------------- */

static const struct option_row *row_named(const char *name, size_t *index)
{
    for (*index = 0; rows[*index].name; (*index)++)
        if (strcmp(rows[*index].name, name) == 0)
            break;
    return &rows[*index];
}

/* Fills in what was not given. */
static void take_preset(struct stage *s)
{
    struct options *o = s->options;
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        size_t index;
        const struct option_row *row = row_named(presets[i].name, &index);
        double value = o->preset == PRESET_PAPER ? presets[i].paper : presets[i].best;
        char *field = (char *)o + row->offset;
        if (s->given[index])
            continue;
        if (row->kind == OPTION_NUMBER)
            *(double *)field = value;
        else if (row->kind == OPTION_COUNT)
            *(uint64_t *)field = (uint64_t)value;
        else
            *(int *)field = (int)value;
    }
}

static int check_options(const struct options *o, struct error *e)
{
    static const char *const counts[] = {"per-task", "accumulation", "t0", "tmult"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        size_t index;
        const struct option_row *row = row_named(counts[i], &index);
        if (*(const uint64_t *)((const char *)o + row->offset) == 0)
            return error_set(e, "--%s is at least 1", counts[i]);
    }
    if (o->plus_plus && o->what.per != PER_TENSOR)
        return error_set(e, "--plus-plus cuts tensors into chunks; it goes with --per tensor only");
    if (o->gradients && !o->dry_run)
        return error_set(e, "--gradients is written by a --dry-run");
    if (o->dry_run && o->resume)
        return error_set(e, "a --dry-run learns nothing to --resume");
    return 0;
}

/* ---- the filter's life ----------------------------------------------------------------------- */

/* What must be the same when a run is resumed. */
static uint64_t key_of(struct stage *s, const struct header *h)
{
    struct arena a = {0};
    const struct texts own = stage_arguments(s, &a);
    XXH64_hash_t key = input_fingerprint(backbone_input(run_of(s)->c.experts.base));
    for (size_t i = 0; i < own.n; i++)
        key = XXH3_64bits_withSeed(own.texts[i], strlen(own.texts[i]), key);
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
    const struct options *o = r->options;
    if ((o->coefficients && journal_open(&r->table, o->coefficients, e)) ||
        (o->gradients && journal_open(&r->gradients, o->gradients, e)))
        return -1;
    if (o->log && !(r->log = fopen(o->log, o->resume ? "ae" : "we")))
        return error_set(e, "cannot write %s: %s", o->log, strerror(errno));
    return 0;
}

static int open_calibrate(struct stage *s, struct header *h, struct error *e)
{
    struct run *r = s->data = mem_alloc(1, sizeof *r);
    struct options *o = s->options;
    (void)h;
    r->options = o;
    take_preset(s);
    o->what.otherwise = preset_init[o->preset];
    o->what.published_names = o->preset == PRESET_PAPER;
    o->what.responses = o->on == ON_RESPONSE;
    o->what.objective.relative = o->hidden_norm == NORM_TOKEN;
    if (check_options(o, e) || gemm_open(s->common.threads, e) ||
        calibration_open(&r->c, &o->what, s, s->in, e))
        return -1;
    r->names = (struct journal_names){r->c.names, r->c.experts.names};
    r->key = key_of(s, s->in);
    return open_files(r, e);
}

/* Until it has learned it must see all vectors, unless it can read them in the models' files. */
static enum scope scope(const struct stage *s)
{
    const struct run *r = s->data;
    return r && r->c.mapped ? SCOPE_BLOCK : SCOPE_MODEL;
}

/* Notes the weights that a tensor comes with; others than 1 are not to be lost. */
static int take_weights(struct job *job, struct error *e)
{
    struct calibration *c = &run_of(job->stage)->c;
    long j = c->merged_as[job->index];
    for (size_t v = 0; v < job->in->n_vectors; v++) {
        const struct vector *vector = &job->in->vectors[v];
        long k = deltas_expert(c->deltas, vector);
        if (c->start.from != START_STREAM && vector_is_weighted(vector))
            return error_set(e,
                             "tensor %s of %s has a weight other than 1, which would be lost "
                             "(--init stream starts from it)",
                             job->in->name, job->stage->in->models[vector->model].name);
        if (j >= 0 && k >= 0)
            start_note(&c->start, (size_t)j, (size_t)k, vector);
    }
    return 0;
}

static int begin(struct job *job, struct error *e)
{
    struct run *r = run_of(job->stage);
    if (take_weights(job, e))
        return -1;
    if (job->stage->deciding)
        return deltas_is_wanted(r->c.deltas, job->index) ? PLAN_OBSERVE : PLAN_PASS;
    if (!r->learned && calibrate(job->stage, e))
        return -1;
    for (size_t v = 0; v < job->out->n_vectors && tensor_is_float(job->in); v++) {
        size_t n;
        const double *w = calibration_weights(&r->c, job->index, &job->in->vectors[v], &n);
        vector_set_weights(&job->out->vectors[v], job->arena, n, w);
    }
    return PLAN_PASS;
}

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    struct deltas *d = run_of(job->stage)->c.deltas;
    (void)work;
    for (size_t v = 0; v < b->n_vectors; v++) {
        long k = deltas_expert(d, &job->in->vectors[v]);
        if (k >= 0 && deltas_keep(d, job->index, (size_t)k, b->first, b->n, block_x(b, v), e))
            return -1;
    }
    return 0;
}

static int decide(struct job *job, struct error *e)
{
    return calibrate(job->stage, e) ? -1 : VERDICT_DONE;
}

static int close_calibrate(struct stage *s, bool ok, struct error *e)
{
    struct run *r = s->data;
    struct error later;
    (void)ok;
    (void)e;
    journal_close(&r->table, false, &later);
    journal_close(&r->gradients, false, &later);
    if (r->log)
        fclose(r->log);
    calibration_close(&r->c);
    free(r);
    return 0;
}

const struct filter filter_calibrate = {
    .name = "calibrate",
    .summary = "Learn the weight of each vector from a few samples (Expert Merging)",
    .notes = "  tv-extract base math code |\n"
             "      calibrate --base base --samples math.jsonl --samples code.jsonl |\n"
             "      combine | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .operands_are_files = true,
    .open = open_calibrate,
    .scope = scope,
    .begin = begin,
    .observe = observe,
    .decide = decide,
    .close = close_calibrate,
};
