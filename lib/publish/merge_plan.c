#include "merge_plan.h"

#include "decode.h"
#include "encode.h"
#include "hash.h"
#include "run_context.h"
#include "strict_json.h"

#include <stdlib.h>
#include <string.h>

#define PLAN   "plan"   /* what is said of the result in JSON ... */
#define HEADER "header" /* ... and its header, as a stream has it */
#define HASHES "tvtools_hashes"

struct shard_layout_spec merge_plan_layout_spec(const struct header *result, struct arena *a)
{
    const struct model_hashes unknown = {0};
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
    char *history = model_card_history_json(result),
         *hashes = model_card_hashes_json(result, &unknown);
    const char *const pairs[][2] = {{"tvtools_version", TV_VERSION},
                                    {"tvtools_history", arena_copy_text(a, history)},
                                    {HASHES, arena_copy_text(a, hashes)}};
    free(history);
    free(hashes);
    return (struct shard_layout_spec){.n = n,
                                      .names = names,
                                      .dtypes = dtypes,
                                      .ranks = ranks,
                                      .shapes = shapes,
                                      .n_metadata = sizeof pairs / sizeof *pairs,
                                      .metadata = arena_copy(a, pairs, sizeof pairs)};
}

/* ---- fingerprints ---------------------------------------------------------------------------- */

static void add_number(XXH3_state_t *state, uint64_t x)
{
    XXH3_64bits_update(state, &x, sizeof x);
}

static uint64_t digest(XXH3_state_t *state)
{
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

/* The headers of all files hold tensors and their places, the version and the history. */
static uint64_t recipe_print(const struct shard_layout *s)
{
    XXH3_state_t *state = XXH3_createState();
    XXH3_64bits_reset(state);
    for (size_t i = 0; i < s->n_files; i++) {
        XXH3_64bits_update(state, s->files[i].name, strlen(s->files[i].name) + 1);
        XXH3_64bits_update(state, s->files[i].head, s->files[i].head_size);
    }
    return digest(state);
}

/* The models' fingerprints stand for their contents. */
static uint64_t inputs_print(const struct header *h, const struct model_source *lender)
{
    XXH3_state_t *state = XXH3_createState();
    XXH3_64bits_reset(state);
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        XXH3_64bits_update(state, m->name, strlen(m->name) + 1);
        add_number(state, m->has_fingerprint ? m->fingerprint : 0);
    }
    add_number(state, lender ? model_source_fingerprint(lender) : 0);
    return digest(state);
}

/* ---- the plan -------------------------------------------------------------------------------- */

static int keep_plan(struct partial_checkpoint *p, const struct merge_plan *plan,
                     const struct merge_fingerprint *print, struct error *e)
{
    json_t *json =
        json_pack("{s:I, s:I, s:o, s:o}", "shard_size", (json_int_t)plan->shard_size, "filled",
                  (json_int_t)plan->n_filled, "recipe", shard_records_hash_to_json(print->recipe),
                  "inputs", shard_records_hash_to_json(print->inputs));
    if (plan->onto) {
        json_object_set_new(json, "onto", json_string(plan->onto->name));
        json_object_set_new(json, "onto_fingerprint",
                            shard_records_hash_to_json(plan->onto->fingerprint));
    }
    char *text = json_dumps(json, JSON_INDENT(1));
    struct bytes map = {0};
    encode_header(&map, plan->result);
    int failed = partial_checkpoint_write_work_file(p, HEADER, map.data, map.size, e) ||
                 partial_checkpoint_write_work_file(p, PLAN, text, strlen(text), e);
    bytes_free(&map);
    free(text);
    json_decref(json);
    return failed ? -1 : 0;
}

static int plan_shards(struct partial_checkpoint *p, const struct merge_plan *plan,
                       struct shard_layout **shards, struct error *e)
{
    struct arena a = {0};
    struct shard_layout_spec wanted = merge_plan_layout_spec(plan->result, &a);
    wanted.shard_size = plan->shard_size;
    *shards = shard_layout_new(&wanted, partial_checkpoint_target_name(p), e);
    arena_free(&a);
    return *shards ? 0 : -1;
}

int merge_plan_save(struct partial_checkpoint *p, const struct merge_plan *plan,
                    const struct model_source *lender, struct error *e)
{
    struct shard_layout *shards;
    if (plan_shards(p, plan, &shards, e))
        return -1;
    const struct merge_fingerprint print = {recipe_print(shards),
                                            inputs_print(plan->result, lender)};
    partial_checkpoint_set_layout(p, shards, &print);
    return keep_plan(p, plan, &print, e);
}

static int no_plan(const struct partial_checkpoint *p, struct error *e)
{
    return error_set(e, "the plan of the parts of %s is missing or damaged; run a part again",
                     partial_checkpoint_target_name(p));
}

/* What keep_plan has written; the header is the caller's to free, whatever comes back. */
static int load_plan(const struct partial_checkpoint *p, struct merge_plan *plan,
                     struct model *onto, struct merge_fingerprint *print, struct arena *a,
                     struct error *e)
{
    size_t size, header_size;
    char *text = partial_checkpoint_read_work_file(p, PLAN, &size),
         *header = partial_checkpoint_read_work_file(p, HEADER, &header_size);
    json_t *json =
        text ? strict_json_parse(PLAN, "plan", (const unsigned char *)text, size, e) : NULL;
    int failed = !json || !header ||
                 decode_header((const unsigned char *)header, header_size, plan->result, e);
    if (!failed) {
        plan->shard_size = (uint64_t)json_integer_value(json_object_get(json, "shard_size"));
        plan->n_filled = (size_t)json_integer_value(json_object_get(json, "filled"));
        failed = plan->shard_size == 0 || plan->n_filled > plan->result->n_tensors;
        print->recipe = shard_records_hash_from_json(json_object_get(json, "recipe"));
        print->inputs = shard_records_hash_from_json(json_object_get(json, "inputs"));
        const char *name = json_string_value(json_object_get(json, "onto"));
        *onto = (struct model){
            .name = arena_copy_text(a, name),
            .has_fingerprint = true,
            .fingerprint = shard_records_hash_from_json(json_object_get(json, "onto_fingerprint"))};
        plan->onto = name ? onto : NULL;
    }
    for (size_t i = 0; !failed && i < plan->result->n_tensors; i++)
        failed = plan->result->tensors[i].n_vectors != 1;
    json_decref(json);
    free(text);
    free(header);
    return failed ? no_plan(p, e) : 0;
}

/* ---- full hashes ----------------------------------------------------------------------------- */

/* Where does the source's tensor behind that hash belong? */
static bool is_for(const struct shard_layout *shards, const struct tensor_hash *h, size_t shard)
{
    return h->sink_index == SIZE_MAX
               ? shard == SIZE_MAX
               : shard != SIZE_MAX && shards->places[h->sink_index].shard == shard;
}

int merge_plan_record_shard(struct partial_checkpoint *p, const struct stage *s, size_t shard,
                            struct error *e)
{
    const struct tensor_hash *hashes;
    size_t n = run_context_tensor_hashes(s, &hashes);
    json_t *more = json_object(), *read = json_object();
    for (size_t i = 0; i < n; i++) {
        char index[24];
        json_t *of = json_object_get(read, hashes[i].model);
        if (!is_for(partial_checkpoint_layout(p), &hashes[i], shard))
            continue;
        if (!of) {
            of = json_object();
            json_object_set_new(read, hashes[i].model, of);
        }
        snprintf(index, sizeof index, "%zu", hashes[i].index);
        json_object_set_new(of, index, shard_records_hash_to_json(hashes[i].hash));
    }
    json_object_set_new(more, "read", read);
    if (shard != SIZE_MAX)
        return partial_checkpoint_finish_shard(p, shard, more, e);
    json_t *old = partial_checkpoint_load_record(p, SIZE_MAX);
    if (old && json_object_size(read) == 0) /* they were not read again */
        json_object_set(more, "read", json_object_get(old, "read"));
    json_decref(old);
    const char *const *models;
    const uint64_t *whole;
    size_t n_models = run_context_model_hashes(s, &models, &whole);
    json_t *all = json_object();
    for (size_t i = 0; i < n_models; i++)
        json_object_set_new(all, models[i], shard_records_hash_to_json(whole[i]));
    json_object_set_new(more, "hashes", all);
    return partial_checkpoint_record_auxiliary_files(p, more, e);
}

struct read_hash {
    unsigned long long index;
    uint64_t hash;
};

static int by_index(const void *a, const void *b)
{
    const struct read_hash *x = a, *y = b;
    return (x->index > y->index) - (x->index < y->index);
}

/* Of one model, what all records tell. */
struct gathered {
    size_t n;
    struct read_hash *hashes;
};

static void gather(struct gathered *g, const json_t *record, const char *model)
{
    const char *index;
    json_t *hash, *of = json_object_get(json_object_get(record, "read"), model);
    json_object_foreach(of, index, hash)
    {
        if ((g->n & (g->n - 1)) == 0)
            g->hashes = mem_resize(g->hashes, g->n ? 2 * g->n : 1, sizeof *g->hashes);
        g->hashes[g->n++] =
            (struct read_hash){strtoull(index, NULL, 10), shard_records_hash_from_json(hash)};
    }
}

/* As family.c has it: over the hashes of the tensors in their order. */
static uint64_t model_hash(struct gathered *g)
{
    XXH3_state_t *state = XXH3_createState();
    XXH3_64bits_reset(state);
    qsort(g->hashes, g->n, sizeof *g->hashes, by_index);
    for (size_t i = 0; i < g->n; i++)
        if (i == 0 || g->hashes[i].index != g->hashes[i - 1].index)
            add_number(state, g->hashes[i].hash);
    return digest(state);
}

/* Records of shards, then of what is beside them. */
static json_t **load_records(const struct partial_checkpoint *p)
{
    size_t n = partial_checkpoint_layout(p)->n_files;
    json_t **records = mem_alloc(n + 1, sizeof(json_t *));
    for (size_t i = 0; i <= n; i++)
        records[i] = partial_checkpoint_load_record(p, i < n ? i : SIZE_MAX);
    return records;
}

static struct model_hashes full_hashes(const struct partial_checkpoint *p, const struct header *h,
                                       struct arena *a)
{
    size_t n = partial_checkpoint_layout(p)->n_files, known = 0;
    json_t **records = load_records(p);
    const char **models = arena_alloc(a, h->n_models, sizeof *models);
    uint64_t *hashes = arena_alloc(a, h->n_models, sizeof *hashes);
    for (size_t m = 0; m < h->n_models; m++) {
        const char *name = h->models[m].name;
        json_t *whole = json_object_get(json_object_get(records[n], "hashes"), name);
        struct gathered g = {0};
        for (size_t i = 0; i <= n; i++)
            gather(&g, records[i], name);
        if (g.n || whole) {
            models[known] = name;
            hashes[known++] = g.n ? model_hash(&g) : shard_records_hash_from_json(whole);
        }
        free(g.hashes);
    }
    for (size_t i = 0; i <= n; i++)
        json_decref(records[i]);
    free(records);
    return (struct model_hashes){known, models, hashes};
}

/* ---- publishing ------------------------------------------------------------------------------ */

static int check_parts(struct partial_checkpoint *p, struct error *e)
{
    const struct shard_layout *s = partial_checkpoint_layout(p);
    for (size_t i = 0; i < s->n_files; i++) {
        enum shard_state state = partial_checkpoint_check_shard(p, i);
        if (state != SHARD_FINISHED)
            return error_set(e, "%s is not complete: %s%s; run its part again",
                             partial_checkpoint_target_name(p), s->files[i].name,
                             shard_records_state_text(state));
    }
    enum shard_state beside = partial_checkpoint_check_auxiliary_files(p);
    if (beside != SHARD_FINISHED)
        return error_set(e,
                         "%s is not complete: what is beside its weights%s; run the first part "
                         "again",
                         partial_checkpoint_target_name(p), shard_records_state_text(beside));
    char *stranger = partial_checkpoint_find_foreign_record(p);
    if (!stranger)
        return 0;
    error_set(
        e, "among the parts of %s is %s, of another merge; if it is not wanted, remove %s/%s.json",
        partial_checkpoint_target_name(p), stranger, partial_checkpoint_folder_name(p), stranger);
    free(stranger);
    return -1;
}

static int publish(struct partial_checkpoint *p, const struct merge_plan *plan, struct error *e)
{
    struct arena a = {0};
    const struct model_hashes hashes = full_hashes(p, plan->result, &a);
    char *known = model_card_hashes_json(plan->result, &hashes);
    char *readme = model_card_readme_text(plan->result, &hashes, plan->n_filled, plan->onto);
    int failed = partial_checkpoint_publish(p, HASHES, known, readme, e);
    free(known);
    free(readme);
    arena_free(&a);
    return failed;
}

int merge_plan_publish(struct partial_checkpoint *p, struct error *e)
{
    struct arena a = {0};
    struct model onto;
    struct merge_fingerprint print;
    struct merge_plan plan = {.result = header_new()};
    struct shard_layout *shards = NULL;
    int failed = load_plan(p, &plan, &onto, &print, &a, e);
    if (!failed && !partial_checkpoint_layout(p)) {
        failed = plan_shards(p, &plan, &shards, e);
        if (!failed)
            partial_checkpoint_set_layout(p, shards, &print);
        if (!failed && recipe_print(shards) != print.recipe)
            failed = no_plan(p, e);
    }
    failed = failed || check_parts(p, e) || publish(p, &plan, e) ? -1 : 0;
    header_free(plan.result);
    arena_free(&a);
    return failed;
}
