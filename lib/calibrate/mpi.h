/* MPI: several processes that share one computation. OpenMPI's mpirun starts them, numbers them
 * from 0 (the rank), and connects rank 0 to its own standard input and output. Every process calls
 * the functions below in the same order. In a process that mpirun did not start they do nothing,
 * and libmpi is not loaded. The connection lives until mpi_close. */
#ifndef TV_MPI_H
#define TV_MPI_H

#include "error.h"
#include "header.h"

#include <stdint.h>
#include <stddef.h>

/* From mpirun's environment: 1 and 0 in a process that runs alone. */
size_t mpi_process_count(void);
size_t mpi_rank(void);

/* Loads libmpi and waits for the other processes. A second call does nothing. */
int mpi_open(struct error *e);
/* Waits until all processes are done, unless this one has failed (`ok` false) and the others have
 * not been notified: then its exit ends them. */
void mpi_close(bool ok);

/* Rank 0 prints the messages of all. Every other rank discards its standard error, and restores it
 * for an error that rank 0 cannot report. */
void mpi_mute_stderr(void);
void mpi_restore_stderr(void);

/* Copies `data` of rank 0 to all. */
void mpi_broadcast(void *data, size_t size);
/* x becomes the sum over all ranks, with the same bits in each. */
void mpi_sum_over_ranks(double *x, size_t n);
/* 0 if no rank has failed. Otherwise -1 in every rank, with the message of the first that failed;
 * rank 0 prints it. */
int mpi_any_failed(int failed, struct error *e);
/* An error in every rank unless `value` is the same as in rank 0. `what` names the value in the
 * message. */
int mpi_check_equal_on_all_ranks(uint64_t value, const char *what, struct error *e);

/* Rank 0 sends the header of its stream; the others receive a copy that they own, NULL on error. */
void mpi_broadcast_header(const struct header *h);
struct header *mpi_receive_header(struct error *e);

#endif
