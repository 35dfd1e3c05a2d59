/* Translates a configuration of mergekit-moe to a pipeline:
 *
 *     stack --disjoint
 *         <(unpack BASE | pick --drop '*.mlp.*')
 *         <(unpack EXPERT | pick '*.mlp.*' | tv-rename ...)       for each expert
 *         <(moe-router <(forward BASE --tokens ...) ...)
 *     | pack --like BASE --moe=mixtral OUT
 *
 * The tensors have the names that the architecture has on the Hub, where each expert has tensors of
 * its own. */
#ifndef TV_MIXTURE_TO_PIPELINE_H
#define TV_MIXTURE_TO_PIPELINE_H

#include "mixture_config.h"
#include "pipeline.h"

struct mixture_options {
    uint64_t seed; /* of noise and random routers */
    bool force, no_tokenizer;
    const char *shard_size;    /* for pack; NULL: the default */
    uint64_t shard_parameters; /* the same as a number of parameters; 0: not given */
    const char *spool;         /* for model_source_open */
    const char *tool;          /* the command, for notes and warnings */
};

/* Opens the models to check that they fit, and builds the pipeline in the arena. */
int mixture_to_pipeline(struct pipeline *p, const struct mixture_config *c, const char *out,
                        const struct mixture_options *o, struct arena *a, struct error *e);

#endif
