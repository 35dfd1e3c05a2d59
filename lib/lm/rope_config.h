/* Reads RoPE's base and scaling from a decoder's config: rope_theta and rope_scaling (transformers
 * 4), or rope_parameters (5), which has both. */
#ifndef TV_ROPE_CONFIG_H
#define TV_ROPE_CONFIG_H

#include "arch.h"
#include "config_json.h"

#define ROPE_CONFIG_MAX_POSITIONS (1 << 30)

/* Sets a->rope; a->head_dim and a->max_positions are set. Dynamic scaling raises max_positions.
 * `theta`: the default of rope_theta; `mrope`: mrope_section is required. */
int rope_config_read(struct arch *a, const struct config_object *c, double theta, bool mrope,
                     struct error *e);

#endif
