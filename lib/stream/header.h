/* What a stream says about itself before any payload: models, tensors, history.
 * A header owns everything it points to (one arena) until header_free. */
#ifndef TV_HEADER_H
#define TV_HEADER_H

#include "tensor.h"

enum stream_kind { KIND_WEIGHTS = 1, KIND_TASK_VECTORS = 2, KIND_ACTIVATIONS = 4 };

struct model {
    const char *name; /* unique in a header */
    const char *role; /* "base", "expert", "merged"; NULL: nothing was said */
    bool has_fingerprint;
    uint64_t fingerprint;
    struct unknown_keys unknown_keys;
};

/* One step of the recipe. */
struct history_step {
    const char *tool, *version;
    size_t n_arguments;
    const char **arguments; /* what changes the result, spelled as a command line */
    size_t n_parents;       /* a step with several inputs holds their histories */
    struct history *parents;
    struct unknown_keys unknown_keys;
};

struct history {
    size_t n;
    struct history_step *steps;
};

struct header {
    enum stream_kind kind;
    enum dtype
        input_rounding; /* to which the sources rounded their inputs; DTYPE_NONE: they did not */
    size_t n_models;
    struct model *models;
    size_t n_tensors;
    struct tensor *tensors;
    struct history history;
    struct unknown_keys unknown_keys;
    struct arena arena;
};

const char *stream_kind_name(enum stream_kind kind);

struct header *header_new(void);
struct header *header_copy(const struct header *from);
void header_free(struct header *h);

/* Appends a model and returns its index, or -1 if the name is taken. */
long header_add_model(struct header *h, const char *name, const char *role, struct error *e);
/* Index of the model of that name; -1 if there is none. */
long header_find_model(const struct header *h, const char *name);
/* Drops tensors, of which `keep` is false, from the manifest. */
void header_filter_tensors(struct header *h, const bool *keep);
/* Appends a step to the history. `arguments` are copied. */
struct history_step *header_add_step(struct header *h, const char *tool, size_t n_arguments,
                                     const char *const *arguments);

#endif
