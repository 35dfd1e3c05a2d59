/* The header of a stream, encoded, to what a checkpoint is told about it: encoding what was decoded
 * gives bytes that decode as the same; the headers of the checkpoint's files list the same tensors;
 * and its metadata are valid JSON. */
#include "fuzz.h"
#include "decode.h"
#include "encode.h"
#include "history_json.h"
#include "parts_plan.h"
#include "safetensors.h"

static void require(bool holds, const char *what)
{
    if (!holds) {
        dprintf(fuzz_log, "%s\n", what);
        abort();
    }
}

static void check_encoding(const struct header *h)
{
    struct error e = {0};
    struct bytes once = {0}, twice = {0};
    struct header *again = header_new();
    encode_header(&once, h);
    require(decode_header(once.data, once.size, again, &e) == 0, e.text);
    encode_header(&twice, again);
    require(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0,
            "the encoding differs");
    header_free(again);
    bytes_free(&once);
    bytes_free(&twice);
}

static void check_json(char *text)
{
    json_t *json = json_loads(text, 0, NULL);
    require(json, text);
    json_decref(json);
    free(text);
}

/* The header of a shard lists its tensors; of the data no byte is read. */
static void check_shard(const struct shard *s)
{
    struct error e = {0};
    struct stored_tensors listed = {.file = s->name};
    uint8_t *copy = fuzz_copy(s->header, s->header_size);
    require(safetensors_list_tensors(&listed, copy, s->header_size + s->data_size, &e) == 0,
            e.text);
    stored_tensors_free(&listed);
    free(copy);
}

static void check_layout(const struct parts_plan *plan)
{
    struct error e;
    struct arena a = {0};
    struct shard_layout_spec spec = parts_plan_layout_spec(plan, &a);
    spec.shard_size = plan->shard_size;
    struct shard_layout *l = shard_layout_new(&spec, "target", &e);
    for (size_t i = 0; l && i < l->n_shards; i++)
        check_shard(&l->shards[i]);
    char *index = l ? shard_layout_index_json(l) : NULL;
    if (index)
        check_json(index);
    shard_layout_free(l);
    arena_free(&a);
}

/* The weights with which joins made the tensors. */
static struct used_weights *collect_weights(const struct header *h)
{
    struct used_weights *all = used_weights_new(h->n_tensors);
    for (size_t i = 0; i < h->n_tensors; i++)
        used_weights_add(all, i, h->tensors[i].vectors);
    char *text = used_weights_text(all, h);
    if (text)
        check_json(text);
    return all;
}

static void check_checkpoint(struct header *h, bool is_single_file)
{
    const struct parts_plan plan = {.result = h,
                                    .n_filled = h->n_tensors / 2,
                                    .shard_size = 4096,
                                    .other_base = h->n_models ? h->models : NULL,
                                    .is_single_file = is_single_file};
    const struct model_hashes none = {0};
    struct used_weights *weights = collect_weights(h);
    check_layout(&plan);
    free(model_card_readme_text(h, &none, weights, plan.n_filled, plan.other_base,
                                &(struct card_texts){.metadata = ""}));
    used_weights_free(weights);
}

static bool is_checkpoint(const struct header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++)
        if (h->tensors[i].n_vectors != 1)
            return false;
    return true;
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    uint8_t *copy = fuzz_copy(bytes, size);
    struct header *h = header_new();
    if (decode_header(copy, size, h, &e) == 0) {
        const struct model_hashes none = {0};
        check_encoding(h);
        check_json(history_json_print(&h->history));
        check_json(model_card_hashes_json(h, &none));
        check_json(model_card_models_json(h));
        if (is_checkpoint(h))
            check_checkpoint(h, size & 1);
    }
    header_free(h);
    free(copy);
}
