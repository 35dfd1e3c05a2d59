#include "pipeline_builder.h"

#include "yaml_tree.h"

#include <stdarg.h>
#include <string.h>

int pipeline_builder_error(const struct pipeline_builder *b, size_t line, const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(b->e, "%.200s, line %zu: %s", b->file->path, line, text);
}

void pipeline_builder_warn(const struct pipeline_builder *b, size_t line, const char *format, ...)
{
    char sentence[700];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    yaml_tree_print_warning(b->tool, b->file->path, line, sentence);
}

const char *pipeline_builder_escape_glob(const char *name, struct arena *a)
{
    char *glob = arena_alloc(a, 2 * strlen(name) + 1, 1), *to = glob;
    for (const char *c = name; *c; c++) {
        if (strchr("*?[]\\", *c) || (c == name && strchr("-@/", *c)))
            *to++ = '\\';
        *to++ = *c;
    }
    return glob;
}

void pipeline_builder_add_option(struct pipeline_command *to, const char *option, const char *value,
                                 struct arena *a)
{
    if (value)
        pipeline_add_word(to, arena_printf(a, "--%s=%s", option, value), a);
}

void pipeline_builder_add_dtype(struct pipeline_command *to, enum dtype dtype, struct arena *a)
{
    if (dtype != DTYPE_NONE)
        pipeline_builder_add_option(to, "dtype", dtype_torch_name(dtype), a);
}
