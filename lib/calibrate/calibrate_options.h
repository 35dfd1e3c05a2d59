/* The options of calibrate, for whoever makes command lines of it: a filter that is only their
 * table. */
#ifndef TV_CALIBRATE_OPTIONS_H
#define TV_CALIBRATE_OPTIONS_H

#include "filter.h"

extern const struct filter calibrate_options_filter;

#endif
