/* The images of samples: which tensors of a container (samples.h) they are, and that they fit their
 * model and the places that their sample has for them. */
#ifndef TV_CONTAINER_H
#define TV_CONTAINER_H

#include "sample.h"

#include <jansson.h>

/* Reads `images` and `image_token_id` of a sample whose ids are known; `pixels` has the tensors,
 * NULL: there are none. New ones join all->pictures. */
int container_read(struct samples *all, struct sample *s, const json_t *object,
                   const struct arch *a, const struct input *pixels, struct error *e);

#endif
