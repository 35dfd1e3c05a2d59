/* A pipeline as text. */
#include "pipeline.h"

static char *print_pipeline(const struct pipeline *p)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    pipeline_print(p, 0, f);
    fclose(f);
    return text;
}

/* What is printed must parse, and print as the same text. */
static void check_printed(const struct pipeline *p, struct arena *a)
{
    struct error e;
    char *text = print_pipeline(p);
    struct pipeline *parsed = pipeline_parse(text, a, &e);
    char *again = parsed ? print_pipeline(parsed) : NULL;
    if (!again || strcmp(text, again) != 0) {
        dprintf(fuzz_log, "printed:\n%s\nparsed: %s\n", text, again ? again : e.text);
        abort();
    }
    free(text);
    free(again);
}
