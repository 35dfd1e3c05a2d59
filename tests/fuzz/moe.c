/* A configuration of mergekit-moe, a zero byte, and the token ids of its prompts as JSON: what is
 * read fits together. */
#include "fuzz.h"
#include "mixture_config.h"

static void check_prompts(const struct prompt_list *prompts)
{
    for (size_t i = 0; i < prompts->n; i++)
        if (!prompts->ids[i] || strspn(prompts->ids[i], "0123456789,") != strlen(prompts->ids[i]) ||
            !*prompts->ids[i])
            abort();
}

static void check_experts(const struct mixture_expert *experts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check_prompts(&experts[i].positive);
        check_prompts(&experts[i].negative);
        if (!experts[i].model || !*experts[i].model || !(experts[i].noise_scale >= 0))
            abort();
    }
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct arena a = {0};
    struct mixture_config c;
    const uint8_t *zero = size ? memchr(bytes, 0, size) : NULL;
    size_t n = zero ? (size_t)(zero - bytes) : size;
    const char *config = fuzz_file(0, "config", bytes, n);
    const char *prompts = zero ? fuzz_file(1, "prompts", zero + 1, size - n - 1) : NULL;
    if (mixture_config_read(&c, config, prompts, "fuzz", &a, &e) == 0) {
        check_experts(c.experts, c.n_experts);
        check_experts(c.shared, c.n_shared);
        if (c.experts_per_token < 1 || c.experts_per_token > c.n_experts || !c.base)
            abort();
    }
    arena_free(&a);
}
