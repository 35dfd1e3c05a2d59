#include "shard_subset.h"

#include <stdlib.h>

#define PARTS_MAX 100000

struct shard_subset {
    struct stage *stage;
    struct partial_checkpoint *parts;
    const struct shards *shards;
    size_t *left;    /* [shard]: tensors that are still to come */
    uint64_t i, n;   /* part I of N */
    bool publishes;  /* --resume */
    bool waits;      /* what a stream brings counts only when its end was seen */
    bool has_beside; /* what is beside the shards was read by an earlier run */
};

struct partial_checkpoint *shard_subset_checkpoint(const struct shard_subset *s)
{
    return s->parts;
}

bool shard_subset_is_first(const struct shard_subset *s)
{
    return s->i == 1;
}

bool shard_subset_wants(const struct shard_subset *s, size_t index)
{
    return index == SIZE_MAX ? shard_subset_is_first(s) && !s->has_beside
                             : partial_checkpoint_takes(s->parts, s->shards->places[index].shard);
}

int shard_subset_read_part(const char *text, uint64_t *i, uint64_t *n, struct error *e)
{
    char *slash, *end = NULL;
    *i = strtoull(text, &slash, 10);
    if (*text >= '1' && *text <= '9' && *slash == '/' && slash[1] >= '1' && slash[1] <= '9')
        *n = strtoull(slash + 1, &end, 10);
    if (!end || *end || *i > *n || *n > PARTS_MAX)
        return error_set(e, "--part: \"%s\" is no part of a whole (1/3, 2/3, 3/3; at most %d)",
                         text, PARTS_MAX);
    return 0;
}

/* Those of its own shards that are to be made. */
static void choose(struct shard_subset *s)
{
    const char *tool = s->stage->filter->name;
    size_t sound = 0, own = 0;
    for (size_t j = s->i - 1; j < s->shards->n_files; j += s->n, own++) {
        enum parts_state state =
            s->waits ? PARTS_ABSENT : partial_checkpoint_shard_state(s->parts, j);
        if (state == PARTS_SOUND) {
            sound++;
            continue;
        }
        partial_checkpoint_take(s->parts, j);
        if (state != PARTS_ABSENT)
            fprintf(stderr, "%s: note: %s%s; it is made again\n", tool, s->shards->files[j].name,
                    partial_checkpoint_state_text(state));
    }
    if (sound)
        fprintf(stderr, "%s: note: %zu of %zu files are finished already\n", tool, sound, own);
}

static void count_tensors(struct shard_subset *s)
{
    s->left = mem_alloc(s->shards->n_files, sizeof *s->left);
    for (size_t j = 0; j < s->shards->n; j++)
        s->left[s->shards->places[j].shard]++;
}

static int start(struct shard_subset *s, const struct merge_plan *plan,
                 const struct model_source *lender, struct error *e)
{
    if (merge_plan_begin(s->parts, plan, lender, e) ||
        (s->publishes && partial_checkpoint_remove_foreign_records(s->parts, e)))
        return -1;
    s->shards = partial_checkpoint_shards(s->parts);
    s->waits = !stage_reads_models(s->stage);
    s->has_beside = !s->waits && partial_checkpoint_rest_state(s->parts) == PARTS_SOUND;
    count_tensors(s);
    choose(s);
    return partial_checkpoint_check_space(s->parts, e);
}

struct shard_subset *shard_subset_open(struct stage *stage, const char *target, bool force,
                                       const char *part, const struct merge_plan *plan,
                                       const struct model_source *lender, struct error *e)
{
    struct shard_subset *s = mem_alloc(1, sizeof *s);
    *s = (struct shard_subset){.stage = stage, .i = 1, .n = 1, .publishes = !part};
    const char *whole = stage_of_model_scope(stage);
    int failed = part ? shard_subset_read_part(part, &s->i, &s->n, e) : 0;
    if (!failed && whole)
        failed = error_set(e, "%s must see the whole model, which --%s takes apart", whole,
                           part ? "part" : "resume");
    if (!failed)
        s->parts = partial_checkpoint_open(
            target, force, part ? PARTIAL_CHECKPOINT_SHARED : PARTIAL_CHECKPOINT_ALONE, e);
    if (s->parts && start(s, plan, lender, e) == 0)
        return s;
    shard_subset_close(s);
    return NULL;
}

void shard_subset_close(struct shard_subset *s)
{
    if (!s)
        return;
    partial_checkpoint_close(s->parts);
    free(s->left);
    free(s);
}

int shard_subset_tensor_done(struct shard_subset *s, size_t index, struct error *e)
{
    size_t shard = s->shards->places[index].shard;
    return --s->left[shard] || s->waits ? 0 : merge_plan_seal(s->parts, s->stage, shard, e);
}

int shard_subset_finish(struct shard_subset *s, struct error *e)
{
    for (size_t j = 0; j < s->shards->n_files; j++)
        if (partial_checkpoint_takes(s->parts, j) && merge_plan_seal(s->parts, s->stage, j, e))
            return -1;
    if (shard_subset_is_first(s) && merge_plan_seal(s->parts, s->stage, SIZE_MAX, e))
        return -1;
    return s->publishes ? merge_plan_publish(s->parts, e) : 0;
}
