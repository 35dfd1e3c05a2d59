/* Processes that compute one thing together: OpenMPI's mpirun starts them, numbers them from 0, and
 * connects number 0 to its own standard input and output. Each calls the functions below in the
 * same order. A process that mpirun did not start is alone: then they do nothing, and MPI's library
 * is not looked for. What is known of the connection lives until mpi_close. */
#ifndef TV_MPI_H
#define TV_MPI_H

#include "error.h"

#include <stdint.h>
#include <stddef.h>

/* How many there are, and which one this is: 1 and 0 for a process that is alone. */
size_t mpi_process_count(void);
size_t mpi_rank(void);

/* Connects to the others, and waits for them; nothing to do the second time. */
int mpi_open(struct error *e);
/* Waits until all are done, unless this one has failed without the others knowing: then its exit
 * ends them. */
void mpi_close(bool ok);

/* Number 0 speaks for all: what another one prints on standard error is not to be seen, until it
 * has to say itself why it ends. */
void mpi_mute_stderr(void);
void mpi_restore_stderr(void);

/* What number 0 has in `data`, all have. */
void mpi_broadcast(void *data, size_t size);
/* The sum over all, the same to the last bit in each. */
void mpi_sum_over_ranks(double *x, size_t n);
/* Has any failed? Then all fail, with the sentence of the first that did; number 0 tells it. */
int mpi_any_failed(int failed, struct error *e);
/* An error unless `value` is what number 0 has; `what` names it in the sentence. */
int mpi_check_equal(uint64_t value, const char *what, struct error *e);

#endif
