/* The header of a stream, from the process that reads it to those that only help it (mpi.h). */
#ifndef TV_MPI_RELAY_H
#define TV_MPI_RELAY_H

#include "header.h"

/* Number 0 sends, the others receive a header of their own; NULL on error. */
void mpi_broadcast_header(const struct header *h);
struct header *mpi_receive_header(struct error *e);

#endif
