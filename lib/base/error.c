#include "error.h"

#include <stdarg.h>
#include <stdio.h>

int error_set(struct error *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    for (unsigned char *c = (unsigned char *)e->text; *c; c++)
        if (*c < ' ' || *c == 127)
            *c = '?';
    e->stage[0] = '\0';
    e->printed = false;
    return -1;
}
