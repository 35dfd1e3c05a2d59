/* The images of samples: which tensors of a container (samples.h) they are, and that they fit their
 * model and the places that their sample has for them. */
#ifndef TV_CONTAINER_H
#define TV_CONTAINER_H

#include "arch.h"
#include "mem.h"
#include "sample.h"

#include <jansson.h>

struct container {
    const struct arch *arch;
    const struct input *pixels; /* the tensors; NULL: there are none */
    struct pictures *pictures;  /* that new ones join */
    struct arena *arena;        /* of what samples point to */
};

/* Reads `images` and `image_token_id` of a sample whose ids are known. */
int container_read(const struct container *c, struct sample *s, const json_t *object,
                   struct error *e);

#endif
