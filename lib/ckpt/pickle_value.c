#include "pickle_value.h"

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
