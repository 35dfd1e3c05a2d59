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
 * where all of these still hold. A parts owns what it returns until parts_close. */
#ifndef TV_PARTS_H
#define TV_PARTS_H

#include "records.h"
#include "shards.h"
#include "target.h"

struct parts;

enum parts_mode {
    PARTS_SHARED, /* one of several at work */
    PARTS_ALONE,  /* the only one at work: makes everything, and publishes */
    PARTS_PUBLISH /* publishes what there is */
};

/* Checks the target, opens the folder (PARTS_PUBLISH: it must be there) and locks it. NULL on
 * error.
 */
struct parts *parts_open(const char *target, bool force, enum parts_mode mode, struct error *e);
/* Leaves the folder as it is, but for what this process was writing. NULL is allowed. */
void parts_close(struct parts *p);
const char *parts_target(const struct parts *p);
const char *parts_folder(const struct parts *p); /* its name beside the target */

/* What is to be made; the shards are the parts' own from here on. */
void parts_plan(struct parts *p, struct shards *shards, const struct parts_print *print);
const struct shards *parts_shards(const struct parts *p);

/* How a shard stands, its checksum included. PARTS_UNKNOWN is never returned. */
enum parts_state parts_look(struct parts *p, size_t shard);
/* " was made by another recipe", ... */
const char *parts_state_text(enum parts_state state);
/* This process will make the shard; are `need` bytes free for all of them? */
void parts_take(struct parts *p, size_t shard);
bool parts_takes(const struct parts *p, size_t shard);
int parts_check_space(const struct parts *p, struct error *e);

/* Writes bytes of tensor i, which lies in a shard that was taken. Any order, any thread. */
int parts_write(struct parts *p, size_t i, uint64_t offset, const void *bytes, size_t size,
                struct error *e);
/* The shard is complete: syncs it, puts it into model/, records it with what `more` says. */
int parts_seal(struct parts *p, size_t shard, json_t *more, struct error *e);

/* A small file of the checkpoint; all of them are recorded by parts_seal_beside. */
int parts_file(struct parts *p, const char *name, const void *bytes, size_t size, struct error *e);
int parts_seal_beside(struct parts *p, json_t *more, struct error *e);

/* The record of a shard, or (SIZE_MAX) of what is beside them, if it is of this recipe and inputs;
 * NULL. The caller drops the reference. */
json_t *parts_record(const struct parts *p, size_t shard);
enum parts_state parts_look_beside(const struct parts *p);
/* A record of other shards than the plan's; NULL if there is none. Caller frees. */
char *parts_stranger(const struct parts *p);
/* Removes such records. */
int parts_remove_strangers(struct parts *p, struct error *e);

/* Files of the folder itself, for whoever publishes. */
int parts_keep(struct parts *p, const char *name, const void *bytes, size_t size, struct error *e);
char *parts_kept(const struct parts *p, const char *name, size_t *size);

/* Gives all shards these values of a metadata key, adds the index and the model card `readme`,
 * leaves out what belongs to another merge, syncs everything and puts it in place; the folder is
 * gone afterwards. All shards must be sound. */
int parts_publish(struct parts *p, const char *key, const char *value, const char *readme,
                  struct error *e);

#endif
