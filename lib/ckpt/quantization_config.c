#include "quantization_config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- block sizes ----------------------------------------------------------------------------- */

static int add_block(struct quantization_config *q, struct scale_block b, struct error *e)
{
    for (size_t i = 0; i < q->n_blocks; i++)
        if (q->blocks[i].rows == b.rows && q->blocks[i].columns == b.columns)
            return 0;
    if (q->n_blocks == QUANTIZATION_CONFIG_MAX_BLOCKS)
        return error_set(e, "%s: more than %d different block sizes", q->file,
                         QUANTIZATION_CONFIG_MAX_BLOCKS);
    q->blocks[q->n_blocks++] = b;
    return 0;
}

/* [128, 128]; null and absent: none. */
static int read_block_shape(struct quantization_config *q, const json_t *shape, const char *key,
                            struct error *e)
{
    json_int_t rows = json_integer_value(json_array_get(shape, 0));
    json_int_t columns = json_integer_value(json_array_get(shape, 1));
    if (!shape || json_is_null(shape))
        return 0;
    if (json_array_size(shape) != 2 || rows <= 0 || columns <= 0)
        return error_set(e, "%s: %s is not a pair of positive integers", q->file, key);
    return add_block(q, (struct scale_block){(uint64_t)rows, (uint64_t)columns}, e);
}

/* The weights of a group of layers in a config of compressed-tensors. */
static int read_group(struct quantization_config *q, const json_t *weights, struct error *e)
{
    const json_t *size = json_object_get(weights, "group_size");
    json_int_t columns = json_integer_value(size);
    if (q->bits == 0 && json_is_integer(json_object_get(weights, "num_bits")))
        q->bits = (uint64_t)json_integer_value(json_object_get(weights, "num_bits"));
    if (read_block_shape(q, json_object_get(weights, "block_structure"), "block_structure", e))
        return -1;
    if (!size || json_is_null(size) || columns == -1) /* -1: the whole row */
        return 0;
    if (columns <= 0)
        return error_set(e, "%s: group_size is not a positive integer", q->file);
    return add_block(q, (struct scale_block){1, (uint64_t)columns}, e);
}

static int read_blocks(struct quantization_config *q, const json_t *config, struct error *e)
{
    const char *key;
    json_t *group;
    if (read_block_shape(q, json_object_get(config, "weight_block_size"), "weight_block_size", e))
        return -1;
    json_object_foreach(json_object_get(config, "config_groups"), key, group)
    {
        if (read_group(q, json_object_get(group, "weights"), e))
            return -1;
    }
    return 0;
}

/* ---- the other keys -------------------------------------------------------------------------- */

static const char *copy_string(const json_t *object, const char *key, struct arena *a)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? arena_copy_text(a, text) : "";
}

static uint64_t read_bits(const json_t *config)
{
    json_int_t bits = json_integer_value(json_object_get(config, "bits"));
    if (bits > 0)
        return (uint64_t)bits;
    if (json_is_true(json_object_get(config, "load_in_4bit")))
        return 4;
    return json_is_true(json_object_get(config, "load_in_8bit")) ? 8 : 0;
}

/* Weights that were rotated, or pruned and packed: {"sparsity_config": {"format": ...}}. */
static bool read_is_transformed(const json_t *config)
{
    const json_t *sparsity = json_object_get(config, "sparsity_config");
    const char *format = json_string_value(json_object_get(sparsity, "format"));
    return json_object_size(json_object_get(config, "transform_config")) > 0 ||
           (format && strcmp(format, "dense") != 0);
}

static int read_config(struct quantization_config *q, const json_t *config, struct arena *a,
                       struct error *e)
{
    const char *scales = json_string_value(json_object_get(config, "scale_fmt"));
    q->is_present = true;
    q->method = copy_string(config, "quant_method", a);
    q->format = copy_string(config, "format", a);
    q->algorithm = copy_string(config, "quant_algo", a);
    q->bits = read_bits(config);
    q->is_transformed = read_is_transformed(config);
    q->has_ue8m0_scales = scales && strcmp(scales, "ue8m0") == 0;
    return read_blocks(q, config, e);
}

/* ---- the files ------------------------------------------------------------------------------- */

/* Parses a file if it mentions a quantization. Sets q->file to its title. */
static int parse_file(struct quantization_config *q, struct model_files *files, const char *name,
                      json_t **root, struct error *e)
{
    static const char *const words[] = {"quantization", "compression_config"};
    struct model_file *file = model_files_find(files, name);
    *root = NULL;
    if (!file)
        return 0;
    char *text = model_files_read(file, e);
    if (!text)
        return -1;
    q->file = file->title;
    if (memmem(text, file->size, words[0], strlen(words[0])) ||
        memmem(text, file->size, words[1], strlen(words[1])))
        *root = json_loadb(text, file->size, 0, NULL);
    free(text);
    return 0;
}

/* The object of the config, or of one of its sections, that describes a quantization. */
static const json_t *find_object(const json_t *config, bool *is_mlx)
{
    static const char *const keys[] = {"quantization_config", "compression_config", "quantization"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *found = json_object_get(config, keys[i]);
        *is_mlx = i == 2;
        if (json_is_object(found) && (!*is_mlx || json_object_get(found, "bits")))
            return found;
    }
    return NULL;
}

static int read_config_json(struct quantization_config *q, json_t *root, struct arena *a,
                            struct error *e)
{
    const char *key;
    json_t *section;
    bool is_mlx;
    const json_t *found = find_object(root, &is_mlx);
    json_object_foreach(root, key, section)
    {
        if (!found)
            found = find_object(section, &is_mlx);
    }
    if (!found)
        return 0;
    if (read_config(q, found, a, e))
        return -1;
    if (is_mlx)
        q->method = "mlx";
    return 0;
}

/* {"quantization": {"quant_algo": "FP8", ...}} */
static int read_modelopt_config(struct quantization_config *q, const json_t *root, struct arena *a,
                                struct error *e)
{
    const json_t *found = json_object_get(root, "quantization");
    if (!json_is_object(found))
        return 0;
    if (read_config(q, found, a, e))
        return -1;
    q->method = "modelopt";
    return 0;
}

int quantization_config_read(struct quantization_config *q, struct model_files *files,
                             struct arena *a, struct error *e)
{
    json_t *root;
    *q = (struct quantization_config){.method = "", .format = "", .algorithm = ""};
    int failed = parse_file(q, files, "config.json", &root, e) || read_config_json(q, root, a, e);
    json_decref(root);
    if (failed || q->is_present)
        return failed ? -1 : 0;
    failed = parse_file(q, files, "hf_quant_config.json", &root, e) ||
             read_modelopt_config(q, root, a, e);
    json_decref(root);
    return failed ? -1 : 0;
}
