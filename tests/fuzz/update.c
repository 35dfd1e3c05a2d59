/* config.json of a model, updated for a checkpoint with other layers, vocabulary and dtype: the
 * result is valid JSON if the input is, and updating it again changes nothing. */
#include "fuzz.h"
#include "config_update.h"

#include <jansson.h>

/* A model in the safetensors format: an embedding and `layers` layers. */
static const char model[] =
    "{\"model.embed_tokens.weight\":{\"dtype\":\"U8\",\"shape\":[2,1],\"data_offsets\":[0,2]},"
    "\"model.layers.0.w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]},"
    "\"model.layers.1.w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[3,4]}}    ";

/* Warnings. */
void __wrap_printable_message(const char *format, ...);
void __wrap_printable_message(const char *format, ...)
{
}

/* It stays open: the file is the same for every input. */
static const struct model_source *open_source(void)
{
    static const struct model_source *source;
    struct error e;
    if (source)
        return source;
    uint8_t bytes[8 + sizeof model - 1 + 4] = {sizeof model - 1 & 255, (sizeof model - 1) >> 8};
    memcpy(bytes + 8, model, sizeof model - 1);
    source = model_source_open(fuzz_descriptor_path(bytes, sizeof bytes), NULL, "update", &e);
    if (!source) {
        dprintf(fuzz_log, "%s\n", e.text);
        abort();
    }
    return source;
}

/* The checkpoint: an embedding of 3 rows and 3 layers in BF16, and, if asked for, a head. */
static struct header *make_header(bool head)
{
    static const uint64_t shape[] = {3, 1};
    static const char *const names[] = {"model.embed_tokens.weight", "model.layers.0.w",
                                        "model.layers.1.w", "model.layers.2.w", "lm_head.weight"};
    struct error e;
    struct header *h = header_new();
    header_add_model(h, "merged", "merged", &e);
    h->n_tensors = head ? 5 : 4;
    h->tensors = arena_alloc(&h->arena, h->n_tensors, sizeof *h->tensors);
    for (size_t i = 0; i < h->n_tensors; i++) {
        struct vector *v = arena_alloc(&h->arena, 1, sizeof *v);
        *v = vector_with_defaults(0, "w", DTYPE_BF16, DTYPE_BF16);
        h->tensors[i] = (struct tensor){.name = names[i],
                                        .rank = 2,
                                        .shape = shape,
                                        .layer = -1,
                                        .layers = -1,
                                        .n_vectors = 1,
                                        .vectors = v};
    }
    return h;
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    char *text = fuzz_text(bytes, size);
    bool head = size & 1;
    struct header *h = make_header(head);
    json_t *tokenizer =
        size & 2 ? json_pack("{s:[ii],s:i}", "eos_token_id", 1, 2, "bos_token_id", 5) : NULL;
    const struct config_update update = {.source = open_source(),
                                         .result = h,
                                         .has_own_head = head,
                                         .tokenizer = tokenizer,
                                         .tool = "update"};
    char *once = config_update_json(text, size, &update);
    char *twice = once ? config_update_json(once, strlen(once), &update) : NULL;
    json_t *json = once ? json_loads(once, 0, NULL) : NULL;
    if (once && (twice || !json)) {
        dprintf(fuzz_log, "once:\n%s\ntwice:\n%s\n", once, twice ? twice : "");
        abort();
    }
    json_decref(json);
    json_decref(tokenizer);
    free(once);
    free(twice);
    free(text);
    header_free(h);
}
