#include "shard_index.h"

#include "strict_json.h"

/* Checks the entry of one tensor. */
static int check_index_entry(const struct model_files *files, const struct model_file *index,
                             const char *path, const char *tensor, const json_t *value,
                             struct error *e)
{
    const char *shard = json_string_value(value);
    if (!shard)
        return error_set(e, "%s: the file of tensor %.200s is not a string", index->title, tensor);
    if (!model_files_is_bare_name(shard))
        return error_set(
            e, "%s puts tensor %.200s into %.200s; shards must be in the folder of the index",
            index->title, tensor, shard);
    if (!model_files_find(files, shard))
        return error_set(e, "%s: the shard %.200s is missing but listed in %s%s", path, shard,
                         index->name, model_files_download_hint(files));
    return 0;
}

static int check_weight_map(const struct model_files *files, const struct model_file *index,
                            const char *path, json_t *map, struct error *e)
{
    const char *tensor;
    json_t *value;
    if (json_object_size(map) == 0)
        return error_set(e, "%s has no weight_map with tensors", index->title);
    json_object_foreach(map, tensor, value)
    {
        if (check_index_entry(files, index, path, tensor, value, e) < 0)
            return -1;
    }
    return 0;
}

json_t *shard_index_read(const struct model_files *files, struct model_file *index,
                         const char *path, struct error *e)
{
    if (index->size > MODEL_FILES_MAX_AUXILIARY) {
        error_set(e, "%s has %llu bytes; the maximum for an index is %d", index->title,
                  (unsigned long long)index->size, MODEL_FILES_MAX_AUXILIARY);
        return NULL;
    }
    if (model_files_map_file(index, e) < 0)
        return NULL;
    json_t *root = strict_json_parse(index->title, "the index", index->bytes, index->size, e);
    if (!root)
        return NULL;
    json_t *map = json_object_get(root, "weight_map");
    json_t *result = check_weight_map(files, index, path, map, e) < 0 ? NULL : json_incref(map);
    json_decref(root);
    return result;
}
