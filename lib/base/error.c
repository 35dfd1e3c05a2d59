#include "error.h"

#include "printable.h"

#include <stdarg.h>
#include <stdio.h>

int error_set(struct error *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    printable_replace(e->text);
    e->stage[0] = '\0';
    e->printed = false;
    return -1;
}
