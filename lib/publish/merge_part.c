#include "merge_part.h"

#include "run_context.h"

#include <stdlib.h>

#define PARTS_MAX 100000

struct merge_part {
    struct stage *stage;
    struct partial_checkpoint *parts;
    const struct shard_layout *shards;
    size_t *left;    /* [shard]: tensors that are still to come */
    uint64_t i, n;   /* part I of N */
    bool publishes;  /* --resume */
    bool waits;      /* what a stream brings counts only when its end was seen */
    bool has_beside; /* what is beside the shards was read by an earlier run */
};

struct partial_checkpoint *merge_part_checkpoint(const struct merge_part *s)
{
    return s->parts;
}

bool merge_part_is_first(const struct merge_part *s)
{
    return s->i == 1;
}

bool merge_part_wants_tensor(const struct merge_part *s, size_t index)
{
    return index == SIZE_MAX
               ? merge_part_is_first(s) && !s->has_beside
               : partial_checkpoint_is_claimed(s->parts, s->shards->places[index].shard);
}

int merge_part_parse(const char *text, uint64_t *i, uint64_t *n, struct error *e)
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
static void choose(struct merge_part *s)
{
    const char *tool = s->stage->filter->name;
    size_t sound = 0, own = 0;
    for (size_t j = s->i - 1; j < s->shards->n_files; j += s->n, own++) {
        enum shard_state state =
            s->waits ? SHARD_MISSING : partial_checkpoint_check_shard(s->parts, j);
        if (state == SHARD_FINISHED) {
            sound++;
            continue;
        }
        partial_checkpoint_claim_shard(s->parts, j);
        if (state != SHARD_MISSING)
            fprintf(stderr, "%s: note: %s%s; it is made again\n", tool, s->shards->files[j].name,
                    shard_records_state_text(state));
    }
    if (sound)
        fprintf(stderr, "%s: note: %zu of %zu files are finished already\n", tool, sound, own);
}

static void count_tensors(struct merge_part *s)
{
    s->left = mem_alloc(s->shards->n_files, sizeof *s->left);
    for (size_t j = 0; j < s->shards->n; j++)
        s->left[s->shards->places[j].shard]++;
}

static int start(struct merge_part *s, const struct merge_plan *plan,
                 const struct model_source *lender, struct error *e)
{
    if (merge_plan_save(s->parts, plan, lender, e) ||
        (s->publishes && partial_checkpoint_remove_foreign_records(s->parts, e)))
        return -1;
    s->shards = partial_checkpoint_layout(s->parts);
    s->waits = !run_context_has_model_fingerprints(s->stage);
    s->has_beside =
        !s->waits && partial_checkpoint_check_auxiliary_files(s->parts) == SHARD_FINISHED;
    count_tensors(s);
    choose(s);
    return partial_checkpoint_check_space(s->parts, e);
}

struct merge_part *merge_part_open(struct stage *stage, const char *target, bool force,
                                   const char *part, const struct merge_plan *plan,
                                   const struct model_source *lender, struct error *e)
{
    struct merge_part *s = mem_alloc(1, sizeof *s);
    *s = (struct merge_part){.stage = stage, .i = 1, .n = 1, .publishes = !part};
    const char *whole = run_context_find_model_scope_stage(stage);
    int failed = part ? merge_part_parse(part, &s->i, &s->n, e) : 0;
    if (!failed && whole)
        failed = error_set(e, "%s must see the whole model, which --%s takes apart", whole,
                           part ? "part" : "resume");
    if (!failed)
        s->parts = partial_checkpoint_open(
            target, force, part ? PARTIAL_CHECKPOINT_SHARED : PARTIAL_CHECKPOINT_EXCLUSIVE, e);
    if (s->parts && start(s, plan, lender, e) == 0)
        return s;
    merge_part_close(s);
    return NULL;
}

void merge_part_close(struct merge_part *s)
{
    if (!s)
        return;
    partial_checkpoint_close(s->parts);
    free(s->left);
    free(s);
}

int merge_part_finish_tensor(struct merge_part *s, size_t index, struct error *e)
{
    size_t shard = s->shards->places[index].shard;
    return --s->left[shard] || s->waits ? 0 : merge_plan_record_shard(s->parts, s->stage, shard, e);
}

int merge_part_finish(struct merge_part *s, struct error *e)
{
    for (size_t j = 0; j < s->shards->n_files; j++)
        if (partial_checkpoint_is_claimed(s->parts, j) &&
            merge_plan_record_shard(s->parts, s->stage, j, e))
            return -1;
    if (merge_part_is_first(s) && merge_plan_record_shard(s->parts, s->stage, SIZE_MAX, e))
        return -1;
    return s->publishes ? merge_plan_publish(s->parts, e) : 0;
}
