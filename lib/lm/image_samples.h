/* The images of samples: which tensors of a container (samples.h) they are, and that they fit their
 * model and the places that their sample has for them. */
#ifndef TV_IMAGE_SAMPLES_H
#define TV_IMAGE_SAMPLES_H

#include "arch.h"
#include "mem.h"
#include "sample.h"

#include <jansson.h>

struct image_samples {
    const struct arch *arch;
    const struct model_source *pixels; /* the tensors; NULL: there are none */
    struct image_list *pictures;       /* that new ones join */
    struct arena *arena;               /* of what samples point to */
};

/* Reads `images` and `image_token_id` of a sample whose ids are known. */
int image_samples_read(const struct image_samples *c, struct sample *s, const json_t *object,
                       struct error *e);

#endif
