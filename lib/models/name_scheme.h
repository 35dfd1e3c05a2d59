/* What models that see call the same tensor: Qwen2-VL and InternVL are saved under several sets of
 * names, by their authors, and by libraries that renamed what they hold in memory. A plain name
 * stands for all of them:
 *
 *     text.layers.3.self_attn.q_proj.weight    head.weight
 *     vision.layers.3.attn.q_proj.weight       projector.in.weight
 *
 * Names that no layout knows are their own plain names. */
#ifndef TV_NAME_SCHEME_H
#define TV_NAME_SCHEME_H

#include "model_source.h"

#define NAME_SCHEME_MAX_NAME 256 /* bytes that hold any name here; longer ones are nobody's */

/* The layouts that there are, as choices of an option (filter.h). */
#define NAME_SCHEME_CHOICES                                                                        \
    "text|qwen2vl|qwen2vl-memory|qwen2vl-bare|qwen2vl-vllm|internvl|internvl-hf|internvl-memory"

/* The plain name of a tensor, whatever layout its name is of, into a buffer of NAME_SCHEME_MAX_NAME
 * bytes. False: it is too long for it. */
bool name_scheme_to_canonical(const char *name, char *plain);
/* What a layout calls it. False: it has no word for it. */
bool name_scheme_from_canonical(size_t layout, const char *plain, char *name);

/* The layout of most tensors of a model. */
size_t name_scheme_detect(const struct model_source *in);
/* The tensor of that plain name; -1: none, or there are several. */
long name_scheme_find_tensor(const struct model_source *in, const char *plain);

/* The tensor called `name` in whatever layout, or what stands for it: a head that a tied model
 * lacks is its embedding. -1 if there is neither. */
long name_scheme_find_tensor_or_tied(const struct model_source *in, const char *name);

/* Does a layout have q, k and v of a vision tower apart? */
bool name_scheme_has_split_qkv(size_t layout);
/* Is it a name of q, k and v in one tensor, or of one of the three in a vision tower? */
enum name_scheme_qkv_kind { NAME_SCHEME_NOT_QKV, NAME_SCHEME_FUSED_QKV, NAME_SCHEME_SPLIT_QKV };
enum name_scheme_qkv_kind name_scheme_qkv_kind(const char *plain);

#endif
