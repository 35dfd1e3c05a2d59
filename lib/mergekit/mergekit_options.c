#include "mergekit_options.h"

#include "printable.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void mergekit_options_print_ignored(const struct stage *s, size_t flag, size_t value)
{
    const struct option_row *rows = s->filter->options;
    const char *names = "";
    struct arena a = {0};
    size_t n = 0;
    for (size_t i = 0; rows[i].name; i++)
        if (s->given[i] && (rows[i].offset == flag || rows[i].offset == value))
            names = arena_printf(&a, "%s%s--%s", names, n++ ? ", " : "", rows[i].name);
    if (n)
        printable_note(s->filter->name, "%s ha%s no effect here", names, n == 1 ? "s" : "ve");
    arena_free(&a);
}

/* ---- short options --------------------------------------------------------------------------- */

/* -v, -vv, ... */
static bool is_verbose_flag(const char *word)
{
    return word[0] == '-' && word[1] == 'v' && strspn(word + 1, "v") == strlen(word + 1);
}

/* The long name of a short option that takes a value: -j4, -j 4; NULL. */
static const char *long_name_of_short_option(const char *word, const struct short_option *own)
{
    if (word[0] != '-')
        return NULL;
    for (; own && own->letter; own++)
        if (word[1] == own->letter)
            return own->name;
    return word[1] == 'j' ? "--num-threads" : NULL;
}

char **mergekit_options_expand_short(int *argc, char **argv, const struct short_option *own)
{
    char **words = mem_alloc((size_t)*argc * 2 + 1, sizeof *words);
    int n = 0;
    for (int i = 0; i < *argc; i++) {
        const char *name = i ? long_name_of_short_option(argv[i], own) : NULL;
        if (name) {
            words[n++] = (char *)name;
            if (argv[i][2])
                words[n++] = argv[i] + 2;
        } else {
            words[n++] = i && is_verbose_flag(argv[i]) ? (char *)"--verbose" : argv[i];
        }
    }
    *argc = n;
    return words;
}

void mergekit_options_use_cache(const char *folder)
{
    if (folder && setenv("HF_HUB_CACHE", folder, 1))
        mem_exit();
}

/* ---- sizes ----------------------------------------------------------------------------------- */

/* "5B": a number with K, M or B, powers of 1000, as mergekit writes sizes. */
int mergekit_options_parse_shard_size(const char *text, uint64_t *n, struct error *e)
{
    static const char units[] = "KMB";
    char *end = NULL;
    uint64_t scale = 1;
    errno = 0;
    if (isdigit((unsigned char)*text))
        *n = strtoull(text, &end, 10);
    const char *unit = end && *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        scale *= 1000;
    if (!end || errno || end[unit != NULL] || *n == 0 || *n > UINT64_MAX / scale)
        return error_set(
            e,
            "--out-shard-size: \"%.200s\" is not a number of parameters (5B, 200M); pack "
            "--shard-size is in bytes",
            text);
    *n *= scale;
    return 0;
}

const char *mergekit_options_shard_bytes(uint64_t parameters, enum dtype dtype, struct arena *a)
{
    uint64_t each = dtype_bits(dtype == DTYPE_NONE ? DTYPE_F32 : dtype) / 8;
    uint64_t bytes = parameters > UINT64_MAX / each ? UINT64_MAX : parameters * each;
    return arena_printf(a, "%llu", (unsigned long long)bytes);
}
