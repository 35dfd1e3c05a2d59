/* The index of a sharded checkpoint, next to two shards. */
#include "fuzz.h"
#include "shard_index.h"

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct model_files f = {0};
    uint8_t *copy = fuzz_copy(bytes, size);
    model_files_add(&f, "model-00001-of-00002.safetensors", "one", 1);
    model_files_add(&f, "model-00002-of-00002.safetensors", "two", 1);
    struct model_file *index = model_files_add(&f, "model.safetensors.index.json", "index", size);
    index->bytes = copy;
    model_files_sort(&f);
    index = model_files_find(&f, "model.safetensors.index.json");
    json_decref(shard_index_read(&f, index, "input", &e));
    model_files_free(&f);
    free(copy);
}
