#include "settings.h"

#include "calibrate_options.h"

#include <string.h>

#define FIELD(f) offsetof(struct settings, f)
#define ABOVE_0                                                                                    \
    {                                                                                              \
        0, INFINITY, .low_open = true, .high_open = true                                           \
    }
#define FROM_0                                                                                     \
    {                                                                                              \
        0, INFINITY, .high_open = true                                                             \
    }
const struct option_row settings_rows[] = {
    {"base", OPTION_STRING, FIELD(what.operands.base), "BASE",
     .help = "the model that the vectors are added to", .required = true, .not_in_history = true},
    {"samples", OPTION_STRINGS, FIELD(what.samples), "FILE",
     .help = "samples as JSON Lines with input_ids, or a folder of them with images, of every "
             "expert's task; may be repeated",
     .required = true, .not_in_history = true},
    {"task", OPTION_STRINGS, FIELD(what.tasks), "TASK=MODEL",
     .help = "the samples of TASK belong to MODEL (default: the model of that name); may be "
             "repeated"},
    {"expert", OPTION_STRINGS, FIELD(what.operands.files), "[MODEL=]PATH",
     .help = "a model's own file, to learn from in place of base + vector; may be repeated",
     .not_in_history = true},
    {"teacher-vision", OPTION_CHOICE, FIELD(what.teacher_vision), "own|base",
     .help = "whose vision tower the experts see images with", .choices = "own|base",
     .default_value = "own"},
    {"config", OPTION_FILE, FIELD(what.operands.config), "FILE",
     .help = "a config.json in place of the base's own"},
    {"onto", OPTION_FLAG, FIELD(what.operands.onto), NULL,
     .help = "BASE is meant, though the task vectors were made against another model"},
    {"preset", OPTION_CHOICE, FIELD(preset), "best|paper",
     .help = "defaults for all below: those that merge best, or the published ones",
     .choices = "best|paper", .default_value = "best"},
    {"per-task", OPTION_COUNT, FIELD(what.per_task), "N",
     .help = "take the first N samples of each task (16; paper 5)"},
    {"validate", OPTION_COUNT, FIELD(what.held_out), "N",
     .help = "hold the last N samples of each task out; keep what is best for them"},
    {"epochs", OPTION_COUNT, FIELD(epochs), "N", .help = "pass all samples N times (5; paper 1)"},
    {"accumulation", OPTION_COUNT, FIELD(accumulation), "A", .help = "samples per update (8)"},
    {"on", OPTION_CHOICE, FIELD(on), "response|all",
     .help = "positions that count: those that foretell the response, or all (response; paper all)",
     .choices = "response|all"},
    {"hidden-layers", OPTION_STRING, FIELD(what.hidden_layers), "LIST",
     .help = "hidden states to compare: numbers such as 0,4,8, middle, all or none (middle)",
     .default_value = "middle"},
    {"hidden-weight", OPTION_NUMBER, FIELD(what.objective.hidden_weight), "W",
     .help = "weight of the hidden states (1)", .range = FROM_0},
    {"hidden-norm", OPTION_CHOICE, FIELD(hidden_norm), "none|token",
     .help = "compare hidden states as they are, or relative to the length of each token's",
     .choices = "none|token", .default_value = "none"},
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
     .default_value = "l1"},
    {"init", OPTION_STRINGS, FIELD(what.init), "RULE",
     .help =
         "coefficients to start from: 0.5, math=0.3, stream (the weights that come), or auto (a "
         "search over one for all) (0.5; paper 0.3); may be repeated"},
    {"start", OPTION_FILE, FIELD(what.start), "FILE",
     .help = "start from the coefficients of this table; the regulariser still holds to --init"},
    {"range", OPTION_NUMBER, FIELD(what.max), "MAX",
     .help = "coefficients lie between 0 and MAX (1)", .range = ABOVE_0, .default_value = "1"},
    {"per", OPTION_CHOICE, FIELD(what.per), "tensor|layer|model",
     .help = "what shares one coefficient (tensor)", .choices = "tensor|layer|model",
     .default_value = "tensor"},
    {"keep-base", OPTION_STRINGS, FIELD(what.keep_base), "GLOB",
     .help = "tensors that stay the base's (default: norms, biases, embeddings and head, and "
             "always the vision tower); may be repeated"},
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
     .help = "write a table of them, for weigh --table", .not_in_history = true},
    {"log", OPTION_FILE, FIELD(log), "FILE",
     .help = "write a line of JSON for each update, or with --dry-run for the start",
     .not_in_history = true},
    {"dry-run", OPTION_FLAG, FIELD(dry_run), NULL, .help = "learn nothing, put out the start"},
    {"gradients", OPTION_FILE, FIELD(gradients), "FILE",
     .help = "with --dry-run: write losses and gradients at the start, as JSON",
     .not_in_history = true},
    {"resume", OPTION_FILE, FIELD(resume), "FILE",
     .help = "note there where learning stands, and go on from there", .not_in_history = true},
    {0}};

const struct filter calibrate_options_filter = {
    .name = "calibrate", .options_size = sizeof(struct settings), .options = settings_rows};

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

/* ---- what was not given ---------------------------------------------------------------------- */

static const struct option_row *row_named(const char *name, size_t *index)
{
    for (*index = 0; settings_rows[*index].name; (*index)++)
        if (strcmp(settings_rows[*index].name, name) == 0)
            break;
    return &settings_rows[*index];
}

static void take_preset(struct stage *s)
{
    struct settings *o = s->options;
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

static int check_options(const struct settings *o, struct error *e)
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

int settings_complete(struct stage *s, struct error *e)
{
    struct settings *o = s->options;
    take_preset(s);
    o->what.otherwise = preset_init[o->preset];
    o->what.published_names = o->preset == PRESET_PAPER;
    o->what.responses = o->on == ON_RESPONSE;
    o->what.objective.relative = o->hidden_norm == NORM_TOKEN;
    return check_options(o, e);
}
