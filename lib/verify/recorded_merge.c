#include "recorded_merge.h"

#include "history_json.h"
#include "strict_json.h"
#include "used_weights.h"

#include <stdlib.h>
#include <string.h>

/* Keys of the metadata. */
#define MODELS "tvtools_models"
#define HASHES "tvtools_hashes"

/* What the functions here read. */
struct reading {
    struct recorded_merge *merge;
    const char *file;
    json_t *metadata;
    struct arena *a;
    struct error *e;
};

static const char *find_text(const struct reading *r, const char *key)
{
    return json_string_value(json_object_get(r->metadata, key));
}

static int read_history(const struct reading *r)
{
    const char *text = find_text(r, HISTORY_JSON_KEY);
    if (text && history_json_parse(&r->merge->history, r->file, text, r->a, r->e))
        return -1;
    return r->merge->history.n
               ? 0
               : error_set(r->e,
                           "%s has no history; only safetensors and GGUF files that "
                           "tvtools has written can be verified",
                           r->file);
}

/* Parses an optional JSON object. An empty one is none. */
static int parse_object(const struct reading *r, json_t **object, const char *key, const char *text,
                        size_t size)
{
    if (!text || text[strspn(text, " ")] == '\0')
        return 0;
    *object = strict_json_parse(r->file, key, (const unsigned char *)text, size, r->e);
    if (!*object || json_object_size(*object))
        return *object ? 0 : -1;
    json_decref(*object);
    *object = NULL;
    return 0;
}

static int read_object(const struct reading *r, json_t **object, const char *key)
{
    const char *text = find_text(r, key);
    return parse_object(r, object, key, text, text ? strlen(text) : 0);
}

/* The weights that joins have used: in a file, or in the metadata of a single file. */
static int read_weights(const struct reading *r, const struct ckpt *c)
{
    char *text;
    size_t size = 0;
    int found = ckpt_read_auxiliary_file(c, USED_WEIGHTS_FILE, &text, &size, r->e);
    int failed =
        found < 0 ? -1 : parse_object(r, &r->merge->weights, USED_WEIGHTS_FILE, text, size);
    free(text);
    return failed || found ? failed : read_object(r, &r->merge->weights, USED_WEIGHTS_METADATA);
}

/* ---- all shards ------------------------------------------------------------------------------ */

static bool is_equal_text(const json_t *a, const json_t *b, const char *key)
{
    const char *x = json_string_value(json_object_get(a, key));
    const char *y = json_string_value(json_object_get(b, key));
    return x && y ? strcmp(x, y) == 0 : !x && !y;
}

/* Every shard records the merge; the first is read. Notes another one that contradicts it. */
static int find_contradiction(const struct reading *r, const struct ckpt *c)
{
    static const char *const keys[] = {HISTORY_JSON_KEY, MODELS, HASHES};
    size_t n = ckpt_gguf_model(c) ? 0 : ckpt_shard_count(c);
    for (size_t i = 1; i < n && !r->merge->contradiction; i++) {
        json_t *own;
        if (ckpt_read_metadata(c, i, &own, r->e) < 0)
            return -1;
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
            if (!is_equal_text(r->metadata, own, keys[k]))
                r->merge->contradiction =
                    arena_printf(r->a, "%s records another merge than %s, which was computed",
                                 ckpt_shard_file(c, i), ckpt_shard_file(c, 0));
        json_decref(own);
    }
    return 0;
}

int recorded_merge_read(struct recorded_merge *m, const struct ckpt *c, const char *file,
                        struct arena *a, struct error *e)
{
    struct reading r = {.merge = m, .file = file, .a = a, .e = e};
    *m = (struct recorded_merge){0};
    int failed = ckpt_read_metadata(c, 0, &r.metadata, e) < 0 || read_history(&r) ||
                 read_object(&r, &m->hashes, HASHES) || read_object(&r, &m->models, MODELS) ||
                 read_weights(&r, c) || find_contradiction(&r, c);
    json_decref(r.metadata);
    return failed ? -1 : 0;
}

void recorded_merge_free(struct recorded_merge *m)
{
    json_decref(m->hashes);
    json_decref(m->models);
    json_decref(m->weights);
}

static bool is_hash(const char *text)
{
    return text && strlen(text) == 16 && strspn(text, "0123456789abcdef") == 16;
}

const char *recorded_merge_hash(const struct recorded_merge *m, const char *model)
{
    const char *hash = json_string_value(json_object_get(m->hashes, model));
    return is_hash(hash) && strspn(hash, "0") < 16 ? hash : NULL;
}

bool recorded_merge_fingerprint(const struct recorded_merge *m, const char *model,
                                uint64_t *fingerprint)
{
    const json_t *identity = json_object_get(m->models, model);
    const char *text = json_string_value(json_object_get(identity, "fingerprint"));
    if (!is_hash(text))
        return false;
    *fingerprint = strtoull(text, NULL, 16);
    return *fingerprint != 0;
}

bool recorded_merge_was_piped(const struct recorded_merge *m, const char *model)
{
    const json_t *identity = json_object_get(m->models, model);
    return identity && !json_object_get(identity, "fingerprint");
}
