#include "adapter_modules.h"

#include "glob_pattern.h"
#include "name_index.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX "base_model.model."

struct key {
    const char *module;
    enum adapter_part part;
    const char *adapter; /* its name in the key; NULL: none */
};

/* ---- one key --------------------------------------------------------------------------------- */

/* The LoRA formats of other programs. */
static const char *find_foreign_mark(const char *key)
{
    static const char *const marks[] = {"lora_down",  "lora_up",  "lora.down", "lora.up",
                                        "_lora.down", "_lora.up", "loraA",     "loraB",
                                        "lora_a.",    "lora_b."};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (strstr(key, marks[i]))
            return marks[i];
    return NULL;
}

static int set_unknown_key_error(const char *key, struct error *e)
{
    return error_set(e, "the tensor %.300s is not part of a LoRA adapter of peft", key);
}

/* The first component of the key that is `word`; NULL if there is none. */
static const char *find_component(const char *key, const char *word)
{
    size_t n = strlen(word);
    for (const char *c = key; c; c = strchr(c, '.') ? strchr(c, '.') + 1 : NULL)
        if (strncmp(c, word, n) == 0 && (c[n] == '.' || !c[n]))
            return c;
    return NULL;
}

/* "module." before a component. */
static const char *copy_module(const char *key, const char *component, struct arena *a)
{
    size_t n = (size_t)(component - key);
    return arena_copy_text_n(a, key, n ? n - 1 : 0);
}

/* What follows lora_A and the like: [.NAME][.ending], of which the ending may be required. Sets
 * k->adapter; false if it is something else. */
static bool parse_adapter_name(const char *rest, const char *ending, bool is_required,
                               struct key *k, struct arena *a)
{
    size_t n = strlen(rest), m = strlen(ending);
    bool has_ending = n >= m && strcmp(rest + n - m, ending) == 0;
    if (!has_ending && is_required)
        return false;
    n -= has_ending ? m : 0;
    if (n == 1) /* a dot alone */
        return false;
    k->adapter = n ? arena_copy_text_n(a, rest + 1, n - 1) : NULL;
    return true;
}

/* A key with a component of LoRA's. 1: parsed; 0: it has none; -1: error. */
static int parse_factor(const char *key, struct key *k, struct arena *a)
{
    static const struct {
        const char *component, *ending;
        bool is_required;
        enum adapter_part part;
    } factors[] = {{"lora_A", ".weight", true, ADAPTER_A},
                   {"lora_B", ".weight", true, ADAPTER_B},
                   {"lora_B", ".bias", true, ADAPTER_B_BIAS},
                   {"lora_embedding_A", "", false, ADAPTER_EMBEDDING_A},
                   {"lora_embedding_B", "", false, ADAPTER_EMBEDDING_B},
                   {"lora_magnitude_vector", ".weight", false, ADAPTER_MAGNITUDE},
                   {"trainable_tokens_delta", "", false, ADAPTER_TOKENS}};
    bool found = false;
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        const char *at = find_component(key, factors[i].component);
        if (!at)
            continue;
        found = true;
        k->part = factors[i].part;
        k->module = copy_module(key, at, a);
        if (parse_adapter_name(at + strlen(factors[i].component), factors[i].ending,
                               factors[i].is_required, k, a))
            return 1;
    }
    return found ? -1 : 0;
}

/* Cuts ".word" off the end of the module's name, if it is there. */
static void cut_component(struct key *k, const char *word, struct arena *a)
{
    size_t n = strlen(k->module), m = strlen(word);
    if (n > m && strcmp(k->module + n - m, word) == 0 && k->module[n - m - 1] == '.')
        k->module = arena_copy_text_n(a, k->module, n - m - 1);
}

/* MODULE.weight, MODULE.base_layer.weight, MODULE.modules_to_save[.NAME].weight; the same for
 * biases. False: none of these. */
static bool parse_whole_tensor(const char *key, struct key *k, struct arena *a)
{
    const char *last = strrchr(key, '.');
    if (!last || (strcmp(last, ".weight") != 0 && strcmp(last, ".bias") != 0))
        return false;
    k->part = strcmp(last, ".weight") == 0 ? ADAPTER_WEIGHT : ADAPTER_BIAS;
    k->module = arena_copy_text_n(a, key, (size_t)(last - key));
    const char *saved = find_component(k->module, "modules_to_save");
    if (saved) {
        const char *name = saved + strlen("modules_to_save");
        k->adapter = *name ? name + 1 : NULL;
        k->module = copy_module(k->module, saved, a);
    }
    cut_component(k, "base_layer", a);
    return true;
}

static int parse_key(const char *key, struct key *k, struct arena *a, struct error *e)
{
    *k = (struct key){0};
    if (find_foreign_mark(key))
        return error_set(e,
                         "the tensor %.300s is in another format than peft's (%s); convert the "
                         "adapter with peft, diffusers or the program that wrote it",
                         key, find_foreign_mark(key));
    const char *name = strncmp(key, PREFIX, strlen(PREFIX)) == 0 ? key + strlen(PREFIX) : key;
    int found = parse_factor(name, k, a);
    if (found < 0 || (found == 0 && !parse_whole_tensor(name, k, a)) || !*k->module)
        return set_unknown_key_error(key, e);
    if (k->part == ADAPTER_TOKENS)
        cut_component(k, "token_adapter", a);
    return 0;
}

/* ---- all keys -------------------------------------------------------------------------------- */

/* The module of that name, which is added if it is new. */
static struct adapter_module *find_or_add(struct adapter_modules *m, struct name_index *names,
                                          const char *name)
{
    size_t i = name_index_add(names, name, m->n, &m->arena);
    if (i < m->n)
        return &m->list[i];
    m->list = arena_grow(&m->arena, m->list, m->n, &m->capacity, sizeof *m->list);
    struct adapter_module *new = &m->list[m->n++];
    *new = (struct adapter_module){.name = name};
    for (size_t part = 0; part < ADAPTER_PARTS; part++)
        new->parts[part] = -1;
    return new;
}

/* An adapter's tensors have one name of an adapter in their keys, or none. */
static int check_one_adapter(const char *other, const char *own, struct error *e)
{
    return error_set(e, "the file contains several adapters, %.100s and %.100s; save one of them",
                     other, own);
}

/* Foreign formats are named by a tensor that has their mark. */
static int check_format(const struct ckpt *c, struct error *e)
{
    struct arena a = {0};
    struct key k;
    int failed = 0;
    for (size_t i = 0; !failed && i < ckpt_tensor_count(c); i++)
        if (find_foreign_mark(ckpt_tensor(c, i)->name))
            failed = parse_key(ckpt_tensor(c, i)->name, &k, &a, e);
    arena_free(&a);
    return failed;
}

int adapter_modules_list(struct adapter_modules *m, const struct ckpt *c, struct error *e)
{
    struct name_index names = {0};
    const char *adapter = NULL, *twice = NULL;
    struct key k;
    if (ckpt_tensor_count(c) == 0)
        return error_set(e, "%s has no tensors", ckpt_shard_file(c, 0));
    if (check_format(c, e))
        return -1;
    for (size_t i = 0; i < ckpt_tensor_count(c); i++) {
        if (parse_key(ckpt_tensor(c, i)->name, &k, &m->arena, e))
            return -1;
        if (k.adapter && adapter && strcmp(k.adapter, adapter) != 0)
            return check_one_adapter(adapter, k.adapter, e);
        adapter = k.adapter ? k.adapter : adapter;
        struct adapter_module *module = find_or_add(m, &names, k.module);
        if (module->parts[k.part] >= 0 && !twice)
            twice = ckpt_tensor(c, i)->name;
        module->parts[k.part] = (long)i;
    }
    return twice ? error_set(e, "two tensors are the same part of a module; one is %.300s", twice)
                 : 0;
}

void adapter_modules_free(struct adapter_modules *m)
{
    arena_free(&m->arena);
    *m = (struct adapter_modules){0};
}
