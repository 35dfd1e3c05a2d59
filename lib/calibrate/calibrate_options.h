/* The options of calibrate: their table, the presets that fill in what is not given, and the
 * checks of options that exclude each other. Texts and rules belong to the stage. */
#ifndef TV_CALIBRATE_OPTIONS_H
#define TV_CALIBRATE_OPTIONS_H

#include "adamw.h"
#include "base_and_experts.h"
#include "objective.h"

enum calibrate_preset { PRESET_BEST, PRESET_FAST, PRESET_PAPER };
enum regularizer { REGULARIZER_L1, REGULARIZER_L2 };
enum compared_positions { POSITIONS_RESPONSE, POSITIONS_ALL };
enum logit_loss { LOSS_TEACHER, LOSS_ENTROPY };
enum hidden_norm { HIDDEN_NORM_NONE, HIDDEN_NORM_TOKEN };
enum teacher_vision { TEACHER_VISION_OWN, TEACHER_VISION_BASE };
enum coefficient_granularity {
    COEFFICIENT_PER_TENSOR,
    COEFFICIENT_PER_LAYER,
    COEFFICIENT_PER_MODEL
};

struct calibrate_options {
    int preset;                             /* enum calibrate_preset */
    struct base_and_experts_options models; /* --base, --config, --onto, --expert */
    int teacher_vision; /* enum teacher_vision: whose vision tower teachers use */

    struct string_list samples, tasks; /* files; TASK=MODEL */
    uint64_t per_task, held_out;
    int positions; /* enum compared_positions */

    struct objective_settings objective;
    int loss; /* enum logit_loss */
    const char *hidden_layers;
    int hidden_norm; /* enum hidden_norm */
    struct tensor_rules task_weight;
    double gamma;    /* weight of the regularizer */
    int regularizer; /* enum regularizer */

    struct string_list keep_base, init;
    double default_init;     /* where --init gives no value */
    const char *start_table; /* may be NULL */
    double max;              /* --range: coefficients lie in (0, max) */
    int granularity;         /* enum coefficient_granularity: what shares a coefficient */

    struct adamw_settings adamw;
    uint64_t epochs, accumulation, patience;

    bool plus_plus; /* Expert Merging++ */
    double budget, kappa;
    uint64_t first_epochs; /* epochs of phase 1; 0: as many as `epochs` */

    const char *coefficients, *gradients, *log, *resume; /* files; may be NULL */
    bool dry_run;
};

/* Ended by a row without a name. */
extern const struct option_row calibrate_options_rows[];
/* For code that builds command lines of calibrate: a filter that has nothing but the table. */
extern const struct filter calibrate_options_filter;

/* Do the options fit together? */
int calibrate_options_check(const struct stage *s, struct error *e);
/* Fills in the options that were not given to the stage, which reads a stream with this header. */
void calibrate_options_apply_preset(struct stage *s, const struct header *h);

/* An error if this value of --hidden-layers suits no model. */
int calibrate_options_check_hidden_layers(const char *text, struct error *e);
/* Parses a checked --hidden-layers: "middle", "all", "none" or numbers with commas between them,
 * for a model of L layers. Sets selected[l], (L + 1) flags that are false, for each hidden state l
 * in S. */
int calibrate_options_parse_hidden_layers(const char *text, size_t L, bool *selected,
                                          struct error *e);

#endif
