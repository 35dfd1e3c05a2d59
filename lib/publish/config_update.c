#include "config_update.h"

#include "model_config.h"
#include "tensor_name.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- what the tensors say -------------------------------------------------------------------- */

/* The dtype in which most floating elements are; DTYPE_NONE if there are none. */
static enum dtype main_dtype(const struct header *h)
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

static bool has_float8(const struct header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        enum dtype d = h->tensors[i].vectors[0].dtype;
        if (d == DTYPE_F8_E4M3 || d == DTYPE_F8_E5M2)
            return true;
    }
    return false;
}

static bool has_head(const struct header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++)
        if (tensor_name_is_lm_head(h->tensors[i].name))
            return true;
    return false;
}

static bool lender_has_head(const struct model_source *lender)
{
    for (size_t i = 0; i < model_source_tensor_count(lender); i++)
        if (tensor_name_is_lm_head(model_source_tensor(lender, i)->name))
            return true;
    return false;
}

/* Rows of the text embedding among the new tensors, and of the lender's tensor of that name (0:
 * it has none). */
static uint64_t vocabulary(const struct header *h, const struct model_source *lender,
                           uint64_t *lent)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        if (t->rank != 2 || !tensor_name_is_token_embedding(t->name))
            continue;
        long j = model_source_find_tensor(lender, t->name);
        const struct ckpt_tensor *own = j < 0 ? NULL : model_source_tensor(lender, (size_t)j);
        *lent = own && own->rank == 2 ? own->shape[0] : 0;
        return t->shape[0];
    }
    return 0;
}

/* ---- layer stacks ---------------------------------------------------------------------------- */

static long new_layers(const struct header *h, const char *stack, size_t n)
{
    long last = -1;
    for (size_t i = 0; i < h->n_tensors; i++) {
        long layer = tensor_name_layer_in_stack(h->tensors[i].name, stack, n);
        last = layer > last ? layer : last;
    }
    return last + 1;
}

/* Layers now of the text stack, which is the one that had `layers`; 0 if none had. */
static long text_layers(const struct header *h, const struct model_source *lender, long layers)
{
    size_t n;
    const char *stack = model_source_find_text_stack(lender, layers, &n);
    return stack ? new_layers(h, stack, n) : 0;
}

/* ---- config.json ----------------------------------------------------------------------------- */

static const char *const sections[] = {"text_config", "llm_config", "vision_config"};

static bool set_number_in(json_t *part, const char *key, json_int_t old, json_int_t value)
{
    json_t *number = json_object_get(part, key);
    if (!json_is_integer(number) || json_integer_value(number) != old || old == value)
        return false;
    json_integer_set(number, value);
    return true;
}

/* Wherever top and text say `old` now. */
static bool set_number(json_t *config, const char *key, json_int_t old, json_int_t value)
{
    bool changed = set_number_in(config, key, old, value);
    for (size_t i = 0; model_config_text_sections[i]; i++)
        changed |=
            set_number_in(json_object_get(config, model_config_text_sections[i]), key, old, value);
    return changed;
}

static bool set_dtype_in(json_t *part, enum dtype d)
{
    static const char *const keys[] = {"torch_dtype", "dtype"};
    bool changed = false;
    for (size_t i = 0; i < COUNT(keys); i++) {
        json_t *old = json_object_get(part, keys[i]);
        if (!old || (json_is_string(old) && dtype_from_user_name(json_string_value(old)) == d))
            continue;
        json_object_set_new(part, keys[i], json_string(dtype_torch_name(d)));
        changed = true;
    }
    return changed;
}

static bool set_dtype(json_t *config, enum dtype d)
{
    if (d == DTYPE_NONE)
        return false;
    bool changed = set_dtype_in(config, d);
    for (size_t i = 0; i < COUNT(sections); i++)
        changed |= set_dtype_in(json_object_get(config, sections[i]), d);
    return changed;
}

/* `layer_types` has an entry for each layer: cut or prolonged where all are the same, else left to
 * the class that knows the pattern. */
static void fit_layer_types(json_t *part, size_t layers)
{
    json_t *types = json_object_get(part, "layer_types");
    size_t n = json_array_size(types);
    if (!n || n == layers)
        return;
    for (size_t i = 1; i < n; i++)
        if (!json_equal(json_array_get(types, 0), json_array_get(types, i))) {
            json_object_del(part, "layer_types");
            return;
        }
    while (json_array_size(types) > layers)
        json_array_remove(types, json_array_size(types) - 1);
    while (json_array_size(types) < layers)
        json_array_append(types, json_array_get(types, 0));
}

static bool set_layers(json_t *config, const struct header *h, const struct model_source *lender)
{
    bool changed = false;
    for (size_t i = 0; model_config_layer_keys[i]; i++) {
        json_int_t old = model_config_text_integer(config, model_config_layer_keys[i]);
        long now = old > 0 ? text_layers(h, lender, (long)old) : 0;
        if (now == 0 || !set_number(config, model_config_layer_keys[i], old, now))
            continue;
        changed = true;
        fit_layer_types(config, (size_t)now);
        for (size_t j = 0; model_config_text_sections[j]; j++)
            fit_layer_types(json_object_get(config, model_config_text_sections[j]), (size_t)now);
    }
    return changed;
}

static bool set_vocabulary(json_t *config, const struct header *h,
                           const struct model_source *lender)
{
    uint64_t lent = 0, rows = vocabulary(h, lender, &lent);
    json_int_t old = model_config_text_integer(config, "vocab_size");
    /* A config may count fewer tokens than its embedding has rows: that is the lender's affair. */
    if (rows == 0 || rows == lent || old < 0)
        return false;
    return set_number(config, "vocab_size", old, (json_int_t)rows);
}

static bool set_flag_in(json_t *part, bool value, bool add)
{
    json_t *old = json_object_get(part, "tie_word_embeddings");
    if (!json_is_object(part) || (old ? json_is_true(old) == value : !add))
        return false;
    json_object_set_new(part, "tie_word_embeddings", json_boolean(value));
    return true;
}

/* A head of its own from the stream unties it; one that went missing must have been the
 * embedding. */
static bool set_tied(json_t *config, const struct header *h, const struct model_source *lender,
                     bool new_head)
{
    bool had = lender_has_head(lender), has = has_head(h);
    if (has ? !new_head : !had)
        return false;
    bool changed = set_flag_in(config, !has, has != had);
    for (size_t i = 0; model_config_text_sections[i]; i++)
        changed |= set_flag_in(json_object_get(config, model_config_text_sections[i]), !has, false);
    return changed;
}

/* Without F8 tensors there is nothing quantized left. */
static bool drop_quantization(json_t *config, const struct header *h)
{
    json_t *q = json_object_get(config, "quantization_config");
    const char *method = json_string_value(json_object_get(q, "quant_method"));
    return method && strcmp(method, "fp8") == 0 && !has_float8(h) &&
           json_object_del(config, "quantization_config") == 0;
}

/* With as few digits as bring every number back: 1e-05 stays 1e-05. */
static char *write_config(const json_t *config)
{
    for (size_t digits = 15;; digits++) {
        char *text = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
        json_t *back = digits < 17 && text ? json_loads(text, 0, NULL) : NULL;
        bool same = digits == 17 || json_equal(config, back);
        json_decref(back);
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

char *config_update_json(const char *text, size_t size, const struct model_source *lender,
                         const struct header *h, bool new_head, const char *tool)
{
    bool duplicate;
    json_t *config = model_config_parse(text, size, &duplicate);
    if (!config) {
        fprintf(stderr, "%s: warning: config.json of %s is not JSON; it is copied as it is\n", tool,
                model_source_name(lender));
        return mem_copy_text(text);
    }
    if (duplicate)
        fprintf(stderr, "%s: warning: config.json of %s has a key duplicate; the last one counts\n",
                tool, model_source_name(lender));
    bool changed = set_dtype(config, main_dtype(h));
    changed |= set_layers(config, h, lender);
    changed |= set_vocabulary(config, h, lender);
    changed |= set_tied(config, h, lender, new_head);
    changed |= drop_quantization(config, h);
    char *updated = changed ? write_config(config) : NULL;
    json_decref(config);
    return updated ? updated : mem_copy_text(text);
}
