#include "notes.h"

#include "printable.h"

#include <stdarg.h>

void notes_print(FILE *notes, const char *format, ...)
{
    char text[1024];
    if (!notes)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printable_replace(text);
    fprintf(notes, "%s\n", text);
}
