#include "share.h"

#include <stdlib.h>

#define PARTS_MAX 100000

struct share {
    struct stage *stage;
    struct parts *parts;
    const struct shards *shards;
    size_t *left;    /* [shard]: tensors that are still to come */
    uint64_t i, n;   /* part I of N */
    bool publishes;  /* --resume */
    bool waits;      /* what a stream brings counts only when its end was seen */
    bool has_beside; /* what is beside the shards was read by an earlier run */
};

struct parts *share_parts(const struct share *s)
{
    return s->parts;
}

bool share_is_first(const struct share *s)
{
    return s->i == 1;
}

bool share_takes(const struct share *s, size_t index)
{
    return index == SIZE_MAX ? share_is_first(s) && !s->has_beside
                             : parts_takes(s->parts, s->shards->places[index].shard);
}

int share_read_part(const char *text, uint64_t *i, uint64_t *n, struct error *e)
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
static void choose(struct share *s)
{
    const char *tool = s->stage->filter->name;
    size_t sound = 0, own = 0;
    for (size_t j = s->i - 1; j < s->shards->n_files; j += s->n, own++) {
        enum parts_state state = s->waits ? PARTS_ABSENT : parts_look(s->parts, j);
        if (state == PARTS_SOUND) {
            sound++;
            continue;
        }
        parts_take(s->parts, j);
        if (state != PARTS_ABSENT)
            fprintf(stderr, "%s: note: %s%s; it is made again\n", tool, s->shards->files[j].name,
                    parts_state_text(state));
    }
    if (sound)
        fprintf(stderr, "%s: note: %zu of %zu files are finished already\n", tool, sound, own);
}

static void count_tensors(struct share *s)
{
    s->left = mem_alloc(s->shards->n_files, sizeof *s->left);
    for (size_t j = 0; j < s->shards->n; j++)
        s->left[s->shards->places[j].shard]++;
}

static int start(struct share *s, const struct finish_plan *plan, const struct input *lender,
                 struct error *e)
{
    if (finish_begin(s->parts, plan, lender, e) ||
        (s->publishes && parts_remove_strangers(s->parts, e)))
        return -1;
    s->shards = parts_shards(s->parts);
    s->waits = !stage_reads_models(s->stage);
    s->has_beside = !s->waits && parts_look_beside(s->parts) == PARTS_SOUND;
    count_tensors(s);
    choose(s);
    return parts_check_space(s->parts, e);
}

struct share *share_open(struct stage *stage, const char *target, bool force, const char *part,
                         const struct finish_plan *plan, const struct input *lender,
                         struct error *e)
{
    struct share *s = mem_alloc(1, sizeof *s);
    *s = (struct share){.stage = stage, .i = 1, .n = 1, .publishes = !part};
    const char *whole = stage_of_model_scope(stage);
    int failed = part ? share_read_part(part, &s->i, &s->n, e) : 0;
    if (!failed && whole)
        failed = error_set(e, "%s must see the whole model, which --%s takes apart", whole,
                           part ? "part" : "resume");
    if (!failed)
        s->parts = parts_open(target, force, part ? PARTS_SHARED : PARTS_ALONE, e);
    if (s->parts && start(s, plan, lender, e) == 0)
        return s;
    share_close(s);
    return NULL;
}

void share_close(struct share *s)
{
    if (!s)
        return;
    parts_close(s->parts);
    free(s->left);
    free(s);
}

int share_tensor_done(struct share *s, size_t index, struct error *e)
{
    size_t shard = s->shards->places[index].shard;
    return --s->left[shard] || s->waits ? 0 : finish_seal(s->parts, s->stage, shard, e);
}

int share_finish(struct share *s, struct error *e)
{
    for (size_t j = 0; j < s->shards->n_files; j++)
        if (parts_takes(s->parts, j) && finish_seal(s->parts, s->stage, j, e))
            return -1;
    if (share_is_first(s) && finish_seal(s->parts, s->stage, SIZE_MAX, e))
        return -1;
    return s->publishes ? finish_publish(s->parts, e) : 0;
}
