#include "partial_checkpoint.h"

#include "fatal.h"
#include "fs.h"
#include "hash.h"
#include "made_files.h"
#include "parts_folder.h"
#include "used_weights.h"
#include "weight_names.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define AUXILIARY_RECORD "auxiliary-files"
#define README           "README.md"

#define DESCRIPTORS_OF_OTHERS 64

/* What is known about one shard. */
struct shard_work {
    enum shard_state state;
    json_t *record; /* if it is finished */
    bool claimed;
    char *temporary; /* its name while this process writes it */
    int fd;
    uint64_t written; /* bytes of data */
};

struct partial_checkpoint {
    struct parts_folder folder;
    bool has_used_weights; /* the weights that the joins used have a file */
    struct shard_layout *layout;
    struct merge_fingerprint fingerprint;
    struct shard_work *work; /* [shard] */
    struct shard_work auxiliary;
    json_t *files; /* auxiliary files that were written: name, checksum */
    pthread_mutex_t mutex;
    struct fatal_action on_fatal;
};

const char *partial_checkpoint_target_name(const struct partial_checkpoint *p)
{
    return p->folder.target.path;
}

int partial_checkpoint_set_guard(struct partial_checkpoint *p, const struct input_guard *guard,
                                 struct error *e)
{
    return output_target_set_guard(&p->folder.target, guard, e);
}

const char *partial_checkpoint_folder_name(const struct partial_checkpoint *p)
{
    return p->folder.name;
}

const struct shard_layout *partial_checkpoint_layout(const struct partial_checkpoint *p)
{
    return p->layout;
}

static int write_error(const struct partial_checkpoint *p, const char *name, struct error *e)
{
    return parts_folder_write_error(&p->folder, name, e);
}

/* A fatal_action. */
static void remove_temporary_files(void *partial_checkpoint, const char *program,
                                   const char *sentence)
{
    const struct partial_checkpoint *p = partial_checkpoint;
    for (size_t i = 0; p->work && i < p->layout->n_shards; i++)
        if (p->work[i].temporary)
            unlinkat(p->folder.folder, p->work[i].temporary, 0);
}

/* ---- opening --------------------------------------------------------------------------------- */

struct partial_checkpoint *partial_checkpoint_open(const char *target, bool force,
                                                   const struct input_guard *guard,
                                                   enum partial_checkpoint_mode mode,
                                                   struct error *e)
{
    struct partial_checkpoint *p = mem_alloc(1, sizeof *p);
    p->files = json_object();
    p->auxiliary = (struct shard_work){.state = SHARD_UNCHECKED, .fd = -1};
    p->on_fatal = (struct fatal_action){.run = remove_temporary_files, .data = p};
    fatal_add_action(&p->on_fatal);
    pthread_mutex_init(&p->mutex, NULL);
    if (parts_folder_open(&p->folder, target, force, guard, mode != PARTIAL_CHECKPOINT_PUBLISH_ONLY,
                          mode == PARTIAL_CHECKPOINT_SHARED, e) == 0) {
        if (mode == PARTIAL_CHECKPOINT_PUBLISH_ONLY)
            p->folder.target.tool = "tv: finish";
        return p;
    }
    partial_checkpoint_close(p);
    return NULL;
}

static void close_shard(struct shard_work *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

/* Removes the unfinished file of a shard. */
static void remove_unfinished_shard(struct partial_checkpoint *p, struct shard_work *w)
{
    close_shard(w);
    if (w->temporary)
        unlinkat(p->folder.folder, w->temporary, 0);
    free(w->temporary);
    w->temporary = NULL;
}

void partial_checkpoint_close(struct partial_checkpoint *p)
{
    if (!p)
        return;
    fatal_remove_action(&p->on_fatal);
    for (size_t i = 0; p->work && i < p->layout->n_shards; i++) {
        remove_unfinished_shard(p, &p->work[i]);
        json_decref(p->work[i].record);
    }
    json_decref(p->auxiliary.record);
    free(p->work);
    shard_layout_free(p->layout);
    json_decref(p->files);
    parts_folder_close(&p->folder);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

void partial_checkpoint_set_layout(struct partial_checkpoint *p, struct shard_layout *layout,
                                   const struct merge_fingerprint *fingerprint)
{
    p->layout = layout;
    p->fingerprint = *fingerprint;
    p->work = mem_alloc(layout->n_shards, sizeof *p->work);
    for (size_t i = 0; i < layout->n_shards; i++)
        p->work[i] = (struct shard_work){.state = SHARD_UNCHECKED, .fd = -1};
}

/* ---- records --------------------------------------------------------------------------------- */

static struct shard_work *work_of(const struct partial_checkpoint *p, size_t shard)
{
    return shard == PARTIAL_CHECKPOINT_AUXILIARY ? (struct shard_work *)&p->auxiliary
                                                 : &p->work[shard];
}

static const char *shard_record_name(const struct partial_checkpoint *p, size_t shard)
{
    return shard == PARTIAL_CHECKPOINT_AUXILIARY ? AUXILIARY_RECORD : p->layout->shards[shard].name;
}

static void keep_record(struct shard_work *w, json_t *record)
{
    json_decref(w->record);
    w->record = record;
    w->state = SHARD_FINISHED;
}

/* Saves the record of something that is finished, and keeps it. */
static int save_shard_record(struct partial_checkpoint *p, size_t shard, json_t *more,
                             struct error *e)
{
    char *file = shard_records_file_name(shard_record_name(p, shard));
    json_incref(more);
    int failed =
        shard_records_save(p->folder.folder, shard_record_name(p, shard), more, &p->fingerprint)
            ? write_error(p, file, e)
            : 0;
    free(file);
    if (failed)
        json_decref(more);
    else
        keep_record(work_of(p, shard), more);
    return failed;
}

const json_t *partial_checkpoint_record(const struct partial_checkpoint *p, size_t shard)
{
    const struct shard_work *w = work_of(p, shard);
    return w->state == SHARD_FINISHED ? w->record : NULL;
}

static int read_error(const struct partial_checkpoint *p, const char *name, struct error *e)
{
    return parts_folder_read_error(&p->folder, name, e);
}

/* Has the file this checksum, from offset `from` on? 1, 0, or -1. */
static int matches_checksum(const struct partial_checkpoint *p, const char *name, uint64_t from,
                            const json_t *record, const char *key, uint64_t *size, struct error *e)
{
    uint64_t hash;
    if (fs_hash_file(p->folder.model, name, from, size, &hash) == 0)
        return shard_records_hash_equals(record, key, hash);
    return fs_is_missing(errno) ? 0 : read_error(p, name, e);
}

/* Have the files of a record their checksums? 1, 0, or -1. */
static int matches_record(const struct partial_checkpoint *p, size_t shard, json_t *record,
                          struct error *e)
{
    json_t *value, *files = json_object_get(record, "files");
    uint64_t size;
    const char *name;
    if (shard != PARTIAL_CHECKPOINT_AUXILIARY) {
        const struct shard *s = &p->layout->shards[shard];
        int matches = matches_checksum(p, s->name, s->header_size, record, "checksum", &size, e);
        return matches > 0 ? size == s->data_size : matches;
    }
    json_object_foreach(files, name, value)
    {
        int matches = strchr(name, '/') ? 0 : matches_checksum(p, name, 0, files, name, &size, e);
        if (matches <= 0)
            return matches;
    }
    return 1;
}

/* Was it saved before the shard was in its place (record_coming_shard)? */
static bool is_record_of_coming_shard(size_t shard, const json_t *record)
{
    return shard != PARTIAL_CHECKPOINT_AUXILIARY && !json_object_get(record, "checksum");
}

int partial_checkpoint_check_shard(struct partial_checkpoint *p, size_t shard,
                                   enum shard_state *state, struct error *e)
{
    struct shard_work *w = work_of(p, shard);
    json_t *record;
    *state = w->state;
    if (*state != SHARD_UNCHECKED)
        return 0;
    if (shard_records_load(p->folder.folder, shard_record_name(p, shard), &record))
        return read_error(p, shard_record_name(p, shard), e);
    *state = shard_records_find_state(record, &p->fingerprint);
    if (*state == SHARD_FINISHED && is_record_of_coming_shard(shard, record))
        *state = SHARD_MISSING;
    int matches = *state == SHARD_FINISHED ? matches_record(p, shard, record, e) : 0;
    if (*state == SHARD_FINISHED && !matches)
        *state = SHARD_DAMAGED;
    w->state = *state;
    if (matches > 0)
        keep_record(w, record);
    else
        json_decref(record);
    return matches < 0 ? -1 : 0;
}

static bool is_shard_name(const struct partial_checkpoint *p, const char *name)
{
    for (size_t i = 0; i < p->layout->n_shards; i++)
        if (strcmp(name, p->layout->shards[i].name) == 0)
            return true;
    return false;
}

/* The shard whose record a file of the folder is, if the layout has no such shard; else NULL. The
 * caller frees. */
static char *foreign_shard_of_record_file(const struct partial_checkpoint *p, const char *file)
{
    char *name = mem_copy_text(file), *dot = strrchr(name, '.');
    if (*file != '.' && dot && strcmp(dot, ".json") == 0) {
        *dot = '\0';
        if (weight_names_is_shard(name) && !is_shard_name(p, name))
            return name;
    }
    free(name);
    return NULL;
}

char *partial_checkpoint_find_foreign_record(const struct partial_checkpoint *p)
{
    DIR *dir = fs_open_folder(p->folder.folder);
    char *name = NULL;
    for (struct dirent *d; dir && !name && (d = readdir(dir));)
        name = foreign_shard_of_record_file(p, d->d_name);
    if (dir)
        closedir(dir);
    return name;
}

int partial_checkpoint_remove_foreign_records(struct partial_checkpoint *p, struct error *e)
{
    int failed = 0;
    for (char *name; !failed && (name = partial_checkpoint_find_foreign_record(p)); free(name)) {
        char *record = shard_records_file_name(name);
        unlinkat(p->folder.model, name, 0);
        if (unlinkat(p->folder.folder, record, 0))
            failed = write_error(p, record, e);
        free(record);
    }
    return failed;
}

/* ---- making shards --------------------------------------------------------------------------- */

static bool shard_is_recorded(const struct partial_checkpoint *p, const char *name)
{
    char *record = shard_records_file_name(name);
    bool found = fs_is_own_file(p->folder.folder, record, p->folder.owner);
    free(record);
    return found;
}

/* A shard in model/ has a record, if only one without a checksum. */
static int check_shard_may_be_replaced(const struct partial_checkpoint *p, size_t shard,
                                       struct error *e)
{
    const char *name = p->layout->shards[shard].name;
    return faccessat(p->folder.model, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
                   !shard_is_recorded(p, name)
               ? parts_folder_foreign_error(&p->folder, "/model", name, e)
               : 0;
}

int partial_checkpoint_claim_shard(struct partial_checkpoint *p, size_t shard, struct error *e)
{
    if (check_shard_may_be_replaced(p, shard, e))
        return -1;
    p->work[shard].claimed = true;
    return 0;
}

/* Before a shard comes to model/: a record without a checksum, unless it has one. */
static int record_coming_shard(const struct partial_checkpoint *p, const struct shard *s,
                               struct error *e)
{
    if (shard_is_recorded(p, s->name) ||
        shard_records_save(p->folder.folder, s->name, json_object(), &p->fingerprint) == 0)
        return 0;
    char *record = shard_records_file_name(s->name);
    int failed = write_error(p, record, e);
    free(record);
    return failed;
}

int partial_checkpoint_check_descriptors(const struct partial_checkpoint *p, struct error *e)
{
    struct rlimit limit;
    rlim_t need = DESCRIPTORS_OF_OTHERS;
    for (size_t i = 0; i < p->layout->n_shards; i++)
        need += p->work[i].claimed;
    if (getrlimit(RLIMIT_NOFILE, &limit) || need <= limit.rlim_cur)
        return 0;
    rlim_t most = limit.rlim_max;
    limit.rlim_cur = need < most ? need : most;
    if (need <= most && setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return 0;
    return error_set(
        e,
        "the shards of %s need %llu open files, but only %llu are allowed (ulimit -n); "
        "use fewer shards",
        p->folder.target.path, (unsigned long long)need, (unsigned long long)most);
}

bool partial_checkpoint_is_claimed(const struct partial_checkpoint *p, size_t shard)
{
    return p->work[shard].claimed;
}

int partial_checkpoint_check_space(const struct partial_checkpoint *p, struct error *e)
{
    uint64_t need = 0;
    for (size_t i = 0; i < p->layout->n_shards; i++)
        if (p->work[i].claimed)
            need += p->layout->shards[i].header_size + p->layout->shards[i].data_size;
    return output_target_check_space(&p->folder.target, need, e);
}

/* Creates the shard's temporary file, with its header, unless it has been created. */
static int open_shard(struct partial_checkpoint *p, size_t shard, struct error *e)
{
    struct shard_work *w = &p->work[shard];
    const struct shard *s = &p->layout->shards[shard];
    if (w->fd >= 0)
        return 0;
    w->fd = parts_folder_create_temporary(&p->folder, s->name, &w->temporary);
    if (w->fd < 0 || fs_preallocate(w->fd, s->header_size + s->data_size) ||
        fs_write_at(w->fd, 0, s->header, s->header_size))
        return write_error(p, s->name, e);
    return 0;
}

int partial_checkpoint_write_tensor(struct partial_checkpoint *p, size_t i, uint64_t offset,
                                    const void *bytes, size_t size, struct error *e)
{
    const struct placed_tensor *t = &p->layout->tensors[i];
    const struct shard *s = &p->layout->shards[t->shard];
    struct shard_work *w = &p->work[t->shard];
    pthread_mutex_lock(&p->mutex);
    int failed = open_shard(p, t->shard, e);
    pthread_mutex_unlock(&p->mutex);
    if (failed)
        return -1;
    if (fs_write_at(w->fd, s->header_size + t->offset + offset, bytes, size))
        return write_error(p, s->name, e);
    pthread_mutex_lock(&p->mutex);
    w->written += size;
    fs_start_writeback(w->fd, w->written, size, w->written == s->data_size);
    pthread_mutex_unlock(&p->mutex);
    return 0;
}

/* Syncs a complete shard and renames it; computes size and checksum of its data. */
static int verify_and_rename_shard(struct partial_checkpoint *p, size_t shard, uint64_t *size,
                                   uint64_t *hash, struct error *e)
{
    struct shard_work *w = &p->work[shard];
    const struct shard *s = &p->layout->shards[shard];
    int folder = p->folder.folder, model = p->folder.model;
    if (open_shard(p, shard, e))
        return -1;
    if (w->written != s->data_size)
        return error_set(e, "%s is incomplete: it has %llu of %llu bytes", s->name,
                         (unsigned long long)w->written, (unsigned long long)s->data_size);
    if (check_shard_may_be_replaced(p, shard, e) || record_coming_shard(p, s, e))
        return -1;
    if (fsync(w->fd) || fs_hash_file(folder, w->temporary, s->header_size, size, hash) ||
        renameat(folder, w->temporary, model, s->name) || fsync(model))
        return write_error(p, s->name, e);
    free(w->temporary);
    w->temporary = NULL;
    close_shard(w);
    return 0;
}

int partial_checkpoint_finish_shard(struct partial_checkpoint *p, size_t shard, json_t *more,
                                    struct error *e)
{
    uint64_t size = 0, hash = 0;
    if (verify_and_rename_shard(p, shard, &size, &hash, e)) {
        json_decref(more);
        return -1;
    }
    json_object_set_new(more, "bytes", json_integer((json_int_t)size));
    json_object_set_new(more, "checksum", shard_records_encode_hash(hash));
    if (save_shard_record(p, shard, more, e))
        return -1;
    p->work[shard].claimed = false;
    return 0;
}

/* ---- other files ----------------------------------------------------------------------------- */

int partial_checkpoint_write_file(struct partial_checkpoint *p, const char *name, const void *bytes,
                                  size_t size, struct error *e)
{
    uint64_t written, hash;
    if (made_files_add(&p->folder, name, e))
        return -1;
    if (fs_replace_file(p->folder.model, name, bytes, size) ||
        fs_hash_file(p->folder.model, name, 0, &written, &hash))
        return write_error(p, name, e);
    if (written != size || hash != XXH3_64bits(bytes, size))
        return error_set(e, "cannot write %s in %s: its contents on the disk differ", name,
                         p->folder.name);
    json_object_set_new(p->files, name, shard_records_encode_hash(hash));
    return 0;
}

int partial_checkpoint_record_auxiliary_files(struct partial_checkpoint *p, json_t *more,
                                              struct error *e)
{
    json_object_set(more, "files", p->files);
    return save_shard_record(p, PARTIAL_CHECKPOINT_AUXILIARY, more, e);
}

int partial_checkpoint_write_work_file(const struct partial_checkpoint *p, const char *name,
                                       const void *bytes, size_t size, struct error *e)
{
    return fs_replace_file(p->folder.folder, name, bytes, size) ? write_error(p, name, e) : 0;
}

int partial_checkpoint_read_work_file(const struct partial_checkpoint *p, const char *name,
                                      char **bytes, size_t *size, struct error *e)
{
    return parts_folder_read_file(&p->folder, name, bytes, size, e);
}

/* ---- publishing ------------------------------------------------------------------------------ */

/* Changes a metadata value in the headers of all shards. */
static int replace_metadata_in_all_shards(struct partial_checkpoint *p, const char *key,
                                          const char *value, struct error *e)
{
    int failed = shard_layout_set_metadata(p->layout, key, value, p->folder.target.path, e);
    for (size_t i = 0; !failed && i < p->layout->n_shards; i++)
        failed = parts_folder_write_header(&p->folder, &p->layout->shards[i], e);
    return failed;
}

/* Is it a file of this checkpoint? */
static bool belongs_to_checkpoint(const void *checkpoint, const char *name)
{
    const struct partial_checkpoint *p = checkpoint;
    return json_object_get(json_object_get(p->auxiliary.record, "files"), name) ||
           strcmp(name, README) == 0 ||
           (p->layout->index_name && strcmp(name, p->layout->index_name) == 0) ||
           is_shard_name(p, name) || (strcmp(name, USED_WEIGHTS_FILE) == 0 && p->has_used_weights);
}

/* Writes a text, unless it is NULL. */
static int write_text(struct partial_checkpoint *p, const char *name, const char *text,
                      struct error *e)
{
    return text ? partial_checkpoint_write_file(p, name, text, strlen(text), e) : 0;
}

int partial_checkpoint_publish(struct partial_checkpoint *p,
                               const struct partial_checkpoint_ending *end, struct error *e)
{
    char *index = shard_layout_index_json(p->layout);
    p->has_used_weights = end->used_weights != NULL;
    int failed = made_files_remove_others(&p->folder, belongs_to_checkpoint, p, e) ||
                 replace_metadata_in_all_shards(p, end->key, end->value, e) ||
                 write_text(p, p->layout->index_name, index, e) ||
                 write_text(p, USED_WEIGHTS_FILE, end->used_weights, e) ||
                 write_text(p, README, end->readme, e);
    if (!failed && fsync(p->folder.model))
        failed = write_error(p, "model", e);
    failed = failed || parts_folder_publish(&p->folder, e);
    free(index);
    return failed ? -1 : 0;
}
