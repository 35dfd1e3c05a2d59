/* Names of the shards of a model, or of the files of a split GGUF model:
 * model-00002-of-00003.safetensors. */
#ifndef TV_SHARD_NAME_H
#define TV_SHARD_NAME_H

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>

struct shard_name {
    size_t stem;  /* bytes before the number: 6, of "model-" */
    size_t count; /* 3 */
    int digits;   /* of each number: 5 */
};

/* Is it such a name with this ending? */
bool shard_name_parse(const char *name, const char *ending, struct shard_name *s);
/* The name of shard `number`, counted from 1, of the set that `name` is in; in the arena. */
const char *shard_name_of_number(const char *name, const struct shard_name *s, size_t number,
                                 const char *ending, struct arena *a);

#endif
