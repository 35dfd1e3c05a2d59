/* A mergekit configuration as it is published beside the merged model, in mergekit_config.yml. */
#ifndef TV_PUBLISHED_CONFIG_H
#define TV_PUBLISHED_CONFIG_H

#include "error.h"

/* The documents of the YAML file without comments, to be freed. A path of something on this machine
 * is replaced by its last component, because others do not have that folder. NULL on error. */
char *published_config_read(const char *path, struct error *e);

#endif
