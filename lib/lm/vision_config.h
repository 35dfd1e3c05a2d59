/* What config.json says about a vision tower and its projector: vision_config, and what InternVL's
 * configs say beside it. Knows the keys of Qwen2-VL, of InternVL's own models (internvl_chat) and
 * of InternVL in transformers. */
#ifndef TV_VISION_CONFIG_H
#define TV_VISION_CONFIG_H

#include "arch.h"
#include "config_json.h"

/* `type`: the model_type; one that does not see has no tower. `hidden`: numbers of a token of the
 * decoder. */
int vision_config(struct vision_arch *v, const struct source *s, const char *type, size_t hidden,
                  struct error *e);

#endif
