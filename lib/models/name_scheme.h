/* Naming schemes of vision-language checkpoints. Qwen2-VL and InternVL are saved under several sets
 * of tensor names: the authors' own, and those of libraries that rename the tensors in memory. A
 * canonical name stands for all of them:
 *
 *     text.layers.3.self_attn.q_proj.weight    head.weight
 *     vision.layers.3.attn.q_proj.weight       projector.in.weight
 *
 * A name that belongs to no scheme is its own canonical name. Schemes are numbered in the order of
 * NAME_SCHEME_CHOICES. */
#ifndef TV_NAME_SCHEME_H
#define TV_NAME_SCHEME_H

#include "model_source.h"

#define NAME_SCHEME_MAX_NAME 256 /* bytes of a buffer for a name; longer names are in no scheme */

/* All schemes, as the choices of an option (filter.h). */
#define NAME_SCHEME_CHOICES                                                                        \
    "text|qwen2vl|qwen2vl-memory|qwen2vl-bare|qwen2vl-vllm|internvl|internvl-hf|internvl-memory"
#define NAME_SCHEME_CHOICES_TEXT                                                                   \
    "text, qwen2vl, qwen2vl-memory, qwen2vl-bare, qwen2vl-vllm, internvl, internvl-hf or "         \
    "internvl-memory"

/* Writes the canonical name of a tensor named in any scheme. False: it is too long. */
bool name_scheme_to_canonical(const char *name, char *canonical);
/* Writes the name in a scheme. False: the scheme has no such tensor, or the name is too long. */
bool name_scheme_from_canonical(size_t scheme, const char *canonical, char *name);

/* The scheme of most of a model's tensors. */
size_t name_scheme_detect(const struct model_source *m);
/* The tensor with this canonical name; -1 if there is none or more than one. */
long name_scheme_find_tensor(const struct model_source *m, const char *canonical);
/* The tensor named `name` in any scheme; for a head that a tied model lacks, the token embedding,
 * unless config.json says that they are not tied. -1 if there is neither. */
long name_scheme_find_tensor_or_tied(const struct model_source *m, const char *name);

/* Does the scheme store q, k and v of a vision layer in three tensors? */
bool name_scheme_has_split_qkv(size_t scheme);
/* What a canonical name is: q, k and v of a vision layer in one tensor, one of the three, or
 * neither. */
enum name_scheme_qkv_kind { NAME_SCHEME_NOT_QKV, NAME_SCHEME_FUSED_QKV, NAME_SCHEME_SPLIT_QKV };
enum name_scheme_qkv_kind name_scheme_qkv_kind(const char *canonical);

#endif
