#include "weight_names.h"

#include "glob_pattern.h"

#include <string.h>

#define ENDING ".safetensors"

static const char *const stems[] = {WEIGHT_STEM_TRANSFORMERS, WEIGHT_STEM_DIFFUSERS};
#define STEMS (sizeof stems / sizeof *stems)

const char *weight_names_find_stem(const char *text)
{
    for (size_t i = 0; text && i < STEMS; i++)
        if (strcmp(text, stems[i]) == 0)
            return stems[i];
    return NULL;
}

const char *weight_names_of_shard(const char *stem, size_t i, size_t n, struct arena *a)
{
    return n == 1 ? arena_printf(a, "%s" ENDING, stem)
                  : arena_printf(a, "%s-%05zu-of-%05zu" ENDING, stem, i + 1, n);
}

const char *weight_names_of_index(const char *stem, struct arena *a)
{
    return arena_printf(a, "%s" ENDING ".index.json", stem);
}

/* The part of the name after its stem; NULL if it has none. */
static const char *skip_stem(const char *name)
{
    for (size_t i = 0; i < STEMS; i++)
        if (strncmp(name, stems[i], strlen(stems[i])) == 0)
            return name + strlen(stems[i]);
    return NULL;
}

bool weight_names_is_shard(const char *name)
{
    const char *rest = skip_stem(name);
    return rest &&
           (strcmp(rest, ENDING) == 0 || glob_pattern_matches("-????\?-of-????\?" ENDING, rest));
}
