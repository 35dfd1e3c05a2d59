/* What calibrate can be told: the table of its options, two sets of defaults, and what does not go
 * together. Texts and rules in a settings belong to the stage. */
#ifndef TV_SETTINGS_H
#define TV_SETTINGS_H

#include "calibration.h"

enum { PRESET_BEST, PRESET_PAPER };
enum { REGULARIZER_L1, REGULARIZER_L2 };
enum { ON_RESPONSE, ON_ALL };
enum { NORM_NONE, NORM_TOKEN };

struct settings {
    struct calibration_options what;
    int preset, regularizer, on, hidden_norm;
    double gamma, budget, kappa;
    struct adamw_settings adamw;
    uint64_t epochs, first_epochs, patience, accumulation;
    bool plus_plus, dry_run;
    const char *coefficients, *gradients, *log, *resume;
};

extern const struct option_row settings_rows[];

/* Fills in what the stage was not told, and checks all of it. */
int settings_complete(struct stage *s, struct error *e);

#endif
