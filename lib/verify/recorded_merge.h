/* The record of a merge in the metadata of the merged model: its history, and the models and
 * weights that it used. The metadata are untrusted.
 *
 * The history lives in the arena that it was read into; a recorded_merge owns its JSON values until
 * recorded_merge_free. */
#ifndef TV_RECORDED_MERGE_H
#define TV_RECORDED_MERGE_H

#include "ckpt.h"
#include "header.h"

#include <jansson.h>

struct recorded_merge {
    struct history history;    /* at least one step */
    json_t *hashes;            /* {MODEL: full hash of what was read}; NULL: unknown */
    json_t *models;            /* {MODEL: {"hub": NAME, "commit": COMMIT, ...}}; NULL: unknown */
    json_t *weights;           /* used_weights.h; NULL: all were 1, or unknown */
    const char *contradiction; /* a sentence on a shard that records another merge; NULL: none */
};

/* An error if the model has no history. `file` is its name in messages. */
int recorded_merge_read(struct recorded_merge *m, const struct ckpt *c, const char *file,
                        struct arena *a, struct error *e);
void recorded_merge_free(struct recorded_merge *m);
/* The full hash of a model, 16 hexadecimal digits; NULL if it is unknown: missing or 0. */
const char *recorded_merge_hash(const struct recorded_merge *m, const char *model);
/* The fingerprint of a model; false if it is unknown: missing or 0. A step without fingerprints has
 * read some of its models as they arrived on standard input. */
bool recorded_merge_fingerprint(const struct recorded_merge *m, const char *model,
                                uint64_t *fingerprint);
/* Was the model read as it arrived on standard input? It has no fingerprint then. */
bool recorded_merge_was_piped(const struct recorded_merge *m, const char *model);

#endif
