#include "merge_part.h"

#include "printable.h"
#include "source_sink_services.h"

#include <stdlib.h>

#define PARTS_MAX 100000

struct merge_part {
    struct stage *stage;
    const struct used_weights *weights;
    struct partial_checkpoint *checkpoint;
    const struct shard_layout *layout;
    size_t *tensors_left; /* [shard] */
    uint64_t i, n;        /* part i of n */
    bool publishes;       /* --resume */
    bool reads_stream;    /* a stream counts only when its end has been seen */
    bool has_auxiliary;   /* an earlier run has written the auxiliary files */
};

struct partial_checkpoint *merge_part_checkpoint(const struct merge_part *m)
{
    return m->checkpoint;
}

bool merge_part_is_first(const struct merge_part *m)
{
    return m->i == 1;
}

bool merge_part_wants_tensor(const struct merge_part *m, size_t index)
{
    if (index == SIZE_MAX)
        return merge_part_is_first(m) && !m->has_auxiliary;
    return partial_checkpoint_is_claimed(m->checkpoint, m->layout->tensors[index].shard);
}

int merge_part_parse(const char *text, uint64_t *i, uint64_t *n, struct error *e)
{
    char *slash, *end = NULL;
    *i = strtoull(text, &slash, 10);
    if (*text >= '1' && *text <= '9' && *slash == '/' && slash[1] >= '1' && slash[1] <= '9')
        *n = strtoull(slash + 1, &end, 10);
    if (!end || *end || *i > *n || *n > PARTS_MAX)
        return error_set(e, "--part: expected I/N with 1 <= I <= N <= %d, found \"%.200s\"",
                         PARTS_MAX, text);
    return 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Claims those of its shards that are not finished. */
static int claim_unfinished_shards(struct merge_part *m, struct error *e)
{
    const char *tool = m->stage->filter->name;
    size_t finished = 0, own = 0;
    for (size_t j = m->i - 1; j < m->layout->n_shards; j += m->n, own++) {
        enum shard_state state = SHARD_MISSING;
        if (!m->reads_stream && partial_checkpoint_check_shard(m->checkpoint, j, &state, e))
            return -1;
        if (state == SHARD_FINISHED) {
            finished++;
            continue;
        }
        if (partial_checkpoint_claim_shard(m->checkpoint, j, e))
            return -1;
        if (state != SHARD_MISSING)
            printable_note(tool, "%s%s; it is recomputed", m->layout->shards[j].name,
                           shard_records_state_text(state));
    }
    if (finished)
        printable_note(tool, "%zu of %zu shards are already finished", finished, own);
    return m->reads_stream ? partial_checkpoint_check_descriptors(m->checkpoint, e) : 0;
}

static void count_tensors_per_shard(struct merge_part *m)
{
    m->tensors_left = mem_alloc(m->layout->n_shards, sizeof *m->tensors_left);
    for (size_t j = 0; j < m->layout->n; j++)
        m->tensors_left[m->layout->tensors[j].shard]++;
}

static int save_plan_and_claim_shards(struct merge_part *m, const struct parts_plan *plan,
                                      const struct model_source *auxiliary_source, struct error *e)
{
    struct partial_checkpoint *p = m->checkpoint;
    if (parts_plan_save(p, plan, auxiliary_source, e) ||
        (m->publishes && partial_checkpoint_remove_foreign_records(p, e)))
        return -1;
    m->layout = partial_checkpoint_layout(p);
    m->reads_stream = !source_sink_services_has_model_fingerprints(m->stage);
    enum shard_state state = SHARD_MISSING;
    if (!m->reads_stream &&
        partial_checkpoint_check_shard(p, PARTIAL_CHECKPOINT_AUXILIARY, &state, e))
        return -1;
    m->has_auxiliary = state == SHARD_FINISHED;
    count_tensors_per_shard(m);
    return claim_unfinished_shards(m, e) || partial_checkpoint_check_space(p, e) ? -1 : 0;
}

static int check_no_model_scope_stage(const struct stage *s, const char *option, struct error *e)
{
    const char *stage = source_sink_services_find_model_scope_stage(s);
    return stage ? error_set(e, "%s needs the whole model in one run, so --%s cannot be used",
                             stage, option)
                 : 0;
}

struct merge_part *merge_part_open(struct stage *s, const struct merge_part_options *o,
                                   const struct parts_plan *plan,
                                   const struct model_source *auxiliary_source, struct error *e)
{
    struct merge_part *m = mem_alloc(1, sizeof *m);
    *m = (struct merge_part){
        .stage = s, .weights = o->weights, .i = 1, .n = 1, .publishes = !o->part};
    int failed = (o->part && merge_part_parse(o->part, &m->i, &m->n, e)) ||
                 check_no_model_scope_stage(s, o->part ? "part" : "resume", e);
    if (!failed)
        m->checkpoint = partial_checkpoint_open(
            o->target, o->force, o->guard,
            o->part ? PARTIAL_CHECKPOINT_SHARED : PARTIAL_CHECKPOINT_EXCLUSIVE, e);
    if (m->checkpoint && save_plan_and_claim_shards(m, plan, auxiliary_source, e) == 0)
        return m;
    merge_part_close(m);
    return NULL;
}

void merge_part_close(struct merge_part *m)
{
    if (!m)
        return;
    partial_checkpoint_close(m->checkpoint);
    free(m->tensors_left);
    free(m);
}

/* ---- finishing ------------------------------------------------------------------------------- */

static int record_shard(struct merge_part *m, size_t shard, struct error *e)
{
    return parts_plan_record_shard(m->checkpoint, m->stage, m->weights, shard, e);
}

int merge_part_record_finished_tensor(struct merge_part *m, size_t index, struct error *e)
{
    size_t shard = m->layout->tensors[index].shard;
    if (--m->tensors_left[shard] || m->reads_stream)
        return 0;
    return record_shard(m, shard, e);
}

int merge_part_record_shards_and_publish(struct merge_part *m, struct error *e)
{
    for (size_t j = 0; j < m->layout->n_shards; j++)
        if (partial_checkpoint_is_claimed(m->checkpoint, j) && record_shard(m, j, e))
            return -1;
    if (merge_part_is_first(m) && record_shard(m, PARTIAL_CHECKPOINT_AUXILIARY, e))
        return -1;
    return m->publishes ? parts_plan_publish(m->checkpoint, e) : 0;
}
