/* One step of a recorded history, checked. A history comes from the model that is verified, so it
 * is untrusted: it may only name filters that compute payload, and options that change the result.
 * Options that name files, files of rules, and options such as --spool are refused, except that a
 * file may be named by its hash.
 *
 * What a recorded_step refers to belongs to the history and to the arena. */
#ifndef TV_RECORDED_STEP_H
#define TV_RECORDED_STEP_H

#include "filter.h"
#include "header.h"

/* Which inputs a step has besides the stream from the step before it. */
enum recorded_step_kind {
    RECORDED_STEP_FILTER,      /* none */
    RECORDED_STEP_MODELS,      /* unpack, tv-extract: models; it starts a chain */
    RECORDED_STEP_STREAMS,     /* join-streams, stack: streams; it starts a chain */
    RECORDED_STEP_ADD_BASE,    /* add-base: the base */
    RECORDED_STEP_CALIBRATION, /* calibrate: only its output is needed, the weights */
    RECORDED_STEP_PACK         /* pack: the base; it ends a chain */
};

struct recorded_step {
    const struct filter *filter;
    enum recorded_step_kind kind;
    size_t n_options, n_operands;
    const char **options;    /* "--NAME" or "--NAME=VALUE" */
    const char **operands;   /* of the models, without the option of pack; rules of other steps */
    const char *base_option; /* of pack: "base", "onto" or "like"; NULL: none */
    const char *base;        /* of pack: its value */
};

/* Checks step number `number` of a history. `filters`: all filters, ended by NULL. */
int recorded_step_read(struct recorded_step *s, const struct history_step *from, size_t number,
                       const struct filter *const *filters, struct arena *a, struct error *e);
/* The hash of a file that the option names, "--table=xxh3:...": of its contents, or, if `of_model`
 * is set, the fingerprint of a model's file: "--gram=math=xxh3:...". NULL if it names none; else
 * where the hash begins in the option. */
const char *recorded_step_option_hash(const struct recorded_step *s, const char *option,
                                      bool *of_model, uint64_t *hash);

#endif
