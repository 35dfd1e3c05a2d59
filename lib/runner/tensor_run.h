/* Runs the stages on one tensor. Each stage begins when all stages before it have decided; a stage
 * that asks to observe gets its rounds, each a pass over the blocks, before the next stage begins.
 * The last pass brings the blocks to the last stage.
 *
 * The source delivers the payload again for each pass if it can. If it is a one-pass source, the
 * first pass fills the tensor buffer and later passes read that; and while the last of them runs,
 * the next tensor is prefetched. */
#ifndef TV_TENSOR_RUN_H
#define TV_TENSOR_RUN_H

#include "runner_state.h"

/* Brings tensor `index` of the source to stage `last`: the sink, or a stage of scope model that has
 * a round over all tensors. */
int tensor_run_to_stage(struct runner *r, size_t index, size_t last, struct error *e);
/* The same in two parts: the rounds of the stages before `last`, and, whether they succeeded or
 * not, the rest, which ends the tensor. Several runners may be in the first part at once if their
 * source is not a one-pass source. */
int tensor_run_before_stage(struct runner *r, size_t index, size_t last, struct error *e);
int tensor_run_last_stage(struct runner *r, size_t last, bool ok, struct error *e);
/* For a tensor that the sink does not want: reads it if the source is a stream, and drops it. */
int tensor_run_skip_tensor(struct runner *r, size_t index, struct error *e);

#endif
