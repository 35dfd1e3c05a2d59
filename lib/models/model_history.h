/* The history of a model, from its own file: that of a saved stream, or that in the metadata of a
 * checkpoint. What is read lives in the caller's arena. */
#ifndef TV_MODEL_HISTORY_H
#define TV_MODEL_HISTORY_H

#include "model_source.h"

/* 1: read into the arena; 0: the model has none, or is in the history of a result without its own
 * (model_source_brings_history); -1: error. */
int model_history_read_if_brought(const struct model_source *m, struct history *history,
                                  struct arena *a, struct error *e);

#endif
