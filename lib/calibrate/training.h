/* Training of the coefficients: updates, epochs, validation, early stopping. Every process of an
 * MPI run (mpi.h) does the same; rank 0 alone writes the log and the saved state. A struct training
 * borrows the calibration, which has been prepared, and the log with its
 * log_error. */
#ifndef TV_TRAINING_H
#define TV_TRAINING_H

#include "calibration.h"
#include "training_state.h"

struct training {
    struct calibration *calibration;
    FILE *log;      /* may be NULL */
    int *log_error; /* is set to the errno of a write to the log that failed */
    uint64_t key;   /* training_state_compute_key */
};

/* Trains chunks[j] coefficients per learned tensor j and expert (0: frozen), from their initial
 * values, or from the saved state if that is of this phase. Phase 0 is Expert Merging; 1 and 2 are
 * the phases of Expert Merging++. */
int training_run_phase(const struct training *t, int phase, const size_t *chunks,
                       const struct saved_training_state *saved, struct error *e);

/* Reads the state of an interrupted run from the file of --resume; empty without such a file. All
 * processes must find the same. */
int training_load_state(const struct training *t, struct saved_training_state *saved,
                        struct error *e);

#endif
