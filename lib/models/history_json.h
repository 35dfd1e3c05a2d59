/* The history of a model as JSON, as it is in the metadata of a checkpoint: a list of steps with
 * "tool", "version", "arguments", "fingerprints" (16 hexadecimal digits each) and "parents". */
#ifndef TV_HISTORY_JSON_H
#define TV_HISTORY_JSON_H

#include "header.h"

#define HISTORY_JSON_KEY "tvtools_history" /* in the metadata */

/* The history as compact JSON. The caller frees. */
char *history_json_print(const struct history *history);
/* Parses what history_json_print prints, and histories without fingerprints. What is parsed lives
 * in the arena. `file` begins the messages. Untrusted text: its time and memory are proportional to
 * its length. */
int history_json_parse(struct history *history, const char *file, const char *text, struct arena *a,
                       struct error *e);

#endif
