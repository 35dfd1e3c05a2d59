#include "pickle_value.h"

#include "pickle_globals.h"

#include <stdio.h>
#include <string.h>

bool pickle_value_equals_string(const struct pickle_value *v, const char *text)
{
    return v->kind == PICKLE_STRING && strlen(text) == v->length &&
           memcmp(text, v->text, v->length) == 0;
}

const struct pickle_value *pickle_value_dict_get(const struct pickle_value *v, const char *key)
{
    for (size_t i = 0; v->kind == PICKLE_DICT && i + 1 < v->n; i += 2)
        if (pickle_value_equals_string(v->items[i], key))
            return v->items[i + 1];
    return NULL;
}

static int limit_length(size_t length)
{
    return length < 100 ? (int)length : 100;
}

const char *pickle_value_class_name(const struct pickle_value *v, char *to, size_t size)
{
    if (v->kind == PICKLE_GLOBAL)
        snprintf(to, size, "%s.%s", v->global->module, v->global->name);
    else
        snprintf(to, size, "%.*s.%.*s", limit_length(v->module_length), v->module,
                 limit_length(v->name_length), v->name);
    return to;
}
