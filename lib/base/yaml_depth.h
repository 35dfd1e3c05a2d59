/* The nesting depth of lists and maps in a YAML document. It is limited, as the size of a
 * configuration is, because libyaml's time grows with the square of the depth. */
#ifndef TV_YAML_DEPTH_H
#define TV_YAML_DEPTH_H

#include <stdbool.h>
#include <yaml.h>

#define YAML_DEPTH_MAX 40
#define YAML_SIZE_MAX  ((size_t)16 << 20) /* bytes of a configuration */

/* Adds what an event begins or ends to *depth, 0 before the first. False: it is too deep. */
bool yaml_depth_follow(const yaml_event_t *event, int *depth);

#endif
