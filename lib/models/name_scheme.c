#include "name_scheme.h"

#include "tensor_name.h"

#include <stdio.h>
#include <string.h>

/* In the order of NAME_SCHEME_CHOICES. */
enum { TEXT, QWEN, QWEN_MEMORY, QWEN_BARE, QWEN_NESTED, INTERN, INTERN_HF, INTERN_MEMORY, LAYOUTS };

/* How names begin: '#' is a layer's number. What follows is the same everywhere. The first row that
 * fits counts. */
struct beginning {
    const char *plain;
    const char *spelled[LAYOUTS]; /* NULL: there is none */
};

#define QWEN_VISION(name)                                                                          \
    [QWEN] = "visual." name, [QWEN_MEMORY] = "model.visual." name, [QWEN_BARE] = "visual." name,   \
    [QWEN_NESTED] = "visual." name
#define INTERN_VISION(own, hf) [INTERN] = own, [INTERN_HF] = hf, [INTERN_MEMORY] = "model." hf
#define OWN_LAYER              "vision_model.encoder.layers.#."
#define HF_LAYER               "vision_tower.encoder.layer.#."

static const struct beginning beginnings[] = {
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

#define BEGINNINGS (sizeof beginnings / sizeof *beginnings)

/* ---- names ----------------------------------------------------------------------------------- */

/* If `name` begins so: what follows, and the digits in it. NULL: it does not. */
static const char *behind(const char *name, const char *beginning, const char **digits, size_t *n)
{
    *digits = "";
    *n = 0;
    for (; *beginning; beginning++) {
        if (*beginning != '#') {
            if (*name++ != *beginning)
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

/* `beginning`, its number filled in, and `rest`. */
static bool compose(const char *beginning, const char *digits, size_t n, const char *rest, char *to)
{
    size_t head = strcspn(beginning, "#");
    const char *tail = beginning[head] ? beginning + head + 1 : "";
    n = beginning[head] ? n : 0;
    int length = snprintf(to, NAME_SCHEME_MAX_NAME, "%.*s%.*s%s%s", (int)head, beginning, (int)n,
                          digits, tail, rest);
    return length >= 0 && length < NAME_SCHEME_MAX_NAME;
}

bool name_scheme_to_canonical(const char *name, char *plain)
{
    const char *digits, *rest;
    size_t n;
    for (size_t i = 0; i < BEGINNINGS; i++)
        for (size_t l = 0; l < LAYOUTS; l++) {
            const char *spelled = beginnings[i].spelled[l];
            if (spelled && (rest = behind(name, spelled, &digits, &n)))
                return compose(beginnings[i].plain, digits, n, rest, plain);
        }
    return compose("", "", 0, name, plain);
}

bool name_scheme_from_canonical(size_t layout, const char *plain, char *name)
{
    const char *digits, *rest;
    size_t n;
    bool known = false;
    for (size_t i = 0; i < BEGINNINGS; i++)
        if ((rest = behind(plain, beginnings[i].plain, &digits, &n))) {
            known = true;
            if (beginnings[i].spelled[layout])
                return compose(beginnings[i].spelled[layout], digits, n, rest, name);
        }
    return !known && compose("", "", 0, plain, name);
}

/* ---- models ---------------------------------------------------------------------------------- */

static size_t count_of(const struct model_source *in, size_t layout)
{
    char plain[NAME_SCHEME_MAX_NAME], spelled[NAME_SCHEME_MAX_NAME];
    size_t n = 0;
    for (size_t i = 0; i < model_source_tensor_count(in); i++) {
        const char *name = model_source_tensor(in, i)->name;
        n += name_scheme_to_canonical(name, plain) &&
             name_scheme_from_canonical(layout, plain, spelled) && strcmp(name, spelled) == 0;
    }
    return n;
}

size_t name_scheme_detect(const struct model_source *in)
{
    size_t best = 0, most = count_of(in, 0);
    for (size_t l = 1; l < LAYOUTS; l++) {
        size_t n = count_of(in, l);
        best = n > most ? l : best;
        most = n > most ? n : most;
    }
    return best;
}

long name_scheme_find_tensor(const struct model_source *in, const char *plain)
{
    char name[NAME_SCHEME_MAX_NAME];
    long found = -1;
    for (size_t l = 0; l < LAYOUTS; l++) {
        long i =
            name_scheme_from_canonical(l, plain, name) ? model_source_find_tensor(in, name) : -1;
        if (i >= 0 && found >= 0 && i != found)
            return -1;
        found = i >= 0 ? i : found;
    }
    return found;
}

long name_scheme_find_tensor_or_tied(const struct model_source *in, const char *name)
{
    char plain[NAME_SCHEME_MAX_NAME];
    long i = model_source_find_tensor(in, name);
    if (i < 0 && name_scheme_to_canonical(name, plain))
        i = name_scheme_find_tensor(in, plain);
    return i < 0 && tensor_name_is_lm_head(name)
               ? name_scheme_find_tensor(in, "text.embed_tokens.weight")
               : i;
}

bool name_scheme_has_split_qkv(size_t layout)
{
    return layout == INTERN_HF || layout == INTERN_MEMORY;
}

enum name_scheme_qkv_kind name_scheme_qkv_kind(const char *plain)
{
    static const char *const split[] = {"q_proj.", "k_proj.", "v_proj."};
    const char *digits, *rest = behind(plain, "vision.layers.#.attn.", &digits, &(size_t){0});
    if (rest && strncmp(rest, "qkv.", 4) == 0)
        return NAME_SCHEME_FUSED_QKV;
    for (size_t i = 0; rest && i < 3; i++)
        if (strncmp(rest, split[i], strlen(split[i])) == 0)
            return NAME_SCHEME_SPLIT_QKV;
    return NAME_SCHEME_NOT_QKV;
}
