/* adapter_config.json up to a zero byte, then names of modules and tensors, one per line: ranks,
 * scales and trained tokens of each. */
#include "fuzz.h"
#include "adapter_config.h"

#include <math.h>

static void visit_module(const struct adapter_config *c, const char *module)
{
    size_t n;
    int64_t rank = adapter_config_rank(c, module);
    const int64_t *rows = adapter_config_token_indices(c, module, &n);
    for (size_t i = 0; i < n; i++)
        if (rows[i] < 0)
            abort();
    if (rank > 0 && isnan(adapter_config_scale(c, module)))
        abort();
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    size_t length = strnlen((const char *)bytes, size);
    uint8_t *config = fuzz_copy(bytes, length);
    char *names = fuzz_text(bytes + length, size - length), *rest = names + (length < size);
    struct adapter_config *c = adapter_config_parse("input", (const char *)config, length, &e);
    for (char *name = c ? strsep(&rest, "\n") : NULL; name; name = strsep(&rest, "\n"))
        visit_module(c, name);
    adapter_config_free(c);
    free(names);
    free(config);
}
