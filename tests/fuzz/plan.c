/* The plan of a merge in parts, to the model card. An input is the plan's JSON, a zero byte, the
 * record of a shard, a zero byte, and the header of the result. The Makefile replaces the functions
 * of the parts folder. */
#include "fuzz.h"
#include "parts_plan.h"
#include "strict_json.h"

/* A parts folder whose shards are finished. The first one and the auxiliary files have the record.
 */
struct partial_checkpoint {
    const uint8_t *plan, *header;
    size_t plan_size, header_size;
    json_t *record;
    struct shard_layout *layout;
};

int __wrap_partial_checkpoint_read_work_file(const struct partial_checkpoint *p, const char *name,
                                             char **bytes, size_t *size, struct error *e);
int __wrap_partial_checkpoint_read_work_file(const struct partial_checkpoint *p, const char *name,
                                             char **bytes, size_t *size, struct error *e)
{
    bool is_plan = strcmp(name, "plan") == 0;
    *size = is_plan ? p->plan_size : p->header_size;
    *bytes = fuzz_text(is_plan ? p->plan : p->header, *size);
    return 0;
}

const struct shard_layout *__wrap_partial_checkpoint_layout(const struct partial_checkpoint *p);
const struct shard_layout *__wrap_partial_checkpoint_layout(const struct partial_checkpoint *p)
{
    return p->layout;
}

void __wrap_partial_checkpoint_set_layout(struct partial_checkpoint *p, struct shard_layout *layout,
                                          const struct merge_fingerprint *f);
void __wrap_partial_checkpoint_set_layout(struct partial_checkpoint *p, struct shard_layout *layout,
                                          const struct merge_fingerprint *f)
{
    p->layout = layout;
}

const char *__wrap_partial_checkpoint_target_name(const struct partial_checkpoint *p);
const char *__wrap_partial_checkpoint_target_name(const struct partial_checkpoint *p)
{
    return "target";
}

int __wrap_partial_checkpoint_set_guard(struct partial_checkpoint *p,
                                        const struct input_guard *guard, struct error *e);
int __wrap_partial_checkpoint_set_guard(struct partial_checkpoint *p,
                                        const struct input_guard *guard, struct error *e)
{
    return 0;
}

bool __wrap_partial_checkpoint_replaces_target(const struct partial_checkpoint *p);
bool __wrap_partial_checkpoint_replaces_target(const struct partial_checkpoint *p)
{
    return false;
}

int __wrap_partial_checkpoint_check_shard(struct partial_checkpoint *p, size_t shard,
                                          enum shard_state *state, struct error *e);
int __wrap_partial_checkpoint_check_shard(struct partial_checkpoint *p, size_t shard,
                                          enum shard_state *state, struct error *e)
{
    *state = SHARD_FINISHED;
    return 0;
}

const json_t *__wrap_partial_checkpoint_record(const struct partial_checkpoint *p, size_t shard);
const json_t *__wrap_partial_checkpoint_record(const struct partial_checkpoint *p, size_t shard)
{
    return shard == 0 || shard == PARTIAL_CHECKPOINT_AUXILIARY ? p->record : NULL;
}

char *__wrap_partial_checkpoint_find_foreign_record(const struct partial_checkpoint *p);
char *__wrap_partial_checkpoint_find_foreign_record(const struct partial_checkpoint *p)
{
    return NULL;
}

int __wrap_partial_checkpoint_publish(struct partial_checkpoint *p,
                                      const struct partial_checkpoint_ending *end, struct error *e);
int __wrap_partial_checkpoint_publish(struct partial_checkpoint *p,
                                      const struct partial_checkpoint_ending *end, struct error *e)
{
    if (shard_layout_set_metadata(p->layout, end->key, end->value, "target", e)) {
        dprintf(fuzz_log, "%s\n", e->text);
        abort(); /* the length of what is reserved for the hashes is known */
    }
    return 0;
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    const uint8_t *end = bytes + size;
    const uint8_t *plan_end = size ? memchr(bytes, 0, size) : NULL;
    const uint8_t *record = plan_end ? plan_end + 1 : end;
    const uint8_t *record_end = record < end ? memchr(record, 0, (size_t)(end - record)) : NULL;
    if (!record_end)
        return;
    struct partial_checkpoint p = {
        .plan = bytes,
        .plan_size = (size_t)(plan_end - bytes),
        .header = record_end + 1,
        .header_size = (size_t)(end - record_end) - 1,
        .record = strict_json_parse("record", "record", record, (size_t)(record_end - record), &e)};
    /* The first time as another process's plan, whose recipe has another fingerprint; then as the
     * plan of this process, which has the layout. */
    parts_plan_publish(&p, &e);
    if (p.layout)
        parts_plan_publish(&p, &e);
    shard_layout_free(p.layout);
    json_decref(p.record);
}
