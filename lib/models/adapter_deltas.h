/* What a LoRA adapter of peft adds to the tensors of its base model:
 *
 *     d = s B A         LoRA (Hu et al. 2021, arXiv 2106.09685, section 4.1), s = alpha / r
 *     d = w - b         a tensor that the adapter stores whole
 *     d = m V / |V| - b with V = b + s B A: DoRA (Liu et al. 2024, arXiv 2402.09353, equation 5)
 *
 * It is computed in F64 from the stored factors, in a fixed order, whenever elements are read. Only
 * whole tensors and DoRA need the base's elements.
 *
 * An adapter_deltas owns its files and decoded factors until adapter_deltas_close; it borrows the
 * base. After adapter_deltas_open several threads may use it at once. `i` is a tensor of the
 * base. */
#ifndef TV_ADAPTER_DELTAS_H
#define TV_ADAPTER_DELTAS_H

#include "adapter_base.h"
#include "error.h"

#include <stdint.h>

struct adapter_deltas;
struct ckpt;

/* Takes over `adapter`, an adapter's checkpoint (ckpt_is_adapter), also on error; `path` names it
 * in messages. Every tensor of the adapter must fit the base. What the user should know is printed
 * to standard error under the name `tool`. NULL on error. */
struct adapter_deltas *adapter_deltas_open(struct ckpt *adapter, const char *path,
                                           const struct adapter_base *base, const char *tool,
                                           struct error *e);
void adapter_deltas_close(struct adapter_deltas *d);
/* An error if a file of the adapter has changed since it was opened. */
int adapter_deltas_check_unchanged(const struct adapter_deltas *d, struct error *e);

/* Does the adapter change the tensor? */
bool adapter_deltas_change(const struct adapter_deltas *d, size_t i);
/* n elements of the delta of a tensor that is changed, from flat index `first` on, rounded once to
 * F32; and of the sum of the base and the delta. */
void adapter_deltas_read(const struct adapter_deltas *d, size_t i, size_t first, size_t n,
                         float *to);
void adapter_deltas_read_sum(const struct adapter_deltas *d, size_t i, size_t first, size_t n,
                             double *to);

/* The adapter itself. */
const struct ckpt *adapter_deltas_checkpoint(const struct adapter_deltas *d);
/* XXH3-64 of what determines the delta of a tensor besides the base. */
uint64_t adapter_deltas_hash(const struct adapter_deltas *d, size_t i);

#endif
