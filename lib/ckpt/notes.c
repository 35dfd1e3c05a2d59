#include "notes.h"

#include "error.h"

#include <stdarg.h>

void notes_print(FILE *notes, const char *format, ...)
{
    char text[1024];
    struct error clean;
    if (!notes)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_set(&clean, "%s", text); /* replaces control characters */
    fprintf(notes, "%s\n", clean.text);
}
