#include "yaml_depth.h"

bool yaml_depth_follow(const yaml_event_t *event, int *depth)
{
    yaml_event_type_t type = event->type;
    *depth += type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT;
    *depth -= type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT;
    return *depth <= YAML_DEPTH_MAX;
}
