/* A merge configuration translated to a pipeline of filters, together with the other information
 * that a merge needs. config_to_pipeline.h creates it, in an arena to which it belongs. */
#ifndef TV_TRANSLATED_CONFIG_H
#define TV_TRANSLATED_CONFIG_H

#include "merge_config.h"
#include "name_index.h"
#include "pipeline.h"

#include <stdint.h>

/* Options of the command line that supplement the configuration. */
struct translation_options {
    uint64_t seed;
    bool bug_compatible; /* reproduce mergekit's bug in breadcrumbs */
    bool paper;          /* follow the papers where mergekit differs from them */
    bool no_tokenizer, force;
    bool other_bpe;     /* accept the union of vocabularies of different BPEs */
    bool resolve_cache; /* models in the cache become the paths of their snapshots */
    const char
        *like; /* model whose metadata a .gguf file gets; NULL: the base's or first model's */
    enum dtype dtype; /* of the result, as for pack; DTYPE_NONE: as configured */
    const char *missing, *embed, *mismatch; /* options of the sources; NULL: not given */
    size_t n_only;
    const char **only;         /* globs of the tensors to merge; none: all */
    uint64_t shard_parameters; /* maximum per file; 0: not given */
};

/* A required parameter whose filters may not match every tensor. They are checked against the
 * tensors that the first commands of the pipeline read. */
struct coverage_check {
    const struct pipeline *pipeline;
    size_t n_source_commands;
    const char *model; /* its name in the stream */
    const char *parameter;
    size_t line; /* of the configuration */
    size_t n_filters;
    const char **filters;
};

/* A pipeline SOURCE | weigh | JOIN, where JOIN may divide by the sum of the weights of a tensor,
 * and the weights may cancel out. */
struct mean_check {
    const struct pipeline *pipeline;
    size_t n_source_commands;
    bool divides_by_default; /* JOIN without --normalize */
    size_t line;             /* of the configuration */
};

/* The result of a document that other documents use as a model. */
struct document_result {
    const struct merge_config *config;
    const char *name;                 /* of this model in streams */
    enum dtype dtype;                 /* of a checkpoint of it; DTYPE_NONE: not known */
    struct pipeline pipeline;         /* outputs its weights */
    struct pipeline rounded_pipeline; /* the same, rounded to `dtype`; empty if it is not needed */
    size_t uses;
    const char *stand_in; /* a file (result_stand_in.h); NULL: none */
    int stand_in_fd;
};

struct translated_config {
    const char *config_path;           /* for messages */
    struct pipeline pipeline;          /* the whole pipeline */
    const struct merge_config *config; /* the document that makes the final result */
    const char *metadata_model;  /* path of the model whose config.json and tokenizer are copied */
    const char *tokenizer_model; /* path of the one whose tokenizer is configured; NULL */
    size_t n_models;
    const char **models; /* paths of all models on disk */
    size_t model_capacity;
    struct name_index model_index;
    size_t n_coverage_checks;
    struct coverage_check *coverage_checks;
    size_t coverage_check_capacity;
    size_t n_mean_checks;
    struct mean_check *mean_checks;
    size_t mean_check_capacity;
    size_t n_results;
    struct document_result **results; /* in an order in which they can be computed */
    size_t result_capacity;
};

void translated_config_add_coverage_check(struct translated_config *m,
                                          const struct coverage_check *c, struct arena *a);
void translated_config_add_mean_check(struct translated_config *m, const struct mean_check *c,
                                      struct arena *a);
void translated_config_add_result(struct translated_config *m, struct document_result *result,
                                  struct arena *a);

/* A result with several uses is computed once, beforehand: the first function returns the pipeline
 * that writes it to the .safetensors file `path`, the second replaces the result in all pipelines
 * by a file. The file may have a different path by then. */
struct pipeline *translated_config_pipeline_to_file(const struct document_result *result,
                                                    const char *path, struct arena *a);
void translated_config_replace_result(struct translated_config *m,
                                      const struct document_result *result, const char *path,
                                      struct arena *a);

#endif
