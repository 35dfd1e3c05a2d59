/* What models that see call the same tensor: Qwen2-VL and InternVL are saved under several sets of
 * names, by their authors, and by libraries that renamed what they hold in memory. A plain name
 * stands for all of them:
 *
 *     text.layers.3.self_attn.q_proj.weight    head.weight
 *     vision.layers.3.attn.q_proj.weight       projector.in.weight
 *
 * Names that no layout knows are their own plain names. */
#ifndef TV_LAYOUT_H
#define TV_LAYOUT_H

#include "input.h"

#define LAYOUT_NAME 256 /* bytes that hold any name here; longer ones are nobody's */

/* The layouts that there are, as choices of an option (filter.h). */
#define LAYOUT_CHOICES                                                                             \
    "text|qwen2vl|qwen2vl-memory|qwen2vl-bare|qwen2vl-vllm|internvl|internvl-hf|internvl-memory"

/* The plain name of a tensor, whatever layout its name is of, into a buffer of LAYOUT_NAME bytes.
 * False: it is too long for it. */
bool layout_plain(const char *name, char *plain);
/* What a layout calls it. False: it has no word for it. */
bool layout_spell(size_t layout, const char *plain, char *name);

/* The layout of most tensors of a model. */
size_t layout_of(const struct input *in);
/* The tensor of that plain name; -1: none, or there are several. */
long layout_find(const struct input *in, const char *plain);

/* The tensor called `name` in whatever layout, or what stands for it: a head that a tied model
 * lacks is its embedding. -1 if there is neither. */
long layout_find_tied(const struct input *in, const char *name);

/* Does a layout have q, k and v of a vision tower apart? */
bool layout_splits(size_t layout);
/* Is it a name of q, k and v in one tensor, or of one of the three in a vision tower? */
enum layout_qkv { LAYOUT_OTHER, LAYOUT_FUSED, LAYOUT_SPLIT };
enum layout_qkv layout_qkv(const char *plain);

#endif
