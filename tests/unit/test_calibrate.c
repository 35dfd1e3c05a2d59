/* Training of coefficients: AdamW and its schedule, the regularizer, the chunks of Expert
 * Merging++; and the gradient of the loss with respect to the coefficients, against finite
 * differences. */
#include "adamw.h"
#include "calibrate_options.h"
#include "coefficients.h"
#include "golden.h"
#include "objective.h"
#include "parallel_for.h"
#include "stage.h"
#include "tensor_importance.h"
#include "unit.h"

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fmax(1, fabs(b));
}

/* ---- AdamW ----------------------------------------------------------------------------------- */

static const struct adamw_settings usual = {.lr = 0.5,
                                            .beta1 = 0.9,
                                            .beta2 = 0.999,
                                            .eps = 1e-8,
                                            .weight_decay = 1e-5,
                                            .clip = 1,
                                            .eta_min = 0.1,
                                            .t0 = 50,
                                            .tmult = 2};

/* The schedule restarts after 50 and after 150 updates. */
static void check_schedule(void)
{
    struct adamw a;
    double r = 1, g = 0.1;
    adamw_new(&a, &usual, 1);
    for (int n = 1; n <= 151; n++) {
        double lr = adamw_learning_rate(&a);
        if (n == 1 || n == 51 || n == 151)
            CHECK(lr == 0.5);
        else
            CHECK(lr < 0.5 && lr > 0.05);
        if (n == 26 || n == 101)
            CHECK(near(lr, 0.275)); /* middle of a cycle: the mean of 0.5 and 0.05 */
        adamw_step(&a, &r, &g);
    }
    CHECK(a.updates == 151 && a.since_restart == 1 && a.cycle_length == 200);
    adamw_free(&a);
}

/* Two steps by hand. The first moves by the learning rate, independent of the gradient's size. */
static void check_steps(void)
{
    struct adamw a;
    double r[2] = {1, -1}, g[2] = {1e-5, -3};
    adamw_new(&a, &usual, 2);
    adamw_step(&a, r, g);
    CHECK(fabs(r[0] - (1 * (1 - 0.5e-5) - 0.5)) < 1e-3);
    CHECK(near(r[1], -1 * (1 - 0.5e-5) + 0.5 * 3 / (3 + 1e-8)));
    double before = r[1], lr = adamw_learning_rate(&a), g2[2] = {0, 1};
    adamw_step(&a, r, g2);
    double m = 0.9 * 0.1 * -3 + 0.1 * 1, v = 0.999 * 0.001 * 9 + 0.001 * 1;
    double step = lr / (1 - 0.81) * m / (sqrt(v) / sqrt(1 - 0.999 * 0.999) + 1e-8);
    CHECK(near(r[1], before * (1 - lr * 1e-5) - step));
    adamw_free(&a);
}

static void check_clip(void)
{
    struct adamw a;
    struct adamw_settings unclipped = usual;
    double g[2] = {3, 4}, small[2] = {0.3, 0.4};
    adamw_new(&a, &usual, 2);
    CHECK(near(adamw_clip_gradient(&a, g), 5) && near(g[0], 3 / (5 + 1e-6)));
    CHECK(near(adamw_clip_gradient(&a, small), 0.5) && small[0] == 0.3 && small[1] == 0.4);
    adamw_free(&a);
    unclipped.clip = 0;
    adamw_new(&a, &unclipped, 2);
    double large[2] = {30, 40};
    CHECK(near(adamw_clip_gradient(&a, large), 50) && large[0] == 30);
    adamw_free(&a);
}

/* ---- coefficients ---------------------------------------------------------------------------- */

/* Three tensors, two experts: one coefficient, frozen, three chunks. */
static void check_ranges(void)
{
    struct coefficients c;
    const size_t group[] = {0, 1, 2}, chunks[] = {1, 0, 3};
    coefficients_new(&c, 3, 2, group, chunks, 1);
    CHECK(c.n_learned == 8 && c.n_all == 10);
    CHECK(c.ranges[1].frozen && c.ranges[1].first == 8 && c.ranges[1].chunks == 1);
    CHECK(c.ranges[2].first == 2 && c.ranges[2].chunks == 3);
    for (size_t i = 0; i < c.n_all; i++) {
        coefficients_set_alpha(&c, i, 0.3);
        c.center[i] = c.alpha[i];
    }
    CHECK(coefficients_regularizer(&c, false) == 0 &&
          coefficients_regularizer_gradient(&c, 0, 0) == 0);
    coefficients_set_alpha(&c, 3, 0.7);
    coefficients_set_alpha(&c, 9, 0.9); /* frozen: not in the regularizer */
    CHECK(near(coefficients_regularizer(&c, false), 0.4 / 4));
    CHECK(near(coefficients_regularizer(&c, true), 0.16 / 4));
    CHECK(near(coefficients_regularizer_gradient(&c, 3, false), 0.25));
    CHECK(near(coefficients_regularizer_gradient(&c, 3, true), 0.2));
    CHECK(near(coefficients_sigmoid_derivative(&c, 3), 0.21));
    c.r[3] = 0;
    coefficients_compute_alpha(&c);
    CHECK(near(c.alpha[3], 0.5));
    coefficients_free(&c);
}

/* Two tensors share their coefficients, which lie in (0, 2). */
static void check_sharing(void)
{
    struct coefficients c;
    const size_t group[] = {0, 0, 2}, chunks[] = {1, 1, 1};
    coefficients_new(&c, 3, 2, group, chunks, 2);
    CHECK(c.n_learned == 4 && c.ranges[1].first == 0 && c.ranges[2].first == 2);
    coefficients_set_alpha(&c, 1, 1.5);
    CHECK(near(c.r[1], log(3)) && near(coefficients_sigmoid_derivative(&c, 1), 1.5 * 0.25));
    coefficients_free(&c);
}

static void check_allocation(void)
{
    size_t m[4];
    const double u[] = {4, 3, 1, 0};
    const size_t elements[] = {100, 100, 3, 10};
    tensor_importance_compute_chunk_counts(4, u, elements, 2, 1, m); /* shares 4, 3, 1, 0 */
    CHECK(m[0] == 4 && m[1] == 3 && m[2] == 1 && m[3] == 0);
    tensor_importance_compute_chunk_counts(4, u, elements, 1, 1, m); /* 2, 1.5, 0.5, 0 */
    CHECK(m[0] == 2 && m[1] == 1 && m[2] == 0 && m[3] == 0);
    tensor_importance_compute_chunk_counts(4, u, elements, 20, 1,
                                           m); /* 40, 30, 10, 0; chunks of 3, 4 and 1 */
    CHECK(m[0] == 34 && m[1] == 25 && m[2] == 3 && m[3] == 0);
    tensor_importance_compute_chunk_counts(4, u, elements, 2, 0, m); /* equal shares: 0^0 is 1 */
    CHECK(m[0] == 2 && m[1] == 2 && m[2] == 2 && m[3] == 2);
    const double none[4] = {0};
    tensor_importance_compute_chunk_counts(4, none, elements, 2, 1, m);
    CHECK(m[0] == 0 && m[1] == 0 && m[2] == 0 && m[3] == 0);
}

/* ---- presets --------------------------------------------------------------------------------- */

/* The options that calibrate computes with, where only these were given. */
static struct calibrate_options with_preset(enum calibrate_preset preset, bool plus_plus, int loss,
                                            const char *given_name)
{
    struct calibrate_options o = {.preset = preset,
                                  .plus_plus = plus_plus,
                                  .loss = loss,
                                  .hidden_layers = "middle",
                                  .max = 1};
    bool given[64] = {0};
    for (size_t i = 0; calibrate_options_rows[i].name; i++)
        given[i] = given_name && strcmp(calibrate_options_rows[i].name, given_name) == 0;
    struct stage s = {.filter = &calibrate_options_filter, .options = &o, .given = given};
    struct header h = {0};
    calibrate_options_apply_preset(&s, &h);
    return o;
}

/* Expert Merging++ compares all layers and takes smaller steps, unless an option or the published
 * settings say otherwise. */
static void check_presets(void)
{
    struct calibrate_options o = with_preset(PRESET_BEST, false, LOSS_TEACHER, NULL);
    CHECK(o.epochs == 5 && o.adamw.lr == 0.5 && o.objective.hidden_weight == 1);
    CHECK(!strcmp(o.hidden_layers, "middle"));
    o = with_preset(PRESET_BEST, true, LOSS_TEACHER, NULL);
    CHECK(o.epochs == 5 && o.first_epochs == 1 && o.adamw.lr == 0.2 && o.budget == 300);
    CHECK(o.objective.hidden_weight == 5 && !strcmp(o.hidden_layers, "all"));
    o = with_preset(PRESET_FAST, true, LOSS_TEACHER, NULL);
    CHECK(o.epochs == 2 && o.accumulation == 4 && !strcmp(o.hidden_layers, "all"));
    o = with_preset(PRESET_PAPER, true, LOSS_TEACHER, NULL);
    CHECK(o.epochs == 1 && o.first_epochs == 0 && o.adamw.lr == 0.5 && o.budget == 1);
    CHECK(o.objective.hidden_weight == 1 && !strcmp(o.hidden_layers, "middle"));
    o = with_preset(PRESET_BEST, true, LOSS_TEACHER, "hidden-layers");
    CHECK(!strcmp(o.hidden_layers, "middle") && o.objective.hidden_weight == 5);
    o = with_preset(PRESET_BEST, true, LOSS_ENTROPY, NULL);
    CHECK(!strcmp(o.hidden_layers, "middle") && o.objective.hidden_weight == 0);
    CHECK(!o.models.need_teachers);
}

/* ---- the gradient ---------------------------------------------------------------------------- */

enum { EXPERTS = 2, CHUNKS = 3, SAMPLES = 3 };

struct models {
    struct model_weights *base, *experts[EXPERTS];
};

/* expert - base */
static int read_range(void *context, const struct task_vector_range *r, const float *base,
                      float *to, struct error *e)
{
    const struct models *f = context;
    model_weights_read(f->experts[r->expert], r->kind, r->layer, r->first, r->n, to);
    for (size_t i = 0; i < r->n; i++)
        to[i] -= base[i];
    return 0;
}

struct problem {
    struct models models;
    struct objective *objective;
    struct merged_model *merged;
    struct teacher_outputs *teachers;
    double alpha[WEIGHT_TEXT_END][EXPERTS * CHUNKS], gradient[WEIGHT_TEXT_END][EXPERTS * CHUNKS];
};

static double loss_of(struct problem *p, bool gradient)
{
    const size_t which[SAMPLES] = {0, 1, 2};
    struct loss losses[SAMPLES];
    struct error e;
    double sum = 0;
    memset(p->gradient, 0, sizeof p->gradient);
    merged_model_discard_loaded_layer(p->merged);
    CHECK(!objective_compute_losses(p->objective, which, SAMPLES, gradient, losses, &e));
    for (size_t s = 0; s < SAMPLES; s++)
        sum += losses[s].hidden + losses[s].logit;
    return sum;
}

static const struct training_sample samples[SAMPLES] = {
    {.ids = (const uint32_t[]){1, 5, 9, 2, 7},
     .n = 5,
     .first_position = 1,
     .last_position = 3,
     .expert = 1},
    {.ids = (const uint32_t[]){3, 3, 8, 40, 11, 6, 2},
     .n = 7,
     .first_position = 0,
     .last_position = 6,
     .expert = 0},
    {.ids = (const uint32_t[]){12, 4},
     .n = 2,
     .first_position = 0,
     .last_position = 1,
     .expert = 1},
};

/* Central differences of every coefficient of layer 1 and of the weights outside the layers. */
static void check_gradient(struct problem *p)
{
    const double h = 1e-2;
    double worst = 0, most = 0;
    loss_of(p, true);
    double gradient[WEIGHT_TEXT_END][EXPERTS * CHUNKS];
    memcpy(gradient, p->gradient, sizeof gradient);
    for (enum weight_kind kind = 0; kind < WEIGHT_TEXT_END; kind++)
        for (size_t i = 0; i < EXPERTS * CHUNKS; i++) {
            double old = p->alpha[kind][i];
            p->alpha[kind][i] = old + h;
            double high = loss_of(p, false);
            p->alpha[kind][i] = old - h;
            double low = loss_of(p, false);
            p->alpha[kind][i] = old;
            worst = fmax(worst, fabs((high - low) / (2 * h) - gradient[kind][i]));
            most = fmax(most, fabs(gradient[kind][i]));
        }
    if (worst > 5e-3 * most)
        fprintf(stderr, "gradients off by %g of %g\n", worst, most);
    CHECK(most > 0 && worst <= 5e-3 * most);
}

static struct objective *create_objective(const struct problem *p,
                                          const struct objective_settings *settings,
                                          uint64_t memory)
{
    const struct objective_inputs in = {.arch = model_weights_arch(p->models.base),
                                        .weights = merged_model_weight_source(p->merged),
                                        .merged_model = p->merged,
                                        .teachers = p->teachers,
                                        .samples = samples,
                                        .longest = 7,
                                        .memory = memory};
    return objective_new(&in, settings);
}

/* Saved activations save time and change nothing: of all layers, of one, of none. */
static void check_saved_activations(struct problem *p, const struct objective_settings *settings)
{
    static const uint64_t memory[] = {1 << 20, 40000, 0};
    double first = 0, gradient[WEIGHT_TEXT_END][EXPERTS * CHUNKS];
    for (size_t i = 0; i < 3; i++) {
        objective_free(p->objective);
        p->objective = create_objective(p, settings, memory[i]);
        double loss = loss_of(p, true);
        if (i == 0) {
            first = loss;
            memcpy(gradient, p->gradient, sizeof gradient);
        }
        CHECK(loss == first && memcmp(gradient, p->gradient, sizeof gradient) == 0);
    }
}

static void set_up(struct problem *p, const struct objective_settings *settings)
{
    struct models *f = &p->models;
    const struct arch *a = model_weights_arch(f->base);
    const struct task_vector_source v = {f, true, read_range};
    struct error e;
    p->merged = merged_model_new(f->base, &v, EXPERTS, DTYPE_NONE);
    p->teachers = teacher_outputs_new(
        &(const struct teacher_outputs_inputs){.arch = a,
                                               .experts = EXPERTS,
                                               .samples = samples,
                                               .n = SAMPLES,
                                               .hidden_states = settings->hidden_states,
                                               .memory = 1 << 20});
    for (size_t k = 0; k < EXPERTS; k++)
        CHECK(!teacher_outputs_run_expert(p->teachers, k, model_weights_arch(f->experts[k]),
                                          model_weights_weight_source(f->experts[k]), NULL, &e));
    for (enum weight_kind kind = 0; kind < WEIGHT_TEXT_END; kind++)
        for (size_t i = 0; i < EXPERTS * CHUNKS; i++)
            p->alpha[kind][i] = 0.2 + 0.1 * (double)((kind + i) % 5);
    for (enum weight_kind kind = 0; kind < WEIGHT_TEXT_END; kind++)
        if (weight_kind_elements(a, kind) && (kind != WEIGHT_LM_HEAD || !a->tied_embeddings))
            merged_model_set_coefficients(p->merged, kind, 1, CHUNKS, p->alpha[kind],
                                          p->gradient[kind]);
    p->objective = create_objective(p, settings, 1 << 20);
}

static void check_objective(const struct models *f, bool relative, double temperature, bool entropy)
{
    static const double weights[EXPERTS] = {1, 1.5};
    bool compared = !entropy, hidden[64] = {compared, compared, compared};
    struct problem p = {.models = *f};
    const struct objective_settings settings = {.temperature = temperature,
                                                .hidden_weight = 2,
                                                .logit_weight = 0.5,
                                                .task_weights = weights,
                                                .hidden_states = hidden,
                                                .n_hidden_states = 3,
                                                .skip_first = 1,
                                                .entropy = entropy,
                                                .relative = relative};
    set_up(&p, &settings);
    check_gradient(&p);
    check_saved_activations(&p, &settings);
    objective_free(p.objective);
    teacher_outputs_free(p.teachers);
    merged_model_free(p.merged);
}

static struct model_weights *model(const char *architecture, const char *name)
{
    char path[5000];
    struct error e = {0};
    snprintf(path, sizeof path, "%s/models/grad/%s/%s", golden, architecture, name);
    struct model_weights *b = model_weights_open(path, NULL, NULL, "test_calibrate", &e);
    if (!b)
        fprintf(stderr, "%s\n", e.text);
    CHECK(b != NULL);
    return b;
}

static void check_architecture(const char *name)
{
    struct models f = {model(name, "base"), {model(name, "expert1"), model(name, "expert2")}};
    if (f.base && f.experts[0] && f.experts[1]) {
        check_objective(&f, false, 1, false);
        check_objective(&f, true, 2, false);
        check_objective(&f, false, 1, true);
        check_objective(&f, false, 2, true);
    }
    model_weights_close(f.base);
    for (size_t k = 0; k < EXPERTS; k++)
        model_weights_close(f.experts[k]);
}

int main(int argc, char **argv)
{
    golden_find(argv[0]);
    parallel_set_threads(2);
    check_schedule();
    check_steps();
    check_clip();
    check_ranges();
    check_sharing();
    check_allocation();
    check_presets();
    check_architecture("mistral");
    check_architecture("llama_bias");
    check_architecture("qwen2_tied");
    return unit_end();
}
