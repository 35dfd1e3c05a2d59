/* The header of a stream, from the process that reads it to those that only help it (ranks.h). */
#ifndef TV_RELAY_H
#define TV_RELAY_H

#include "header.h"

/* Number 0 sends, the others receive a header of their own; NULL on error. */
void relay_send(const struct header *h);
struct header *relay_receive(struct error *e);

#endif
