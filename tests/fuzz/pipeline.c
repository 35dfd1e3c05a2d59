/* A pipeline of tv run. What is printed must parse as the same pipeline. */
#include "fuzz.h"
#include "printed.h"

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct arena a = {0};
    char *text = fuzz_text(bytes, size);
    struct pipeline *p = pipeline_parse(text, &a, &e);
    if (p)
        check_printed(p, &a);
    arena_free(&a);
    free(text);
}
