#include "calibrate_options.h"

#include "coefficient_init.h"
#include "stage.h"
#include "vector_history.h"

#include <stdlib.h>
#include <string.h>

#define FIELD(f) offsetof(struct calibrate_options, f)
#define ABOVE_0                                                                                    \
    {                                                                                              \
        0, INFINITY, .low_open = true, .high_open = true                                           \
    }
#define FROM_0                                                                                     \
    {                                                                                              \
        0, INFINITY, .high_open = true                                                             \
    }
#define FROM_1                                                                                     \
    {                                                                                              \
        .low = 1, .high = INFINITY                                                                 \
    }
const struct option_row calibrate_options_rows[] = {
    {"base", OPTION_STRING, FIELD(models.base), "BASE",
     .help = "base model: the one that the task vectors were extracted against", .required = true,
     .not_in_history = true},
    {"samples", OPTION_STRINGS, FIELD(samples), "FILE",
     .help = "training samples of each expert's task: JSON Lines with input_ids, or a folder with "
             "images; may be repeated",
     .required = true, .not_in_history = true},
    {"task", OPTION_STRINGS, FIELD(tasks), "TASK=MODEL",
     .help = "TASK is the task of MODEL (default: the model of the same name); may be repeated"},
    {"expert", OPTION_STRINGS, FIELD(models.files), "[MODEL=]PATH",
     .help =
         "checkpoint to use as a model's teacher, instead of base + task vector; may be repeated",
     .not_in_history = true},
    {"teacher-vision", OPTION_CHOICE, FIELD(teacher_vision), "own|base",
     .help = "vision tower that the experts use: their own or the base's", .choices = "own|base",
     .default_value = "own"},
    {"config", OPTION_FILE, FIELD(models.config), "FILE",
     .help = "use this config.json instead of the base's"},
    {"onto", OPTION_FLAG, FIELD(models.accept_other_base), NULL,
     .help = "accept BASE although the task vectors were extracted against another model"},
    {"preset", OPTION_CHOICE, FIELD(preset), "best|fast|paper",
     .help = "defaults of the options below: those that merge best, fewer updates, or the "
             "published ones",
     .choices = "best|fast|paper", .default_value = "best"},
    {"per-task", OPTION_COUNT, FIELD(per_task), "N",
     .help = "use the first N samples of each task (16; paper 5)", .range = FROM_1},
    {"validate", OPTION_COUNT, FIELD(held_out), "N",
     .help =
         "hold out the last N of these, and keep the coefficients with the lowest loss on them"},
    {"epochs", OPTION_COUNT, FIELD(epochs), "N",
     .help = "passes over the samples (5; fast 1, with --plus-plus 2; paper 1)"},
    {"accumulation", OPTION_COUNT, FIELD(accumulation), "A",
     .help = "samples per update (8; fast 4)", .range = FROM_1},
    {"on", OPTION_CHOICE, FIELD(positions), "response|all",
     .help = "positions to compare: those that predict the response, or all (response; paper all)",
     .choices = "response|all"},
    {"loss", OPTION_CHOICE, FIELD(loss), "teacher|entropy",
     .help = "what the logit loss is: the distance to the experts' logits, or the entropy of the "
             "merged model's own, without teachers (AdaMerging)",
     .choices = "teacher|entropy", .default_value = "teacher"},
    {"hidden-layers", OPTION_STRING, FIELD(hidden_layers), "LIST",
     .help = "hidden states to compare: numbers such as 0,4,8, middle, all or none (middle; with "
             "--plus-plus all; paper middle)",
     .default_value = "middle"},
    {"hidden-weight", OPTION_NUMBER, FIELD(objective.hidden_weight), "W",
     .help = "weight of the hidden loss (1; with --plus-plus 5; paper 1; --loss entropy 0)",
     .range = FROM_0},
    {"hidden-norm", OPTION_CHOICE, FIELD(hidden_norm), "none|token",
     .help = "compare hidden states as they are, or relative to each token's norm",
     .choices = "none|token", .default_value = "none"},
    {"skip-first", OPTION_COUNT, FIELD(objective.skip_first), "N",
     .help = "ignore the first N tokens of a sample in the hidden loss (1; paper 0)"},
    {"logit-weight", OPTION_NUMBER, FIELD(objective.logit_weight), "W",
     .help = "weight of the logit loss (1)", .range = FROM_0},
    {"task-weight", OPTION_RULES, FIELD(task_weight), "RULE",
     .help = "weight of the samples: 2, or math=2 for one model (1); may be repeated",
     .range = FROM_0},
    {"temperature", OPTION_NUMBER, FIELD(objective.temperature), "T",
     .help = "temperature of the logit loss (1)", .range = ABOVE_0},
    {"gamma", OPTION_NUMBER, FIELD(gamma), "G", .help = "weight of the regularizer (0; paper 0.8)",
     .range = FROM_0},
    {"regularizer", OPTION_CHOICE, FIELD(regularizer), "l1|l2",
     .help = "penalize the absolute or the squared distance from the initial coefficients",
     .choices = "l1|l2", .default_value = "l1"},
    {"init", OPTION_STRINGS, FIELD(init), "RULE",
     .help = "initial coefficients: 0.5, math=0.3, stream (the weights in the stream), or auto "
             "(one for all, found by a search) (0.5; after swudi 1; paper 0.3); may be repeated"},
    {"start", OPTION_FILE, FIELD(start_table), "FILE",
     .help = "start from the coefficients of this table; the regularizer still refers to --init"},
    {"range", OPTION_NUMBER, FIELD(max), "MAX",
     .help = "coefficients lie between 0 and MAX (1; after swudi 2, paper 1)", .range = ABOVE_0,
     .default_value = "1"},
    {"per", OPTION_CHOICE, FIELD(granularity), "tensor|layer|model",
     .help = "learn one coefficient per tensor, per layer or for the whole model (tensor)",
     .choices = "tensor|layer|model", .default_value = "tensor"},
    {"keep-base", OPTION_STRINGS, FIELD(keep_base), "GLOB",
     .help = "tensors that keep the base's values (default: norms, biases, embedding and head; the "
             "vision tower always does); may be repeated"},
    {"lr", OPTION_NUMBER, FIELD(adamw.lr), "LR",
     .help = "learning rate (0.5; fast 0.3; with --plus-plus 0.2; paper 0.5)", .range = ABOVE_0},
    {"beta1", OPTION_NUMBER, FIELD(adamw.beta1), "B", .help = "of AdamW (0.9)",
     .range = {0, 1, .high_open = true}},
    {"beta2", OPTION_NUMBER, FIELD(adamw.beta2), "B", .help = "of AdamW (0.999)",
     .range = {0, 1, .high_open = true}},
    {"eps", OPTION_NUMBER, FIELD(adamw.eps), "E", .help = "of AdamW (1e-8)", .range = ABOVE_0},
    {"weight-decay", OPTION_NUMBER, FIELD(adamw.weight_decay), "D", .help = "of AdamW (1e-5)",
     .range = FROM_0},
    {"clip", OPTION_NUMBER, FIELD(adamw.clip), "C",
     .help = "clip gradients to this norm; 0: no clipping (1)", .range = FROM_0},
    {"eta-min", OPTION_NUMBER, FIELD(adamw.eta_min), "SHARE",
     .help = "lowest learning rate, as a fraction of --lr (0.1)", .range = {.low = 0, .high = 1}},
    {"t0", OPTION_COUNT, FIELD(adamw.t0), "N",
     .help = "length of the first cosine cycle, in updates (50)", .range = FROM_1},
    {"tmult", OPTION_COUNT, FIELD(adamw.tmult), "N",
     .help = "each cycle is N times as long as the one before (2)", .range = FROM_1},
    {"patience", OPTION_COUNT, FIELD(patience), "N",
     .help = "stop after N epochs without a lower loss; 0: never (0; paper 3)"},
    {"plus-plus", OPTION_FLAG, FIELD(plus_plus), NULL,
     .help = "Expert Merging++: train again, with several chunks for important tensors"},
    {"budget", OPTION_NUMBER, FIELD(budget), "B",
     .help = "chunks per tensor, on average (300; paper 1)", .range = ABOVE_0},
    {"first-epochs", OPTION_COUNT, FIELD(first_epochs), "N",
     .help = "epochs of the first of the two phases (1; paper: as --epochs)"},
    {"kappa", OPTION_NUMBER, FIELD(kappa), "K", .help = "exponent of the importance (0.5; paper 1)",
     .range = FROM_0},
    {"coefficients", OPTION_FILE, FIELD(coefficients), "FILE",
     .help = "write the coefficients as a table, for weigh --table", .writes_file = true,
     .not_in_history = true},
    {"log", OPTION_FILE, FIELD(log), "FILE",
     .help = "write a line of JSON per update, or with --dry-run one of the initial losses",
     .writes_file = true, .not_in_history = true},
    {"dry-run", OPTION_FLAG, FIELD(dry_run), NULL,
     .help = "output the initial coefficients without training"},
    {"gradients", OPTION_FILE, FIELD(gradients), "FILE",
     .help = "with --dry-run: write the initial losses and gradients as JSON", .writes_file = true,
     .not_in_history = true},
    {"resume", OPTION_FILE, FIELD(resume), "FILE",
     .help = "save the training state to FILE after each update, and continue from it",
     .writes_file = true, .not_in_history = true},
    {0}};

const struct filter calibrate_options_filter = {.name = "calibrate",
                                                .options_size = sizeof(struct calibrate_options),
                                                .options = calibrate_options_rows};

/* The value of an option that was not given, by preset: best, fast, paper. */
struct preset_value {
    const char *name;
    double values[3];
};
static const struct preset_value presets[] = {
    {"per-task", {16, 16, 5}},
    {"epochs", {5, 1, 1}},
    {"accumulation", {8, 4, 8}},
    {"hidden-weight", {1, 1, 1}},
    {"skip-first", {1, 1, 0}},
    {"logit-weight", {1, 1, 1}},
    {"temperature", {1, 1, 1}},
    {"gamma", {0, 0, 0.8}},
    {"lr", {0.5, 0.3, 0.5}},
    {"beta1", {0.9, 0.9, 0.9}},
    {"beta2", {0.999, 0.999, 0.999}},
    {"eps", {1e-8, 1e-8, 1e-8}},
    {"weight-decay", {1e-5, 1e-5, 1e-5}},
    {"clip", {1, 1, 1}},
    {"eta-min", {0.1, 0.1, 0.1}},
    {"t0", {50, 50, 50}},
    {"tmult", {2, 2, 2}},
    {"patience", {0, 0, 3}},
    {"budget", {300, 300, 1}},
    {"kappa", {0.5, 0.5, 1}},
    {"on", {POSITIONS_RESPONSE, POSITIONS_RESPONSE, POSITIONS_ALL}}};
/* Instead of these with --plus-plus, whose many coefficients take more comparisons to determine and
 * smaller steps. Phase 1 only finds the importance of the tensors. */
static const struct preset_value plus_plus_presets[] = {{"epochs", {5, 2, 1}},
                                                        {"first-epochs", {1, 1, 0}},
                                                        {"hidden-weight", {5, 5, 1}},
                                                        {"lr", {0.2, 0.2, 0.5}}};
static const double preset_init[] = {0.5, 0.5, 0.3};

/* ---- presets and checks ---------------------------------------------------------------------- */

static void set_preset_value(struct stage *s, const struct preset_value *p)
{
    struct calibrate_options *o = s->options;
    const struct option_row *row = &calibrate_options_rows[stage_option_position(s, p->name)];
    double value = p->values[o->preset];
    char *field = (char *)o + row->offset;
    if (stage_is_given(s, p->name))
        return;
    if (row->kind == OPTION_NUMBER)
        *(double *)field = value;
    else if (row->kind == OPTION_COUNT)
        *(uint64_t *)field = (uint64_t)value;
    else
        *(int *)field = (int)value;
}

static void set_preset_values(struct stage *s)
{
    const struct calibrate_options *o = s->options;
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        set_preset_value(s, &presets[i]);
    for (size_t i = 0; o->plus_plus && i < sizeof plus_plus_presets / sizeof *plus_plus_presets;
         i++)
        set_preset_value(s, &plus_plus_presets[i]);
}

#define MAX_AFTER_SWUDI 2

/* The sum of the vectors that swudi writes is a merge already, so the coefficients start at 1 and
 * may grow. */
static void choose_init_and_range(struct stage *s, const struct header *h)
{
    struct calibrate_options *o = s->options;
    bool cleaned = o->preset != PRESET_PAPER && vector_history_has_step(&h->history, "swudi");
    if (cleaned && !stage_is_given(s, "range"))
        o->max = MAX_AFTER_SWUDI;
    o->default_init = cleaned && o->max > 1 ? 1 : preset_init[o->preset];
}

void calibrate_options_apply_preset(struct stage *s, const struct header *h)
{
    struct calibrate_options *o = s->options;
    set_preset_values(s);
    o->objective.entropy = o->loss == LOSS_ENTROPY;
    if (o->objective.entropy && !stage_is_given(s, "hidden-weight"))
        o->objective.hidden_weight = 0;
    if (o->plus_plus && o->preset != PRESET_PAPER && o->objective.hidden_weight > 0 &&
        !stage_is_given(s, "hidden-layers"))
        o->hidden_layers = "all";
    o->models.need_teachers = !o->objective.entropy || o->objective.hidden_weight > 0;
    choose_init_and_range(s, h);
    o->objective.relative = o->hidden_norm == HIDDEN_NORM_TOKEN;
}

/* The largest --range that the stream may give. */
static double find_largest_range(const struct stage *s)
{
    const struct calibrate_options *o = s->options;
    return stage_is_given(s, "range") || o->preset == PRESET_PAPER ? o->max : MAX_AFTER_SWUDI;
}

int calibrate_options_check(const struct stage *s, struct error *e)
{
    const struct calibrate_options *o = s->options;
    if (o->plus_plus && o->granularity != COEFFICIENT_PER_TENSOR)
        return error_set(e, "--plus-plus divides tensors into chunks, so it needs --per tensor");
    if (o->gradients && !o->dry_run)
        return error_set(e, "--gradients needs --dry-run");
    if (o->dry_run && o->resume)
        return error_set(e, "--resume and --dry-run cannot be combined");
    return calibrate_options_check_hidden_layers(o->hidden_layers, e) ||
                   coefficient_init_check(&o->init, find_largest_range(s), e)
               ? -1
               : 0;
}

/* ---- --hidden-layers ------------------------------------------------------------------------- */

static bool is_layer_list(const char *text)
{
    for (;; text++) {
        size_t digits = strspn(text, "0123456789");
        text += digits;
        if (digits == 0 || *text != ',')
            return digits > 0 && !*text;
    }
}

int calibrate_options_check_hidden_layers(const char *text, struct error *e)
{
    if (strcmp(text, "none") == 0 || strcmp(text, "middle") == 0 || strcmp(text, "all") == 0 ||
        is_layer_list(text))
        return 0;
    return error_set(e,
                     "--hidden-layers: expected middle, all, none or a list of numbers such as "
                     "0,4,8, found \"%s\"",
                     text);
}

/* Numbers from 0 to L. */
static int parse_layer_list(const char *text, size_t L, bool *selected, struct error *e)
{
    for (const char *at = text;; at++) {
        char *end;
        unsigned long l = strtoul(at, &end, 10);
        if (l > L)
            return error_set(e, "--hidden-layers: expected numbers from 0 to %zu, found \"%s\"", L,
                             text);
        selected[l] = true;
        at = end;
        if (!*at)
            return 0;
    }
}

int calibrate_options_parse_hidden_layers(const char *text, size_t L, bool *selected,
                                          struct error *e)
{
    if (strcmp(text, "none") == 0)
        return 0;
    if (strcmp(text, "middle") == 0)
        selected[L / 2] = true;
    else if (strcmp(text, "all") == 0)
        memset(selected + 1, true, L * sizeof *selected); /* the output of every layer */
    else
        return parse_layer_list(text, L, selected, e);
    return 0;
}
