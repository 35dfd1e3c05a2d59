#include "tensor_list.h"

#include <string.h>

/* Compares a name with one in two pieces. */
static int compare_name(const char *name, const char *stem, size_t length, const char *suffix)
{
    int order = strncmp(name, stem, length);
    return order ? order : strcmp(name + length, suffix);
}

long tensor_list_find(const struct tensor_list *l, const char *name, size_t length,
                      const char *suffix)
{
    size_t low = 0, high = l->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_name(l->tensors[middle]->name, name, length, suffix);
        if (order == 0)
            return (long)middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

size_t tensor_list_stem_length(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0 ? n - m : 0;
}
