/* The answer that tv verify prints, and the options by which its sinks are told what belongs in it.
 */
#ifndef TV_COMPARISON_ANSWER_H
#define TV_COMPARISON_ANSWER_H

#include "comparison_report.h"
#include "filter.h"
#include "recorded_merge.h"

#define COMPARISON_DIFFERENT 3 /* exit status of a run whose result differs */

struct comparison_answer {
    const char *other_version;
    bool json, carried_weights, other_kernels;
    struct string_list inputs, notes;
};

/* The option rows of a sink whose struct options holds them in `field`. */
#define COMPARISON_ANSWER_OPTION_ROWS(type, field)                                                 \
    {"json", OPTION_FLAG, offsetof(struct type, field.json), NULL,                                 \
     .help = "print the answer as lines of JSON"},                                                 \
        {"carried-weights", OPTION_FLAG, offsetof(struct type, field.carried_weights), NULL,       \
         .help = "the weights are those that the model carries"},                                  \
        {"other-kernels", OPTION_FLAG, offsetof(struct type, field.other_kernels), NULL,           \
         .help = "differences of rounding are allowed, because other matrix kernels were used"},   \
        {"input", OPTION_STRINGS, offsetof(struct type, field.inputs), "NAME",                     \
         .help = "an input, for the answer"},                                                      \
        {"note", OPTION_STRINGS, offsetof(struct type, field.notes), "SENTENCE",                   \
         .help = "what is not as it was in the merge, for the answer"},                            \
    {                                                                                              \
        "other-version", OPTION_STRING, offsetof(struct type, field.other_version), "SENTENCE",    \
            .help = "which version may explain a difference, for the answer"                       \
    }

/* Prints the answer, which frees the report, and sets the exit status of the sink. */
int comparison_answer_print(struct stage *s, struct comparison_answer *a,
                            struct comparison_report *r, const struct recorded_merge *merge,
                            struct error *e);

#endif
