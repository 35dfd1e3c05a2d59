#include "config_update.h"

#include "model_config.h"
#include "printable.h"
#include "tensor_name.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a)   (sizeof(a) / sizeof *(a))
#define MAX_LAYERS 1000000

/* ---- values from the tensors ----------------------------------------------------------------- */

/* The dtype of most floating-point elements; DTYPE_NONE if there are none. */
static enum dtype most_common_dtype(const struct header *h)
{
    uint64_t elements[DTYPE_COUNT] = {0};
    enum dtype best = DTYPE_NONE;
    for (size_t i = 0; i < h->n_tensors; i++) {
        enum dtype d = h->tensors[i].vectors[0].dtype;
        if (!dtype_is_float(d))
            continue;
        elements[d] += tensor_elements(&h->tensors[i]);
        if (best == DTYPE_NONE || elements[d] > elements[best])
            best = d;
    }
    for (int d = 0; d < DTYPE_COUNT; d++)
        if (elements[d] > elements[best])
            best = (enum dtype)d;
    return best;
}

static bool has_float8_tensor(const struct header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        enum dtype d = h->tensors[i].vectors[0].dtype;
        if (d == DTYPE_F8_E4M3 || d == DTYPE_F8_E5M2)
            return true;
    }
    return false;
}

static bool result_has_lm_head(const struct header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++)
        if (tensor_name_is_lm_head(h->tensors[i].name))
            return true;
    return false;
}

/* In its file: a model with moved rows has a head that its file may lack. */
static bool source_has_lm_head(const struct model_source *source)
{
    const struct ckpt *c = model_source_checkpoint(source);
    for (size_t i = 0; i < ckpt_tensor_count(c); i++)
        if (tensor_name_is_lm_head(ckpt_tensor(c, i)->name))
            return true;
    return false;
}

/* The rows of the token embedding, and those of the source's tensor of that name (0: it has none).
 */
static uint64_t count_vocabulary_rows(const struct header *h, const struct model_source *source,
                                      uint64_t *source_rows)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        if (t->rank != 2 || !tensor_name_is_token_embedding(t->name))
            continue;
        long j = model_source_find_tensor(source, t->name);
        const struct ckpt_tensor *own = j < 0 ? NULL : model_source_tensor(source, (size_t)j);
        *source_rows = own && own->rank == 2 ? own->shape[0] : 0;
        return t->shape[0];
    }
    return 0;
}

/* The number of layers of a stack in the new checkpoint. */
static long count_layers_of_stack(const struct header *h, const char *prefix, size_t length)
{
    long last = -1;
    for (size_t i = 0; i < h->n_tensors; i++) {
        long layer = tensor_name_layer_in_stack(h->tensors[i].name, prefix, length);
        last = layer > last ? layer : last;
    }
    return last + 1;
}

/* The number of layers in the new checkpoint of the text stack, which has `layers` in the source; 0
 * if no stack has as many. */
static long count_text_layers(const struct header *h, const struct model_source *source,
                              long layers)
{
    size_t length;
    const char *prefix = model_source_find_text_stack(source, layers, &length);
    return prefix ? count_layers_of_stack(h, prefix, length) : 0;
}

/* ---- config.json ----------------------------------------------------------------------------- */

static const char *const sections[] = {"text_config", "llm_config", "vision_config"};

static bool replace_integer_in_section(json_t *section, const char *key, json_int_t old,
                                       json_int_t value)
{
    json_t *number = json_object_get(section, key);
    if (!json_is_integer(number) || json_integer_value(number) != old || old == value)
        return false;
    json_integer_set(number, value);
    return true;
}

/* Replaces the value `old` of a key, at the top level and in the text section. */
static bool replace_integer_in_all_sections(json_t *config, const char *key, json_int_t old,
                                            json_int_t value)
{
    bool changed = replace_integer_in_section(config, key, old, value);
    for (size_t i = 0; model_config_text_sections[i]; i++)
        changed |= replace_integer_in_section(
            json_object_get(config, model_config_text_sections[i]), key, old, value);
    return changed;
}

static bool update_dtype_in_section(json_t *section, enum dtype d)
{
    static const char *const keys[] = {"torch_dtype", "dtype"};
    bool changed = false;
    for (size_t i = 0; i < COUNT(keys); i++) {
        json_t *old = json_object_get(section, keys[i]);
        if (!old || (json_is_string(old) && dtype_from_user_name(json_string_value(old)) == d))
            continue;
        json_object_set_new(section, keys[i], json_string(dtype_torch_name(d)));
        changed = true;
    }
    return changed;
}

static bool update_dtype(json_t *config, enum dtype d)
{
    if (d == DTYPE_NONE)
        return false;
    bool changed = update_dtype_in_section(config, d);
    for (size_t i = 0; i < COUNT(sections); i++)
        changed |= update_dtype_in_section(json_object_get(config, sections[i]), d);
    return changed;
}

/* ---- lists with an entry per layer ----------------------------------------------------------- */

/* layer_types, no_rope_layers, layers_block_type, ... */
static bool is_list_per_layer(const char *key, const json_t *list, size_t layers)
{
    return (strstr(key, "layer") || strstr(key, "block")) && layers > 0 &&
           json_array_size(list) == layers;
}

/* Reads the range "FROM:TO" at the start of *text, and moves behind it and a comma. */
static bool read_range(const char **text, size_t *from, size_t *to)
{
    char *end;
    if (!isdigit((unsigned char)**text))
        return false;
    *from = strtoul(*text, &end, 10);
    if (*end != ':' || !isdigit((unsigned char)end[1]))
        return false;
    *to = strtoul(end + 1, &end, 10);
    *text = end + (*end == ',' && end[1]);
    return *from < *to && *to <= MAX_LAYERS && (!*end || *text > end);
}

int config_update_check_layers(const char *layers, struct error *e)
{
    size_t from, to;
    const char *rest = layers;
    do
        if (!read_range(&rest, &from, &to))
            return error_set(e, "--layers: \"%.200s\" is not a list of ranges such as 0:6,2:8",
                             layers);
    while (*rest);
    return 0;
}

/* The entries of these layers, one range after another; NULL if the list lacks one. */
static json_t *select_entries(const json_t *list, const char *layers)
{
    json_t *selected = json_array();
    size_t from, to;
    while (*layers && read_range(&layers, &from, &to))
        for (size_t i = from; i < to; i++)
            if (json_array_append(selected, json_array_get(list, i))) {
                json_decref(selected);
                return NULL;
            }
    return selected;
}

/* `n` entries like those of the list, which are all the same; NULL if they are not. */
static json_t *repeat_entry(const json_t *list, size_t n)
{
    for (size_t i = 1; i < json_array_size(list); i++)
        if (!json_equal(json_array_get(list, 0), json_array_get(list, i)))
            return NULL;
    json_t *repeated = json_array();
    while (json_array_size(repeated) < n)
        json_array_append(repeated, json_array_get(list, 0));
    return repeated;
}

/* Gives the lists of a section the entries of the layers of the result. A list whose entries are
 * not known is removed, so that the model's class sets its own pattern. */
static bool update_lists_per_layer(json_t *section, size_t old, size_t now, const char *layers,
                                   const char *tool)
{
    const char *key;
    json_t *list;
    void *next;
    bool changed = false;
    json_object_foreach_safe(section, next, key, list)
    {
        if (!is_list_per_layer(key, list, old))
            continue;
        json_t *updated = layers ? select_entries(list, layers) : repeat_entry(list, now);
        if (updated && json_equal(updated, list)) {
            json_decref(updated);
            continue;
        }
        changed = true;
        if (updated) {
            json_object_set_new(section, key, updated);
            continue;
        }
        printable_warning(tool,
                          "%s is removed from config.json, because it is not known "
                          "which of its %zu entries belong to the %zu layers (--layers tells)",
                          key, old, now);
        json_object_del(section, key);
    }
    return changed;
}

/* The number of layers in the new checkpoint of the vision tower, which has `layers` in the source;
 * 0 if no tower has as many. */
static long count_vision_layers(const struct header *h, const struct model_source *source,
                                long layers)
{
    size_t length;
    for (size_t i = 0; i < model_source_tensor_count(source); i++) {
        const char *name = model_source_tensor(source, i)->name;
        if (tensor_name_is_vision_or_audio(name) && tensor_name_layer(name, &length) >= 0 &&
            model_source_count_layers(source, name, length) == layers)
            return count_layers_of_stack(h, name, length);
    }
    return 0;
}

static bool update_vision_layer_count(json_t *config, const struct header *h,
                                      const struct model_source *source)
{
    static const char *const keys[] = {"depth", "num_hidden_layers"};
    json_t *section = json_object_get(config, "vision_config");
    bool changed = false;
    for (size_t i = 0; i < COUNT(keys); i++) {
        json_int_t old = json_integer_value(json_object_get(section, keys[i]));
        long now = old > 0 ? count_vision_layers(h, source, (long)old) : 0;
        if (now)
            changed |= replace_integer_in_section(section, keys[i], old, now);
    }
    return changed;
}

static bool update_layer_count(json_t *config, const struct header *h,
                               const struct model_source *source, const char *layers,
                               const char *tool)
{
    bool changed = false;
    for (size_t i = 0; model_config_layer_keys[i]; i++) {
        json_int_t old = model_config_text_integer(config, model_config_layer_keys[i]);
        long now = old > 0 ? count_text_layers(h, source, (long)old) : 0;
        if (now == 0 || (!layers && now == old))
            continue;
        changed |= replace_integer_in_all_sections(config, model_config_layer_keys[i], old, now);
        changed |= update_lists_per_layer(config, (size_t)old, (size_t)now, layers, tool);
        for (size_t j = 0; model_config_text_sections[j]; j++)
            changed |=
                update_lists_per_layer(json_object_get(config, model_config_text_sections[j]),
                                       (size_t)old, (size_t)now, layers, tool);
    }
    return changed;
}

static bool update_vocabulary_size(json_t *config, const struct header *h,
                                   const struct model_source *source)
{
    uint64_t source_rows = 0, rows = count_vocabulary_rows(h, source, &source_rows);
    json_int_t old = model_config_text_integer(config, "vocab_size");
    /* A source whose config counts fewer tokens than its embedding has rows keeps doing so. */
    if (rows == 0 || rows == source_rows || old < 0)
        return false;
    return replace_integer_in_all_sections(config, "vocab_size", old, (json_int_t)rows);
}

static json_t *find_token_id(json_t *config, const char *key)
{
    json_t *id = json_object_get(config, key);
    for (size_t i = 0; !id && model_config_text_sections[i]; i++)
        id = json_object_get(json_object_get(config, model_config_text_sections[i]), key);
    return id;
}

/* Replaces the ids of special tokens that the section has. */
static bool update_token_ids_in_section(json_t *section, json_t *tokenizer)
{
    static const char *const keys[] = {"bos_token_id", "eos_token_id", "pad_token_id"};
    bool changed = false;
    for (size_t i = 0; i < COUNT(keys); i++) {
        json_t *old = json_object_get(section, keys[i]), *id = find_token_id(tokenizer, keys[i]);
        if (!old || (id ? json_equal(old, id) : json_is_null(old)))
            continue;
        json_object_set(section, keys[i], id ? id : json_null());
        changed = true;
    }
    return changed;
}

/* For a new vocabulary. */
static bool set_vocabulary(json_t *config, const struct header *h,
                           const struct model_source *source, json_t *tokenizer)
{
    uint64_t source_rows = 0, rows = count_vocabulary_rows(h, source, &source_rows);
    json_int_t old = model_config_text_integer(config, "vocab_size");
    bool changed =
        rows && replace_integer_in_all_sections(config, "vocab_size", old, (json_int_t)rows);
    changed |= update_token_ids_in_section(config, tokenizer);
    for (size_t i = 0; model_config_text_sections[i]; i++)
        changed |= update_token_ids_in_section(
            json_object_get(config, model_config_text_sections[i]), tokenizer);
    return changed;
}

/* `add`: also if the section has no such flag. */
static bool set_tied_embeddings_flag_in_section(json_t *section, bool value, bool add)
{
    json_t *old = json_object_get(section, "tie_word_embeddings");
    if (!json_is_object(section) || (old ? json_is_true(old) == value : !add))
        return false;
    json_object_set_new(section, "tie_word_embeddings", json_boolean(value));
    return true;
}

/* A head from the stream unties the embedding; a head that only the source has is taken to repeat
 * the embedding. */
static bool update_tied_embeddings_flag(json_t *config, const struct header *h,
                                        const struct model_source *source, bool has_own_head)
{
    bool had = source_has_lm_head(source), has = result_has_lm_head(h);
    if (has ? !has_own_head : !had)
        return false;
    bool changed = set_tied_embeddings_flag_in_section(config, !has, has != had);
    for (size_t i = 0; model_config_text_sections[i]; i++)
        changed |= set_tied_embeddings_flag_in_section(
            json_object_get(config, model_config_text_sections[i]), !has, false);
    return changed;
}

static bool remove_quantization_from_section(json_t *section)
{
    bool removed = json_object_del(section, "quantization_config") == 0;
    removed |= json_object_del(section, "compression_config") == 0;
    return removed;
}

/* Removes the description of a quantization, at the top level and in sections, unless tensors are
 * F8: loaders would look for scales. */
static bool remove_quantization(json_t *config, const struct header *h)
{
    const char *key;
    json_t *section;
    if (has_float8_tensor(h))
        return false;
    bool changed = remove_quantization_from_section(config);
    json_object_foreach(config, key, section)
    {
        changed |= remove_quantization_from_section(section);
    }
    return changed;
}

/* A loader without a dtype would take F32. */
static void add_missing_dtype(json_t *config, enum dtype d)
{
    if (d != DTYPE_NONE && !json_object_get(config, "torch_dtype") &&
        !json_object_get(config, "dtype"))
        json_object_set_new(config, "torch_dtype", json_string(dtype_torch_name(d)));
}

/* With the fewest digits that keep every number: 1e-05 stays 1e-05. */
static char *format_config_json(const json_t *config)
{
    for (size_t digits = 15;; digits++) {
        char *text = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
        json_t *parsed = digits < 17 && text ? json_loads(text, 0, NULL) : NULL;
        bool same = digits == 17 || json_equal(config, parsed);
        json_decref(parsed);
        if (same && text) {
            size_t n = strlen(text);
            text = mem_resize(text, n + 2, 1);
            memcpy(text + n, "\n", 2);
            return text;
        }
        free(text);
        if (digits == 17)
            return NULL;
    }
}

char *config_update_json(const char *text, size_t size, const struct config_update *u)
{
    const struct model_source *source = u->source;
    const struct header *h = u->result;
    bool has_duplicates;
    json_t *config = model_config_parse(text, size, &has_duplicates);
    if (!config) {
        printable_warning(u->tool, "config.json of %s is not valid JSON; it is copied unchanged",
                          model_source_name(source));
        return NULL;
    }
    if (has_duplicates)
        printable_warning(u->tool, "config.json of %s has duplicate keys; the last one wins",
                          model_source_name(source));
    bool changed = update_dtype(config, most_common_dtype(h));
    changed |= update_layer_count(config, h, source, u->layers, u->tool);
    changed |= update_vision_layer_count(config, h, source);
    changed |= u->tokenizer ? set_vocabulary(config, h, source, u->tokenizer)
                            : update_vocabulary_size(config, h, source);
    changed |= update_tied_embeddings_flag(config, h, source, u->has_own_head);
    if (u->moe)
        moe_config_update(u->moe, config);
    changed |= u->moe != NULL;
    bool was_quantized = remove_quantization(config, h);
    if (was_quantized || model_source_quantization(source)) {
        add_missing_dtype(config, most_common_dtype(h));
        changed = true;
    }
    char *updated = changed ? format_config_json(config) : NULL;
    json_decref(config);
    return updated;
}

char *config_update_token_ids(const char *text, size_t size, json_t *tokenizer)
{
    bool has_duplicates;
    json_t *config = model_config_parse(text, size, &has_duplicates);
    bool changed = update_token_ids_in_section(config, tokenizer);
    char *updated = changed ? format_config_json(config) : NULL;
    json_decref(config);
    return updated;
}
