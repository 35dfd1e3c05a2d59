/* The header of a stream: its kind, models, tensors (the manifest) and history. A header owns
 * everything it points to (in one arena) until header_free. */
#ifndef TV_HEADER_H
#define TV_HEADER_H

#include "name_index.h"
#include "tensor.h"

enum stream_kind { KIND_WEIGHTS = 1, KIND_TASK_VECTORS = 2, KIND_ACTIVATIONS = 4 };

/* A model that has vectors in the stream, or the base of its task vectors. */
struct model {
    const char *name; /* unique in a header */
    const char *role; /* "base", "expert", "merged"; NULL: unknown */
    bool has_fingerprint;
    uint64_t fingerprint;
    const char *hub, *commit; /* org/name on the Hugging Face Hub and its commit; NULL: unknown */
    const char *quantization; /* format of its quantized weights, and their error; NULL: none */
    struct unknown_keys unknown_keys;
};

/* One step of the history. */
struct history_step {
    const char *tool, *version;
    size_t n_arguments;
    const char **arguments; /* words of a command line: the options that change the result */
    size_t n_fingerprints;  /* of the models that the arguments name, in order; 0: one is unknown */
    const uint64_t *fingerprints;
    const char *blas; /* what computed its matrices: library, version, kernels; NULL: none */
    /* The histories of several inputs, or of the models that the arguments name: empty for a
     * checkpoint. 0: the only input is the step before, or only checkpoints are read. */
    size_t n_parents;
    struct history *parents;
    struct unknown_keys unknown_keys;
};

struct history {
    size_t n;
    struct history_step *steps;
};

struct header {
    enum stream_kind kind;
    enum dtype input_rounding; /* the sources rounded their inputs to it; DTYPE_NONE: no rounding */
    size_t n_models;
    struct model *models;
    size_t n_tensors;
    struct tensor *tensors;
    struct history history;
    struct unknown_keys unknown_keys;
    size_t model_capacity;
    struct name_index model_index; /* complete if it has as many models as the header */
    struct arena arena;
};

/* "weights", "task-vectors", "activations" */
const char *stream_kind_name(enum stream_kind kind);

struct header *header_new(void);
struct header *header_copy(const struct header *from);
void header_free(struct header *h);

/* Appends a model and returns its index; -1 if a model has that name or the name is not UTF-8.
 * Copies `name`, borrows `role`. */
long header_add_model(struct header *h, const char *name, const char *role, struct error *e);
/* Makes header_find_model fast, where `models` was set. */
void header_index_models(struct header *h);
/* Index of the model with that name; -1 if there is none. */
long header_find_model(const struct header *h, const char *name);
/* Removes the tensors i with keep[i] == false from the manifest. */
void header_keep_tensors(struct header *h, const bool *keep);
/* Appends a step to the history. Copies `tool` and `arguments`. */
struct history_step *header_add_history_step(struct header *h, const char *tool, size_t n_arguments,
                                             const char *const *arguments);

#endif
