#include "shard_name.h"

#include <stdio.h>
#include <string.h>

bool shard_name_parse(const char *name, const char *ending, struct shard_name *s)
{
    const char *of = strstr(name, "-of-");
    int length = 0;
    unsigned count = 0;
    if (!of || sscanf(of, "-of-%5u%n", &count, &length) != 1 || strcmp(of + length, ending) != 0)
        return false;
    const char *number = of;
    while (number > name && number[-1] >= '0' && number[-1] <= '9')
        number--;
    *s = (struct shard_name){
        .stem = (size_t)(number - name), .count = count, .digits = (int)(of - number)};
    return count > 0 && s->digits > 0 && s->stem > 0 && name[s->stem - 1] == '-' &&
           s->digits == length - (int)strlen("-of-");
}

const char *shard_name_of_number(const char *name, const struct shard_name *s, size_t number,
                                 const char *ending, struct arena *a)
{
    return arena_printf(a, "%.*s%0*zu-of-%0*zu%s", (int)s->stem, name, s->digits, number, s->digits,
                        s->count, ending);
}
