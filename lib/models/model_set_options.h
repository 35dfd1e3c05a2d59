/* The options of filters that read several models side by side (unpack, tv-extract): what to do
 * where the models differ, and which layers to read. */
#ifndef TV_MODEL_SET_OPTIONS_H
#define TV_MODEL_SET_OPTIONS_H

#include "filter.h"
#include "vocabulary_option.h"

/* -1 for a choice that was not given: models that differ are an error. */
struct model_set_options {
    enum dtype rounding;  /* --dtype: every input is rounded to this dtype on reading */
    int missing;          /* --missing: MODEL_SET_MISSING_... */
    int embed;            /* --embed: MODEL_SET_EMBED_... */
    int mismatch;         /* --mismatch: 0 for drop */
    const char *stack;    /* --stack: the layer stack of ranges; NULL: the text model's */
    uint64_t first_layer; /* --first-layer, if it was given */
    bool unchanged;       /* --unchanged: also tensors that no adapter changes */
    int outside;          /* --outside: MODEL_SET_OUTSIDE_...; -1: all tensors outside the layers */
    const char *vocabulary; /* --vocabulary: vocabulary_request.h; NULL: rows stay where they are */
};
enum { MODEL_SET_MISSING_BASE, MODEL_SET_MISSING_SKIP };
enum { MODEL_SET_EMBED_TRUNCATE, MODEL_SET_EMBED_BASE };
enum { MODEL_SET_OUTSIDE_FIRST, MODEL_SET_OUTSIDE_NONE, MODEL_SET_OUTSIDE_LAST };

/* The option rows of a filter whose struct options holds them in `field`. */
#define MODEL_SET_OPTION_ROWS(type, field)                                                         \
    {"dtype", OPTION_DTYPE, offsetof(struct type, field.rounding), "DTYPE",                        \
     .help = "round every input to DTYPE on reading (mergekit's dtype)"},                          \
        {"missing",                                                                                \
         OPTION_CHOICE,                                                                            \
         offsetof(struct type, field.missing),                                                     \
         "base|skip",                                                                              \
         .help = "if a model lacks a tensor: use the first model's, or omit that model's vector",  \
         .choices = "base|skip"},                                                                  \
        {"embed",                                                                                  \
         OPTION_CHOICE,                                                                            \
         offsetof(struct type, field.embed),                                                       \
         "truncate|base",                                                                          \
         .help = "if embeddings or LM heads differ in size: truncate them to the common rows and " \
                 "columns, or use the first model's",                                              \
         .choices = "truncate|base"},                                                              \
        {"mismatch",                                                                               \
         OPTION_CHOICE,                                                                            \
         offsetof(struct type, field.mismatch),                                                    \
         "drop",                                                                                   \
         .help = "if another tensor differs in shape: omit that model's vector",                   \
         .choices = "drop"},                                                                       \
        {"outside",                                                                                \
         OPTION_CHOICE,                                                                            \
         offsetof(struct type, field.outside),                                                     \
         "first|none|last",                                                                        \
         .help = "which tensors outside the layers to read: those that stack takes from its "      \
                 "first stream, none, or those that it takes from its last (default: all)",        \
         .choices = "first|none|last"},                                                            \
        {"first-layer",                                                                            \
         OPTION_COUNT,                                                                             \
         offsetof(struct type, field.first_layer),                                                 \
         "N",                                                                                      \
         .help = "number the layers from N on",                                                    \
         .range = {.high = 999999}},                                                               \
        VOCABULARY_OPTION_ROW(type, field.vocabulary,                                              \
                              "move the rows of embeddings and LM heads to this vocabulary"),      \
    {                                                                                              \
        "stack", OPTION_STRING, offsetof(struct type, field.stack), "PREFIX",                      \
            .help = "the layer stack of MODEL[from:to], given by the prefix of its tensor names, " \
                    "such as model.visual.blocks (default: the text model's)"                      \
    }

#endif
