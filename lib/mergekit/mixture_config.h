/* A configuration of mergekit-moe (mergekit 0.1.5), read from YAML: a mixture of experts made of a
 * base and of other models' MLPs. Everything belongs to the arena that is passed to
 * mixture_config_read. */
#ifndef TV_MIXTURE_CONFIG_H
#define TV_MIXTURE_CONFIG_H

#include "dtype.h"
#include "moe_config.h"

/* How routers are made, in the order of MIXTURE_GATE_MODES. */
enum gate_mode { GATE_HIDDEN, GATE_HIDDEN_AVG, GATE_CHEAP_EMBED, GATE_RANDOM, GATE_UNIFORM_RANDOM };

/* Token ids as text, "1,17,4", for each prompt of a list. */
struct prompt_list {
    size_t n;
    const char **ids;
};

struct mixture_expert {
    size_t line;
    const char *model; /* as in the configuration */
    struct prompt_list positive, negative;
    double residual_scale, noise_scale; /* 1 and 0 if they are not given */
};

struct mixture_config {
    const char *path; /* for messages */
    size_t line;
    const char *base;
    enum gate_mode gate_mode;
    long architecture; /* enum moe_architecture; -1: to be chosen */
    enum dtype dtype;  /* DTYPE_NONE: the base's */
    size_t experts_per_token;
    size_t n_experts, n_shared;
    struct mixture_expert *experts, *shared;
};

/* The name of a gate mode in mergekit and moe-router. */
const char *mixture_config_gate_mode_name(enum gate_mode mode);
/* Are routers made without prompts? */
bool mixture_config_is_random(const struct mixture_config *c);
/* Reads the file `path`, or standard input if it is "-". Prompts are lists of token ids, or texts
 * whose ids the JSON object in the file `prompts` has: {"text": [1, 17, 4], ...}; NULL: there is
 * none. Checks everything that does not need the models. */
int mixture_config_read(struct mixture_config *c, const char *path, const char *prompts,
                        const char *tool, struct arena *a, struct error *e);
/* Is the file a configuration of mergekit-moe: a map with the key experts, and no merge_method?
 * False also if it cannot be read. */
bool mixture_config_is_mixture(const char *path);

#endif
