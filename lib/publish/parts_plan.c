#include "parts_plan.h"

#include "decode.h"
#include "encode.h"
#include "hash.h"
#include "history_json.h"
#include "input_guard.h"
#include "input_hashes.h"
#include "strict_json.h"
#include "weight_names.h"

#include <stdlib.h>
#include <string.h>

#define PLAN   "plan"   /* the file with the plan in JSON ... */
#define HEADER "header" /* ... and that with the header of the result, encoded as in a stream */
#define HASHES "tvtools_hashes"

struct metadata {
    size_t n;
    const char *pairs[6][2]; /* keys and values */
};

/* Frees the value. */
static void add_metadata(struct metadata *m, const char *key, char *value, struct arena *a)
{
    m->pairs[m->n][0] = key;
    m->pairs[m->n++][1] = arena_copy_text(a, value);
    free(value);
}

static struct metadata make_metadata(const struct parts_plan *plan, struct arena *a)
{
    struct metadata m = {0};
    const struct model_hashes unknown = {0};
    size_t room =
        plan->is_single_file && !plan->header_goes_first ? used_weights_text_room(plan->result) : 0;
    add_metadata(&m, "tvtools_version", mem_copy_text(TV_VERSION), a);
    add_metadata(&m, HISTORY_JSON_KEY, history_json_print(&plan->result->history), a);
    add_metadata(&m, "tvtools_models", model_card_models_json(plan->result), a);
    if (!plan->header_goes_first)
        add_metadata(&m, HASHES, model_card_hashes_json(plan->result, &unknown), a);
    if (plan->other_base)
        add_metadata(&m, "tvtools_onto", model_card_model_json(plan->other_base), a);
    if (room)
        add_metadata(&m, USED_WEIGHTS_METADATA, mem_printf("%*s", (int)room, ""), a);
    return m;
}

struct shard_layout_spec parts_plan_layout_spec(const struct parts_plan *plan, struct arena *a)
{
    const struct header *result = plan->result;
    size_t n = result->n_tensors;
    const char **names = arena_alloc(a, n, sizeof *names);
    enum dtype *dtypes = arena_alloc(a, n, sizeof *dtypes);
    size_t *ranks = arena_alloc(a, n, sizeof *ranks);
    const uint64_t **shapes = arena_alloc(a, n, sizeof *shapes);
    for (size_t i = 0; i < n; i++) {
        names[i] = result->tensors[i].name;
        dtypes[i] = result->tensors[i].vectors[0].dtype;
        ranks[i] = result->tensors[i].rank;
        shapes[i] = result->tensors[i].shape;
    }
    const struct metadata m = make_metadata(plan, a);
    return (struct shard_layout_spec){.n = n,
                                      .stem = plan->stem,
                                      .names = names,
                                      .dtypes = dtypes,
                                      .ranks = ranks,
                                      .shapes = shapes,
                                      .n_metadata = m.n,
                                      .metadata = arena_copy(a, m.pairs, sizeof m.pairs)};
}

static struct shard_layout *make_shard_layout(const struct partial_checkpoint *p,
                                              const struct parts_plan *plan, struct error *e)
{
    struct arena a = {0};
    struct shard_layout_spec spec = parts_plan_layout_spec(plan, &a);
    spec.shard_size = plan->shard_size;
    struct shard_layout *layout = shard_layout_new(&spec, partial_checkpoint_target_name(p), e);
    arena_free(&a);
    return layout;
}

/* ---- fingerprints ---------------------------------------------------------------------------- */

static void hash_integer(XXH3_state_t *state, uint64_t x)
{
    XXH3_64bits_update(state, &x, sizeof x);
}

static uint64_t digest_and_free_hash_state(XXH3_state_t *state)
{
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

/* Over names and headers of all shards, which contain tensors, offsets, version and history. */
static uint64_t compute_recipe_fingerprint(const struct shard_layout *l)
{
    XXH3_state_t *state = hash_new_state();
    for (size_t i = 0; i < l->n_shards; i++) {
        const struct shard *s = &l->shards[i];
        XXH3_64bits_update(state, s->name, strlen(s->name) + 1);
        XXH3_64bits_update(state, s->header, s->header_size);
    }
    return digest_and_free_hash_state(state);
}

/* Over names and fingerprints of the models. */
static uint64_t compute_inputs_fingerprint(const struct header *h,
                                           const struct model_source *auxiliary_source)
{
    XXH3_state_t *state = hash_new_state();
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        XXH3_64bits_update(state, m->name, strlen(m->name) + 1);
        hash_integer(state, m->has_fingerprint ? m->fingerprint : 0);
    }
    hash_integer(state, auxiliary_source ? model_source_fingerprint(auxiliary_source) : 0);
    return digest_and_free_hash_state(state);
}

/* ---- saving and loading ---------------------------------------------------------------------- */

static int write_plan(struct partial_checkpoint *p, const struct parts_plan *plan,
                      const struct merge_fingerprint *f, struct error *e)
{
    json_t *json = json_pack(
        "{s:I, s:I, s:s, s:s, s:o, s:o}", "shard_size", (json_int_t)plan->shard_size, "filled",
        (json_int_t)plan->n_filled, "stem", plan->stem, "card", plan->card.metadata, "recipe",
        shard_records_encode_hash(f->recipe), "inputs", shard_records_encode_hash(f->inputs));
    if (plan->card.config)
        json_object_set_new(json, "config", strict_json_string(plan->card.config));
    if (plan->other_base) {
        json_object_set_new(json, "onto", json_string(plan->other_base->name));
        json_object_set_new(json, "onto_fingerprint",
                            shard_records_encode_hash(plan->other_base->fingerprint));
    }
    char *text = json_dumps(json, JSON_INDENT(1));
    struct bytes header = {0};
    encode_header(&header, plan->result);
    int failed = partial_checkpoint_write_work_file(p, HEADER, header.data, header.size, e) ||
                 partial_checkpoint_write_work_file(p, PLAN, text, strlen(text), e);
    bytes_free(&header);
    free(text);
    json_decref(json);
    return failed ? -1 : 0;
}

int parts_plan_save(struct partial_checkpoint *p, const struct parts_plan *plan,
                    const struct model_source *auxiliary_source, struct error *e)
{
    struct shard_layout *layout = make_shard_layout(p, plan, e);
    if (!layout)
        return -1;
    const struct merge_fingerprint f = {compute_recipe_fingerprint(layout),
                                        compute_inputs_fingerprint(plan->result, auxiliary_source)};
    partial_checkpoint_set_layout(p, layout, &f);
    return write_plan(p, plan, &f, e);
}

static int report_damaged_plan(const struct partial_checkpoint *p, struct error *e)
{
    return error_set(e, "the plan of %s is missing or damaged; run one of its parts again",
                     partial_checkpoint_target_name(p));
}

/* Reads the JSON of a plan. The other base is allocated in the arena. */
static int parse_plan(const json_t *json, struct parts_plan *plan, struct merge_fingerprint *f,
                      struct arena *a)
{
    plan->shard_size = (uint64_t)json_integer_value(json_object_get(json, "shard_size"));
    plan->n_filled = (size_t)json_integer_value(json_object_get(json, "filled"));
    f->recipe = shard_records_decode_hash(json_object_get(json, "recipe"));
    f->inputs = shard_records_decode_hash(json_object_get(json, "inputs"));
    const char *name = json_string_value(json_object_get(json, "onto"));
    if (name) {
        struct model *m = arena_alloc(a, 1, sizeof *m);
        m->name = arena_copy_text(a, name);
        m->has_fingerprint = true;
        m->fingerprint = shard_records_decode_hash(json_object_get(json, "onto_fingerprint"));
        plan->other_base = m;
    }
    const char *metadata = json_string_value(json_object_get(json, "card"));
    const char *config = json_string_value(json_object_get(json, "config"));
    plan->card.metadata = arena_copy_text(a, metadata ? metadata : "");
    plan->card.config = arena_copy_text(a, config);
    plan->stem = weight_names_find_stem(json_string_value(json_object_get(json, "stem")));
    if (plan->shard_size == 0 || !plan->stem || plan->n_filled > plan->result->n_tensors)
        return -1;
    for (size_t i = 0; i < plan->result->n_tensors; i++)
        if (plan->result->tensors[i].n_vectors != 1)
            return -1;
    return 0;
}

/* Reads what write_plan has written. Fills in plan->result, which the caller has allocated. */
static int read_plan(const struct partial_checkpoint *p, struct parts_plan *plan,
                     struct merge_fingerprint *f, struct arena *a, struct error *e)
{
    size_t size, header_size;
    char *text = NULL, *header = NULL;
    if (partial_checkpoint_read_work_file(p, PLAN, &text, &size, e) ||
        partial_checkpoint_read_work_file(p, HEADER, &header, &header_size, e)) {
        free(text);
        return -1;
    }
    json_t *json =
        text ? strict_json_parse(PLAN, "plan", (const unsigned char *)text, size, e) : NULL;
    int failed = !json || !header ||
                 decode_header((const unsigned char *)header, header_size, plan->result, e) ||
                 parse_plan(json, plan, f, a);
    json_decref(json);
    free(text);
    free(header);
    return failed ? report_damaged_plan(p, e) : 0;
}

/* ---- recording ------------------------------------------------------------------------------- */

static int record_auxiliary_files(struct partial_checkpoint *p, const struct stage *s, json_t *read,
                                  struct error *e)
{
    json_t *more = json_object();
    json_object_set(more, "read", read);
    const json_t *old = partial_checkpoint_record(p, PARTIAL_CHECKPOINT_AUXILIARY);
    if (old && json_object_size(read) == 0) /* these tensors were read by an earlier run */
        json_object_set(more, "read", json_object_get(old, "read"));
    json_object_set_new(more, "hashes", input_hashes_of_models(s));
    return partial_checkpoint_record_auxiliary_files(p, more, e);
}

/* The weights that the joins used for the tensors of a shard: {INDEX: W, ...} (used_weights.h). */
static json_t *used_weights_of_shard(const struct partial_checkpoint *p,
                                     const struct used_weights *weights, size_t shard)
{
    const struct shard_layout *l = partial_checkpoint_layout(p);
    json_t *all = json_object();
    for (size_t i = 0; i < l->n; i++) {
        char index[24];
        json_t *own = l->tensors[i].shard == shard ? used_weights_of_tensor(weights, i) : NULL;
        snprintf(index, sizeof index, "%zu", i);
        if (own)
            json_object_set(all, index, own);
    }
    return all;
}

int parts_plan_record_shard(struct partial_checkpoint *p, const struct stage *s,
                            const struct used_weights *weights, size_t shard, struct error *e)
{
    json_t *read = input_hashes_of_shard(p, s, shard);
    int failed =
        shard == PARTIAL_CHECKPOINT_AUXILIARY
            ? record_auxiliary_files(p, s, read, e)
            : partial_checkpoint_finish_shard(p, shard,
                                              json_pack("{s:O, s:o}", "read", read, "weights",
                                                        used_weights_of_shard(p, weights, shard)),
                                              e);
    json_decref(read);
    return failed;
}

/* ---- publishing ------------------------------------------------------------------------------ */

static int check_foreign_records(const struct partial_checkpoint *p, struct error *e)
{
    char *shard = partial_checkpoint_find_foreign_record(p);
    if (!shard)
        return 0;
    error_set(e,
              "the parts of %s include %s of another merge; if it is not wanted, remove "
              "%s/%s.json",
              partial_checkpoint_target_name(p), shard, partial_checkpoint_folder_name(p), shard);
    free(shard);
    return -1;
}

static int check_all_shards_finished(struct partial_checkpoint *p, struct error *e)
{
    const struct shard_layout *l = partial_checkpoint_layout(p);
    enum shard_state state;
    for (size_t i = 0; i < l->n_shards; i++) {
        if (partial_checkpoint_check_shard(p, i, &state, e))
            return -1;
        if (state != SHARD_FINISHED)
            return error_set(e, "%s is incomplete: %s%s; run its part again",
                             partial_checkpoint_target_name(p), l->shards[i].name,
                             shard_records_state_text(state));
    }
    if (partial_checkpoint_check_shard(p, PARTIAL_CHECKPOINT_AUXILIARY, &state, e))
        return -1;
    if (state != SHARD_FINISHED)
        return error_set(e,
                         "%s is incomplete: the set of auxiliary files%s; run the first part again",
                         partial_checkpoint_target_name(p), shard_records_state_text(state));
    return check_foreign_records(p, e);
}

/* Those of all tensors, from the records of the shards. */
static struct used_weights *read_used_weights(const struct partial_checkpoint *p)
{
    const struct shard_layout *l = partial_checkpoint_layout(p);
    struct used_weights *all = used_weights_new(l->n);
    const char *index;
    json_t *weights;
    for (size_t shard = 0; shard < l->n_shards; shard++)
        json_object_foreach(json_object_get(partial_checkpoint_record(p, shard), "weights"), index,
                            weights)
        {
            unsigned long long i = strtoull(index, NULL, 10);
            if (i < l->n)
                used_weights_add_json(all, i, weights);
        }
    return all;
}

static int write_card_and_publish(struct partial_checkpoint *p, const struct parts_plan *plan,
                                  struct error *e)
{
    struct arena a = {0};
    const struct model_hashes hashes = input_hashes_combine(p, plan->result, &a);
    struct used_weights *weights = read_used_weights(p);
    char *metadata = model_card_hashes_json(plan->result, &hashes);
    char *text = used_weights_text(weights, plan->result);
    char *readme = model_card_readme_text(plan->result, &hashes, weights, plan->n_filled,
                                          plan->other_base, &plan->card);
    const struct partial_checkpoint_ending end = {HASHES, metadata, text, readme};
    int failed = partial_checkpoint_publish(p, &end, e);
    used_weights_free(weights);
    free(metadata);
    free(text);
    free(readme);
    arena_free(&a);
    return failed;
}

/* Sets the layout that the plan describes, if this process has not made it. */
static int set_planned_layout(struct partial_checkpoint *p, const struct parts_plan *plan,
                              const struct merge_fingerprint *f, struct error *e)
{
    if (partial_checkpoint_layout(p))
        return 0;
    const struct input_guard guard = {.result = plan->result, .reads_streams = true};
    if (partial_checkpoint_set_guard(p, &guard, e))
        return -1;
    struct shard_layout *layout = make_shard_layout(p, plan, e);
    if (!layout)
        return -1;
    partial_checkpoint_set_layout(p, layout, f);
    return compute_recipe_fingerprint(layout) == f->recipe ? 0 : report_damaged_plan(p, e);
}

int parts_plan_publish(struct partial_checkpoint *p, struct error *e)
{
    struct arena a = {0};
    struct merge_fingerprint f;
    struct parts_plan plan = {.result = header_new()};
    int failed = read_plan(p, &plan, &f, &a, e) || set_planned_layout(p, &plan, &f, e) ||
                 check_all_shards_finished(p, e) || write_card_and_publish(p, &plan, e);
    header_free(plan.result);
    arena_free(&a);
    return failed ? -1 : 0;
}
