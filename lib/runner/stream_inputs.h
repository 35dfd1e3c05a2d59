/* Several streams as the inputs of one source: what join-streams and stack share. A streams owns
 * its readers until stream_inputs_close; what an input has at hand lives in the arena it was read
 * into.
 */
#ifndef TV_STREAM_INPUTS_H
#define TV_STREAM_INPUTS_H

#include "filter.h"
#include "reader.h"

struct stream_input {
    const char *path; /* the operand */
    int fd;
    struct reader *reader;
    size_t *joint_models;         /* where its models stand in the joint header */
    size_t n_read;                /* tensors whose headers have been read */
    struct tensor current_tensor; /* the last of them */
    size_t *vector_positions;     /* [vector of that tensor]: where it goes in the joint tensor */
    bool rewindable;
};

struct stream_inputs {
    size_t n;
    struct stream_input *inputs;
};

/* Opens the stage's operands ("-" is standard input), which must be of one kind and rounding. The
 * empty header gets those, and all models; a base that several streams name is one model, and so is
 * any model if `same_models`. The tensors are the caller's. */
int stream_inputs_open(struct stream_inputs *all, struct stage *s, struct header *h,
                       bool same_models, struct error *e);
const struct header *stream_inputs_header(const struct stream_inputs *all, size_t i);
/* A copy, in the arena, of tensor `index` in input i's manifest, of joint models. */
struct tensor stream_inputs_copy_tensor(const struct stream_inputs *all, size_t i, size_t index,
                                        struct arena *a);

/* Reads input i up to the header of its tensor `index`, which then is at hand, of joint models; its
 * vectors are placed from `first` on. Tensors before it that were not read are skipped. */
int stream_inputs_seek(struct stream_inputs *all, size_t i, size_t index, size_t first,
                       struct arena *a, struct error *e);
/* The vectors of the tensor at hand, with weights and attributes, to their places in `t`. */
void stream_inputs_copy_vectors(const struct stream_input *in, struct tensor *t);
/* And their elements of the next block. */
int stream_inputs_read_block(const struct stream_input *in, struct block *b, struct error *e);
/* For a filter's rewind. */
int stream_inputs_rewind(struct stream_inputs *all, struct stage *s, struct error *e);
/* Reads the streams to their ends if `ok`, and passes on the full hashes. */
int stream_inputs_close(struct stream_inputs *all, struct stage *s, bool ok, struct error *e);

#endif
