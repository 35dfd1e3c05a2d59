/* A pipeline in the making: what the parts of recipe.c share. Knows configurations and methods. A
 * build lives in the arena of its recipe. */
#ifndef TV_BUILD_H
#define TV_BUILD_H

#include "method.h"
#include "party.h"
#include "recipe.h"

/* The making of one document's pipeline. */
struct build {
    const struct config_file *file;
    const struct config *c;
    const struct recipe_options *o;
    const struct method *method;
    const char *tool;
    struct parties parties;
    struct recipe *r;
    const struct build *outer; /* of the document that uses this one's result; NULL */
    struct arena *a;
    struct error *e;
};

/* A model in one slice; `source` is NULL for a base that is not listed. */
struct member {
    const struct party *party;
    const struct config_source *source;
};

/* One slice: the base, where it counts apart, and the models. */
struct section {
    struct build *b;
    const struct config_slice *slice;
    const struct party *base;
    const struct config_source *base_source;
    size_t n;
    struct member *members;
    long first_layer;    /* of its layers in the result; -1: the slice is the whole model */
    const char *outside; /* what it lends outside its layers, for its source; NULL: all */
    struct line *line;
};

/* An error of the configuration at a line; always -1. And a warning on standard error. */
int build_refuse(const struct build *b, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void build_warn(const struct build *b, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A model's name or a filter as a pattern that matches it alone; the first character is no sign of
 * an option or file. */
const char *build_glob(const char *name, struct arena *a);

/* Begins with a document: who takes part in it. And all its slices as one stream of weights. */
int build_start(struct build *b, const struct config *c);
int build_weights(struct build *b, struct line *line);
/* --OPTION=VALUE, unless the value is NULL; --dtype, unless it is DTYPE_NONE. */
void build_option(struct command *to, const char *option, const char *value, struct arena *a);
void build_dtype(struct command *to, enum dtype dtype, struct arena *a);

/* A stream of the weights that a document makes, as its file would be unless whoever reads it
 * rounds it; NULL on error. */
struct line *result_line(const struct build *outer, const struct party *party);
/* The model on disk that lends config and tokenizer; NULL if the documents use each other in a
 * circle. What the document says of the dtype, and in what its result would stand in its file. */
const char *result_lender(const struct build *b, const struct config *c);
enum dtype result_said_dtype(const struct config *c);
enum dtype result_dtype(const struct build *b, const struct config *c);

/* From task vectors or weights of the models of a part to their merge: adds the method's filters to
 * the part's line. */
int steps_add(const struct section *p);

/* The same for methods that learn the weights: calibrate and combine. And are these parameters, of
 * a model or of more, options that calibrate has, with values that it takes? */
int calibrated_steps(const struct section *p);
int calibrated_check(const struct build *b, const struct settings *s, bool of_model);
bool calibrated_is_parameter(const char *name);

#endif
