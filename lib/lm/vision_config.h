/* Reads the vision tower and projector of a vision-language model from config.json: vision_config,
 * and its sibling keys. Supported are Qwen2-VL, InternVL's own models (internvl_chat), and InternVL
 * in transformers (internvl). */
#ifndef TV_VISION_CONFIG_H
#define TV_VISION_CONFIG_H

#include "arch.h"
#include "config_json.h"

/* Sets a->vision for the vision-language model that `model_type` names; a->hidden is set. */
int vision_config_read(struct arch *a, const struct config_object *c, const char *model_type,
                       struct error *e);

#endif
