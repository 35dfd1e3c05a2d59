#include "sample.h"

#include <stdarg.h>
#include <stdio.h>

int sample_error(const struct sample *s, struct error *e, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return s->line ? error_set(e, "%s, line %zu: %s", s->file, s->line, text)
                   : error_set(e, "%s: %s", s->file, text);
}
