/* Refuses a target that --force would replace although it is, or contains, an input of the run.
 *
 * Files that this process has opened are recognized by device and inode. Where other processes read
 * the inputs, what the stream tells is compared with the target: the fingerprints of models, with
 * those of each weight file and of the whole, and the hashes of other files. */
#ifndef TV_INPUT_GUARD_H
#define TV_INPUT_GUARD_H

#include "header.h"

struct input_guard {
    const struct header *result; /* of the output; NULL: nothing is checked. Borrowed */
    bool reads_streams;          /* other processes read inputs */
    bool has_own_step;           /* the last step of the result's history is that of this process */
};

/* Adds a model that is about to be read: its file, or its folder and the files in it. */
void input_guard_add_model(const char *operand);
/* Call it when the inputs are open. An error if the target, or a file in it, is one that this
 * process has read. */
int input_guard_check_read_files(const char *target, struct error *e);
/* An error if the target, which is a checkpoint, may be what another process reads. */
int input_guard_check_content(const struct input_guard *g, const char *target, struct error *e);

#endif
