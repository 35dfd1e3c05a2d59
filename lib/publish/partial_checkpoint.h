/* A checkpoint that is made shard by shard, by processes that may be killed, run again, or run side
 * by side on several machines with one file system. They meet in a folder beside the target, which
 * stays until everything in it is published in one go:
 *
 *     .OUT.parts/lock            held by all who work, alone by who publishes
 *     .OUT.parts/model/          what OUT will be, as far as it is finished
 *     .OUT.parts/NAME.json       the record of a finished shard, or of what is beside the shards
 *     .OUT.parts/.NAME.XXXXXX    what somebody is writing, and holds locked
 *
 * A shard is written under a name of its own, synced, renamed into model/, and only then recorded:
 * with the fingerprints of recipe and inputs, its size and its checksum. It counts as finished
 * where all of these still hold. A parts owns what it returns until partial_checkpoint_close. */
#ifndef TV_PARTIAL_CHECKPOINT_H
#define TV_PARTIAL_CHECKPOINT_H

#include "shard_records.h"
#include "shard_layout.h"
#include "output_target.h"

struct partial_checkpoint;

enum partial_checkpoint_mode {
    PARTIAL_CHECKPOINT_SHARED,      /* one of several at work */
    PARTIAL_CHECKPOINT_EXCLUSIVE,   /* the only one at work: makes everything, and publishes */
    PARTIAL_CHECKPOINT_PUBLISH_ONLY /* publishes what there is */
};

/* Checks the target, opens the folder (PARTIAL_CHECKPOINT_PUBLISH_ONLY: it must be there) and locks
 * it. NULL on error.
 */
struct partial_checkpoint *partial_checkpoint_open(const char *target, bool force,
                                                   enum partial_checkpoint_mode mode,
                                                   struct error *e);
/* Leaves the folder as it is, but for what this process was writing. NULL is allowed. */
void partial_checkpoint_close(struct partial_checkpoint *p);
const char *partial_checkpoint_target_name(const struct partial_checkpoint *p);
const char *
partial_checkpoint_folder_name(const struct partial_checkpoint *p); /* its name beside the target */

/* What is to be made; the shards are the parts' own from here on. */
void partial_checkpoint_set_layout(struct partial_checkpoint *p, struct shard_layout *shards,
                                   const struct merge_fingerprint *print);
const struct shard_layout *partial_checkpoint_layout(const struct partial_checkpoint *p);

/* How a shard stands, its checksum included. SHARD_UNCHECKED is never returned. */
enum shard_state partial_checkpoint_check_shard(struct partial_checkpoint *p, size_t shard);
/* " was made by another recipe", ... */
const char *shard_records_state_text(enum shard_state state);
/* This process will make the shard; are `need` bytes free for all of them? */
void partial_checkpoint_claim_shard(struct partial_checkpoint *p, size_t shard);
bool partial_checkpoint_is_claimed(const struct partial_checkpoint *p, size_t shard);
int partial_checkpoint_check_space(const struct partial_checkpoint *p, struct error *e);

/* Writes bytes of tensor i, which lies in a shard that was taken. Any order, any thread. */
int partial_checkpoint_write_tensor(struct partial_checkpoint *p, size_t i, uint64_t offset,
                                    const void *bytes, size_t size, struct error *e);
/* The shard is complete: syncs it, puts it into model/, records it with what `more` says. */
int partial_checkpoint_finish_shard(struct partial_checkpoint *p, size_t shard, json_t *more,
                                    struct error *e);

/* A small file of the checkpoint; all of them are recorded by
 * partial_checkpoint_record_auxiliary_files. */
int partial_checkpoint_write_file(struct partial_checkpoint *p, const char *name, const void *bytes,
                                  size_t size, struct error *e);
int partial_checkpoint_record_auxiliary_files(struct partial_checkpoint *p, json_t *more,
                                              struct error *e);

/* The record of a shard, or (SIZE_MAX) of what is beside them, if it is of this recipe and inputs;
 * NULL. The caller drops the reference. */
json_t *partial_checkpoint_load_record(const struct partial_checkpoint *p, size_t shard);
enum shard_state partial_checkpoint_check_auxiliary_files(const struct partial_checkpoint *p);
/* A record of other shards than the plan's; NULL if there is none. Caller frees. */
char *partial_checkpoint_find_foreign_record(const struct partial_checkpoint *p);
/* Removes such records. */
int partial_checkpoint_remove_foreign_records(struct partial_checkpoint *p, struct error *e);

/* Files of the folder itself, for whoever publishes. */
int partial_checkpoint_write_work_file(struct partial_checkpoint *p, const char *name,
                                       const void *bytes, size_t size, struct error *e);
char *partial_checkpoint_read_work_file(const struct partial_checkpoint *p, const char *name,
                                        size_t *size);

/* Gives all shards these values of a metadata key, adds the index and the model card `readme`,
 * leaves out what belongs to another merge, syncs everything and puts it in place; the folder is
 * gone afterwards. All shards must be sound. */
int partial_checkpoint_publish(struct partial_checkpoint *p, const char *key, const char *value,
                               const char *readme, struct error *e);

#endif
