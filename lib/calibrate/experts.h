/* Who takes part in a calibration: the base, and the models of which the stream has task vectors,
 * each perhaps with a file of its own. An experts owns its models until experts_close; names are
 * the header's, which is borrowed. */
#ifndef TV_EXPERTS_H
#define TV_EXPERTS_H

#include "model_weights.h"

struct experts {
    struct model_weights *base;
    size_t n;
    size_t *models;               /* [expert]: its index in the header */
    const char **names;           /* [expert] */
    struct model_weights **files; /* [expert]: NULL: base + vector stands for it */
};

struct experts_options {
    const char *base, *config; /* as for model_weights_open */
    bool onto;                 /* another base than the stream's is meant */
    struct string_list files;  /* as for model_source_open: PATH or MODEL=PATH */
};

/* Refuses models of other sizes than the base's. */
int experts_open(struct experts *x, const struct experts_options *o, const struct stage *s,
                 const struct header *h, struct error *e);
void experts_close(struct experts *x);

/* The expert whose name the n letters are; -1: none. */
long experts_find_by_name(const struct experts *x, const char *name, size_t n);

/* Is every vector the difference of an expert's file and the base? So it is if tv-extract alone
 * made the stream, of these very files and without options that change numbers. */
bool experts_match_stream(const struct experts *x, const struct header *h);

#endif
