/* Reads the images of a sample: finds their tensors of pixel values and checks that they fit the
 * model and the sample's image tokens. */
#ifndef TV_SAMPLE_IMAGE_READER_H
#define TV_SAMPLE_IMAGE_READER_H

#include "arch.h"
#include "mem.h"
#include "sample.h"

#include <jansson.h>

/* What reading the images of one file needs. */
struct sample_image_reader {
    const struct arch *arch;
    const struct model_source *pixels; /* the tensors of pixel values; NULL: there are none */
    struct image_list *images;         /* new images are added to it */
    struct arena *arena;               /* of what samples point to */
};

/* Reads `images` and `image_token_id` of a sample whose ids are read. */
int sample_image_reader_read(const struct sample_image_reader *r, struct sample *s,
                             const json_t *object, struct error *e);

#endif
