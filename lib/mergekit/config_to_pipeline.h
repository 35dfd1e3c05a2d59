/* What a merge configuration means: a pipeline of filters. A recipe lives in the arena that it was
 * made in. */
#ifndef TV_CONFIG_TO_PIPELINE_H
#define TV_CONFIG_TO_PIPELINE_H

#include "merge_config.h"
#include "pipeline.h"

#include <stdint.h>

/* What the user wants besides the configuration. */
struct merge_pipeline_options {
    uint64_t seed;
    bool bug_compatible; /* breadcrumbs with floor(gamma n) = 0 as mergekit does it */
    bool paper;          /* where papers and mergekit differ: as the papers */
    bool no_tokenizer, force;
    const char *missing, *embed, *mismatch; /* for the sources; NULL: differences are errors */
    size_t n_only;
    const char **only;         /* globs of the tensors that are wanted; none: all */
    uint64_t shard_parameters; /* 0: not said */
};

/* A weight that is required and that not every tensor's name is given by the configuration. */
struct coverage_check {
    const struct pipeline *pipeline; /* which begins with the source that puts the tensors out */
    const char *model;               /* its name in the stream */
    const char *parameter;
    size_t line_number;
    size_t n_filters;
    const char **filters;
};

/* What a document makes that others use as a model. */
struct document_result {
    const struct merge_config *config;
    const char *name;         /* of the model that it is */
    enum dtype dtype;         /* in which it would stand in its file; DTYPE_NONE: as it comes */
    struct pipeline pipeline; /* a stream of its weights */
    struct pipeline rounded_pipeline; /* the same, rounded to `dtype`, if someone needs it so */
    size_t uses;
};

struct merge_pipeline {
    const char *config_path;           /* of the configuration, for messages */
    struct pipeline pipeline;          /* the whole pipeline */
    const struct merge_config *config; /* of the result */
    enum dtype dtype;                  /* of the result where the configuration says one */
    const char *metadata_model;        /* the path of the model that lends config and tokenizer */
    const char *tokenizer_model; /* the path of the model whose tokenizer was asked for; NULL */
    size_t n_models;
    const char **models; /* paths of all models on disk that take part */
    size_t n_coverage_checks;
    struct coverage_check *coverage_checks;
    size_t n_results; /* each behind those that it uses */
    struct document_result **results;
};

/* `tool` begins warnings on standard error. */
int config_to_pipeline(struct merge_pipeline *r, const struct merge_config_file *f, const char *out,
                       const struct merge_pipeline_options *o, const char *tool, struct arena *a,
                       struct error *e);

/* A result that is used more than once is better made once, beforehand: its line, which writes the
 * .safetensors file `path`; and from then on the file in all the recipe's lines, by a path that
 * need not be the same. */
struct pipeline *merge_pipeline_save_result(const struct document_result *result, const char *path,
                                            struct arena *a);
void merge_pipeline_replace_result(struct merge_pipeline *r, const struct document_result *result,
                                   const char *path, struct arena *a);

#endif
