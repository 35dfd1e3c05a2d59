/* The history in the metadata of a checkpoint; what is printed must parse as the same. */
#include "fuzz.h"
#include "history_json.h"

static void fail(const char *first, const char *second)
{
    dprintf(fuzz_log, "%s\n%s\n", first, second);
    abort();
}

static void check_printed(const struct history *history, struct arena *a)
{
    struct error e;
    struct history parsed;
    char *once = history_json_print(history);
    if (history_json_parse(&parsed, "printed", once, a, &e))
        fail(once, e.text);
    char *twice = history_json_print(&parsed);
    if (strcmp(once, twice) != 0)
        fail(once, twice);
    free(once);
    free(twice);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct arena a = {0};
    struct history history;
    char *text = fuzz_text(bytes, size);
    if (history_json_parse(&history, "input", text, &a, &e) == 0)
        check_printed(&history, &a);
    arena_free(&a);
    free(text);
}
