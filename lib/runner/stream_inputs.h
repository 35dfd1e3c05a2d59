/* Several streams as the inputs of one source (join-streams, stack), whose models make up one joint
 * header. The inputs own their readers until stream_inputs_close; an input's current tensor lives
 * in the arena that it was read into. */
#ifndef TV_STREAM_INPUTS_H
#define TV_STREAM_INPUTS_H

#include "filter.h"
#include "reader.h"

struct stream_input {
    const char *path; /* the operand */
    int fd;
    struct reader *reader;
    size_t *joint_models;         /* [model]: its index in the joint header */
    size_t n_read;                /* tensors whose headers have been read */
    struct tensor current_tensor; /* the last of them */
    size_t *vector_positions;     /* [vector of that tensor]: its position in the joint tensor */
    bool is_rewindable;
};

struct stream_inputs {
    size_t n;
    struct stream_input *inputs;
};

/* Opens the stage's operands ("-" is standard input), which must agree in kind and rounding. The
 * empty header gets those and all models: a base that several streams name becomes one model, and
 * so does any model if `same_models`. The caller fills in the tensors. */
int stream_inputs_open(struct stream_inputs *all, struct stage *s, struct header *h,
                       bool same_models, struct error *e);
const struct header *stream_inputs_header(const struct stream_inputs *all, size_t i);
/* A copy, in the arena, of tensor `index` of input i's manifest, with joint models. */
struct tensor stream_inputs_copy_tensor(const struct stream_inputs *all, size_t i, size_t index,
                                        struct arena *a);

/* Reads input i up to the header of its tensor `index`, which becomes the current tensor; tensors
 * before it that were not read are skipped. Its vectors get positions from `first` on. */
int stream_inputs_seek_tensor(struct stream_inputs *all, size_t i, size_t index, size_t first,
                              struct arena *a, struct error *e);
/* Copies the vectors of the current tensor, with weights and attributes, to their positions in `t`.
 */
void stream_inputs_copy_vectors(const struct stream_input *in, struct tensor *t);
/* Reads the next block of the current tensor into the vectors at those positions. */
int stream_inputs_read_block(const struct stream_input *in, struct block *b, struct error *e);
/* Rewinds all inputs, or makes them rewindable before the first pass: for the source's rewind. */
int stream_inputs_rewind(struct stream_inputs *all, struct stage *s, struct error *e);
/* With `ok`, reads the streams to their ends and adds their models' full hashes to the run. */
int stream_inputs_close(struct stream_inputs *all, struct stage *s, bool ok, struct error *e);

#endif
