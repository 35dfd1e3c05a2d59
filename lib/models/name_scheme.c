#include "name_scheme.h"

#include "model_config.h"
#include "tensor_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the order of NAME_SCHEME_CHOICES. */
enum { TEXT, QWEN, QWEN_MEMORY, QWEN_BARE, QWEN_NESTED, INTERN, INTERN_HF, INTERN_MEMORY, SCHEMES };

/* One prefix in every scheme; '#' stands for a layer number. What follows the prefix is the same in
 * all schemes. The first row that matches a name applies. */
struct prefix_row {
    const char *canonical;
    const char *in_scheme[SCHEMES]; /* NULL: the scheme has no such tensors */
};

#define QWEN_VISION(name)                                                                          \
    [QWEN] = "visual." name, [QWEN_MEMORY] = "model.visual." name, [QWEN_BARE] = "visual." name,   \
    [QWEN_NESTED] = "visual." name
#define INTERN_VISION(own, hf) [INTERN] = own, [INTERN_HF] = hf, [INTERN_MEMORY] = "model." hf
#define OWN_LAYER              "vision_model.encoder.layers.#."
#define HF_LAYER               "vision_tower.encoder.layer.#."

static const struct prefix_row prefixes[] = {
    {"head.",
     {[TEXT] = "lm_head.",
      [QWEN] = "lm_head.",
      [QWEN_MEMORY] = "lm_head.",
      [QWEN_BARE] = "lm_head.",
      [QWEN_NESTED] = "language_model.lm_head.",
      [INTERN] = "language_model.lm_head.",
      [INTERN_HF] = "language_model.lm_head.",
      [INTERN_MEMORY] = "lm_head."}},
    {"vision.layers.#.ls1", {INTERN_VISION(OWN_LAYER "ls1", HF_LAYER "lambda_1")}},
    {"vision.layers.#.ls2", {INTERN_VISION(OWN_LAYER "ls2", HF_LAYER "lambda_2")}},
    {"vision.layers.#.norm1.",
     {QWEN_VISION("blocks.#.norm1."),
      INTERN_VISION(OWN_LAYER "norm1.", HF_LAYER "layernorm_before.")}},
    {"vision.layers.#.norm2.",
     {QWEN_VISION("blocks.#.norm2."),
      INTERN_VISION(OWN_LAYER "norm2.", HF_LAYER "layernorm_after.")}},
    {"vision.layers.#.attn.proj.",
     {QWEN_VISION("blocks.#.attn.proj."),
      INTERN_VISION(OWN_LAYER "attn.proj.", HF_LAYER "attention.projection_layer.")}},
    {"vision.layers.#.attn.",
     {QWEN_VISION("blocks.#.attn."), INTERN_VISION(OWN_LAYER "attn.", HF_LAYER "attention.")}},
    {"vision.layers.#.", {QWEN_VISION("blocks.#."), INTERN_VISION(OWN_LAYER, HF_LAYER)}},
    {"vision.patch.",
     {QWEN_VISION("patch_embed.proj."),
      INTERN_VISION("vision_model.embeddings.patch_embedding.",
                    "vision_tower.embeddings.patch_embeddings.projection.")}},
    {"vision.class",
     {INTERN_VISION("vision_model.embeddings.class_embedding",
                    "vision_tower.embeddings.cls_token")}},
    {"vision.position",
     {INTERN_VISION("vision_model.embeddings.position_embedding",
                    "vision_tower.embeddings.position_embeddings")}},
    {"vision.norm.", {INTERN_VISION("vision_model.layernorm.", "vision_tower.layernorm.")}},
    {"projector.norm.",
     {QWEN_VISION("merger.ln_q."), INTERN_VISION("mlp1.0.", "multi_modal_projector.layer_norm.")}},
    {"projector.in.",
     {QWEN_VISION("merger.mlp.0."), INTERN_VISION("mlp1.1.", "multi_modal_projector.linear_1.")}},
    {"projector.out.",
     {QWEN_VISION("merger.mlp.2."), INTERN_VISION("mlp1.3.", "multi_modal_projector.linear_2.")}},
    {"vision.", {QWEN_VISION(""), INTERN_VISION("vision_model.", "vision_tower.")}},
    {"projector.", {INTERN_VISION("mlp1.", "multi_modal_projector.")}},
    {"text.",
     {[QWEN_MEMORY] = "model.language_model.",
      [QWEN_NESTED] = "language_model.model.",
      [INTERN] = "language_model.model.",
      [INTERN_HF] = "language_model.model.",
      [INTERN_MEMORY] = "model.language_model."}},
    {"text.", {[QWEN_BARE] = "language_model."}},
    {"text.", {[TEXT] = "model.", [QWEN] = "model."}},
};

#define PREFIXES (sizeof prefixes / sizeof *prefixes)

/* ---- names ----------------------------------------------------------------------------------- */

/* The rest of a name after a prefix, and the digits that '#' stands for; NULL if the name does not
 * have the prefix. */
static const char *match_prefix_pattern(const char *name, const char *prefix, const char **digits,
                                        size_t *n)
{
    *digits = "";
    *n = 0;
    for (; *prefix; prefix++) {
        if (*prefix != '#') {
            if (*name++ != *prefix)
                return NULL;
            continue;
        }
        *digits = name;
        *n = strspn(name, "0123456789");
        if (*n == 0)
            return NULL;
        name += *n;
    }
    return name;
}

/* Writes the prefix, with the digits for '#', and the rest. False: the name is too long. */
static bool compose_name(const char *prefix, const char *digits, size_t n, const char *rest,
                         char *to)
{
    size_t head = strcspn(prefix, "#");
    const char *tail = prefix[head] ? prefix + head + 1 : "";
    n = prefix[head] ? n : 0;
    int length = snprintf(to, NAME_SCHEME_MAX_NAME, "%.*s%.*s%s%s", (int)head, prefix, (int)n,
                          digits, tail, rest);
    return length >= 0 && length < NAME_SCHEME_MAX_NAME;
}

bool name_scheme_to_canonical(const char *name, char *canonical)
{
    const char *digits, *rest;
    size_t n;
    for (size_t i = 0; i < PREFIXES; i++)
        for (size_t s = 0; s < SCHEMES; s++) {
            const char *prefix = prefixes[i].in_scheme[s];
            if (prefix && (rest = match_prefix_pattern(name, prefix, &digits, &n)))
                return compose_name(prefixes[i].canonical, digits, n, rest, canonical);
        }
    return compose_name("", "", 0, name, canonical);
}

bool name_scheme_from_canonical(size_t scheme, const char *canonical, char *name)
{
    const char *digits, *rest;
    size_t n;
    bool known = false;
    for (size_t i = 0; i < PREFIXES; i++)
        if ((rest = match_prefix_pattern(canonical, prefixes[i].canonical, &digits, &n))) {
            known = true;
            if (prefixes[i].in_scheme[scheme])
                return compose_name(prefixes[i].in_scheme[scheme], digits, n, rest, name);
        }
    return !known && compose_name("", "", 0, canonical, name);
}

/* ---- models ---------------------------------------------------------------------------------- */

/* The number of tensors whose names are those of the scheme. */
static size_t count_names_in_scheme(const struct model_source *m, size_t scheme)
{
    char canonical[NAME_SCHEME_MAX_NAME], in_scheme[NAME_SCHEME_MAX_NAME];
    size_t n = 0;
    for (size_t i = 0; i < model_source_tensor_count(m); i++) {
        const char *name = model_source_tensor(m, i)->name;
        n += name_scheme_to_canonical(name, canonical) &&
             name_scheme_from_canonical(scheme, canonical, in_scheme) &&
             strcmp(name, in_scheme) == 0;
    }
    return n;
}

size_t name_scheme_detect(const struct model_source *m)
{
    size_t best = 0, most = count_names_in_scheme(m, 0);
    for (size_t s = 1; s < SCHEMES; s++) {
        size_t n = count_names_in_scheme(m, s);
        best = n > most ? s : best;
        most = n > most ? n : most;
    }
    return best;
}

long name_scheme_find_tensor(const struct model_source *m, const char *canonical)
{
    char name[NAME_SCHEME_MAX_NAME];
    long found = -1;
    for (size_t s = 0; s < SCHEMES; s++) {
        long i =
            name_scheme_from_canonical(s, canonical, name) ? model_source_find_tensor(m, name) : -1;
        if (i >= 0 && found >= 0 && i != found)
            return -1;
        found = i >= 0 ? i : found;
    }
    return found;
}

/* May the LM head be the token embedding? If no config.json denies it. */
static bool may_have_tied_head(const struct model_source *m)
{
    const struct ckpt *c = model_source_checkpoint(m);
    char *config = NULL;
    size_t size;
    struct error ignored;
    int found = c ? ckpt_read_auxiliary_file(c, "config.json", &config, &size, &ignored) : 0;
    bool denied = found > 0 && model_config_tied_embeddings(config, size) == TIED_EMBEDDINGS_NO;
    free(config);
    return found >= 0 && !denied;
}

long name_scheme_find_tensor_or_tied(const struct model_source *m, const char *name)
{
    char canonical[NAME_SCHEME_MAX_NAME];
    long i = model_source_find_tensor(m, name);
    if (i < 0 && name_scheme_to_canonical(name, canonical))
        i = name_scheme_find_tensor(m, canonical);
    return i < 0 && tensor_name_is_lm_head(name) && may_have_tied_head(m)
               ? name_scheme_find_tensor(m, "text.embed_tokens.weight")
               : i;
}

bool name_scheme_has_split_qkv(size_t scheme)
{
    return scheme == INTERN_HF || scheme == INTERN_MEMORY;
}

enum name_scheme_qkv_kind name_scheme_qkv_kind(const char *canonical)
{
    static const char *const split[] = {"q_proj.", "k_proj.", "v_proj."};
    const char *digits,
        *rest = match_prefix_pattern(canonical, "vision.layers.#.attn.", &digits, &(size_t){0});
    if (rest && strncmp(rest, "qkv.", 4) == 0)
        return NAME_SCHEME_FUSED_QKV;
    for (size_t i = 0; rest && i < 3; i++)
        if (strncmp(rest, split[i], strlen(split[i])) == 0)
            return NAME_SCHEME_SPLIT_QKV;
    return NAME_SCHEME_NOT_QKV;
}
