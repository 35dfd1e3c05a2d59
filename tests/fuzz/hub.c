/* The local Hugging Face cache: a model's name, a zero byte, and refs/main of its folder. What is
 * found is a snapshot of that folder, or there is none. */
#include "fuzz.h"
#include "hf_cache.h"
#include "mem.h"

#include <ctype.h>

#define HUB "/no/hub"

/* The folder of the model. */
static const char *find_folder(const char *name, struct arena *a)
{
    const char *slash = strchr(name, '/');
    int n = slash ? (int)(slash - name) : 0;
    return slash ? arena_printf(a, HUB "/models--%.*s--%s", n, name, slash + 1)
                 : arena_printf(a, HUB "/models--%s", name);
}

/* The name of a file: not a path to another folder. */
static bool is_bare(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static void resolve(const char *name, const char *refs, size_t size, struct arena *a)
{
    struct error e;
    char *found, *revision = arena_copy_text_n(a, refs, size);
    for (size_t n = strlen(revision); n > 0 && isspace((unsigned char)revision[n - 1]);)
        revision[--n] = '\0';
    const char *folder = find_folder(name, a);
    const char *snapshot = arena_printf(a, "%s/snapshots/%s", folder, revision);
    fuzz_file(0, arena_printf(a, "%s/refs/main", folder), refs, size);
    fuzz_file(1, snapshot, "", 0);
    if (hf_cache_resolve_path(name, &found, &e) > 0 && strncmp(found, HUB, sizeof HUB - 1) == 0 &&
        (strcmp(found, snapshot) != 0 || !is_bare(revision) || !is_bare(folder + sizeof HUB))) {
        dprintf(fuzz_log, "%s\n", found);
        abort();
    }
    free(found);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct arena a = {0};
    char *text = fuzz_text(bytes, size);
    size_t n = strlen(text) + 1;
    setenv("HF_HUB_CACHE", HUB, 1);
    if (n <= size)
        resolve(text, text + n, size - n, &a);
    arena_free(&a);
    free(text);
}
