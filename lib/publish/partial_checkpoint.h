/* A checkpoint that is made shard by shard, by processes that may be killed, run again, or run side
 * by side on several machines that share a file system (parts_folder.h has the files).
 *
 * A shard is written under a temporary name, synced, renamed, and only then recorded, with its
 * size, its checksum and the fingerprint of what it was made from. It counts as finished while all
 * of these still agree. A partial_checkpoint owns what its functions return until
 * partial_checkpoint_close. */
#ifndef TV_PARTIAL_CHECKPOINT_H
#define TV_PARTIAL_CHECKPOINT_H

#include "input_guard.h"
#include "shard_layout.h"
#include "shard_records.h"

struct partial_checkpoint;

enum partial_checkpoint_mode {
    PARTIAL_CHECKPOINT_SHARED,      /* this process makes some shards, others may make more */
    PARTIAL_CHECKPOINT_EXCLUSIVE,   /* this process makes all shards and publishes */
    PARTIAL_CHECKPOINT_PUBLISH_ONLY /* this process publishes what others have made */
};

/* In place of a shard: the auxiliary files. */
#define PARTIAL_CHECKPOINT_AUXILIARY SIZE_MAX

/* Checks the target, with a guard unless it is NULL; opens or creates the parts folder and locks
 * it. NULL on error. */
struct partial_checkpoint *partial_checkpoint_open(const char *target, bool force,
                                                   const struct input_guard *guard,
                                                   enum partial_checkpoint_mode mode,
                                                   struct error *e);
/* Removes what this process was writing; what is finished stays. NULL is allowed. */
void partial_checkpoint_close(struct partial_checkpoint *p);
const char *partial_checkpoint_target_name(const struct partial_checkpoint *p);
/* output_target_set_guard */
int partial_checkpoint_set_guard(struct partial_checkpoint *p, const struct input_guard *guard,
                                 struct error *e);
/* The name of the parts folder. */
const char *partial_checkpoint_folder_name(const struct partial_checkpoint *p);

/* Sets what is to be made. Takes over the layout. */
void partial_checkpoint_set_layout(struct partial_checkpoint *p, struct shard_layout *layout,
                                   const struct merge_fingerprint *fingerprint);
/* NULL before partial_checkpoint_set_layout. */
const struct shard_layout *partial_checkpoint_layout(const struct partial_checkpoint *p);

/* ---- what is finished ---- */

/* The state of a shard or PARTIAL_CHECKPOINT_AUXILIARY, by its record and checksums; never
 * SHARD_UNCHECKED. It is checked once. A file that exists but cannot be read is an error. */
int partial_checkpoint_check_shard(struct partial_checkpoint *p, size_t shard,
                                   enum shard_state *state, struct error *e);
/* The record that was checked; NULL unless the shard is finished. */
const json_t *partial_checkpoint_record(const struct partial_checkpoint *p, size_t shard);
/* The name of a shard of another merge that has a record here; NULL if there is none. The caller
 * frees. */
char *partial_checkpoint_find_foreign_record(const struct partial_checkpoint *p);
int partial_checkpoint_remove_foreign_records(struct partial_checkpoint *p, struct error *e);

/* ---- making shards ---- */

/* Claims a shard: this process will make it. A file in its place that no merge has made is an
 * error. */
int partial_checkpoint_claim_shard(struct partial_checkpoint *p, size_t shard, struct error *e);
bool partial_checkpoint_is_claimed(const struct partial_checkpoint *p, size_t shard);
/* Can so many files be open as there are claimed shards, in addition to the others? For shards that
 * are finished all at the end. */
int partial_checkpoint_check_descriptors(const struct partial_checkpoint *p, struct error *e);
/* Is there room on the disk for the claimed shards? */
int partial_checkpoint_check_space(const struct partial_checkpoint *p, struct error *e);
/* Writes bytes of tensor i, which is in a claimed shard: in any order, from any thread. */
int partial_checkpoint_write_tensor(struct partial_checkpoint *p, size_t i, uint64_t offset,
                                    const void *bytes, size_t size, struct error *e);
/* Syncs and renames a shard whose bytes have all been written, and records it with the fields of
 * `more`, whose reference it takes. */
int partial_checkpoint_finish_shard(struct partial_checkpoint *p, size_t shard, json_t *more,
                                    struct error *e);

/* ---- auxiliary files, and files of the parts folder ---- */

int partial_checkpoint_write_file(struct partial_checkpoint *p, const char *name, const void *bytes,
                                  size_t size, struct error *e);
/* Records all auxiliary files that were written, with the fields of `more`, whose reference it
 * takes. */
int partial_checkpoint_record_auxiliary_files(struct partial_checkpoint *p, json_t *more,
                                              struct error *e);
/* A file of the parts folder that is not published. *bytes is NULL if there is no such file, and
 * otherwise the caller's to free. */
int partial_checkpoint_write_work_file(const struct partial_checkpoint *p, const char *name,
                                       const void *bytes, size_t size, struct error *e);
int partial_checkpoint_read_work_file(const struct partial_checkpoint *p, const char *name,
                                      char **bytes, size_t *size, struct error *e);

/* ---- publishing ---- */

/* What is known only at the end. */
struct partial_checkpoint_ending {
    const char *key, *value;  /* metadata of all shards */
    const char *used_weights; /* used_weights_text; NULL: no file */
    const char *readme;       /* the model card */
};

/* Sets the metadata, adds the index, the weights that the joins used and the model card, removes
 * files of other merges, reads back what it has written, syncs everything, and renames the
 * checkpoint to the target. All shards must have been checked and be finished. A file that no merge
 * has made is an error. The parts folder is gone afterwards. */
int partial_checkpoint_publish(struct partial_checkpoint *p,
                               const struct partial_checkpoint_ending *end, struct error *e);

#endif
