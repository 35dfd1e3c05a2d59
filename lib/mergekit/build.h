/* A pipeline in the making: what those share who add to it. A build lives in the arena of its
 * recipe. */
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

/* --OPTION=VALUE, unless the value is NULL; --dtype, unless it is DTYPE_NONE. */
void build_option(struct command *to, const char *option, const char *value, struct arena *a);
void build_dtype(struct command *to, enum dtype dtype, struct arena *a);

#endif
