#include "partial_checkpoint.h"

#include "fs.h"
#include "pattern.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BESIDE "beside" /* the record of what is no shard */
#define INDEX  "model.safetensors.index.json"
#define README "README.md"

/* How far one shard has come. */
struct work {
    enum shard_state state; /* as far as it has been looked at */
    bool taken;
    char *temporary; /* what it is called while it is written */
    int fd;
    uint64_t written;
};

struct partial_checkpoint {
    struct output_target to;
    enum partial_checkpoint_mode mode;
    char *name; /* of the folder beside the target */
    int folder, model, lock;
    struct shard_layout *shards;
    struct merge_fingerprint print;
    struct work *work; /* [shard] */
    json_t *files;     /* small files that were written: name, checksum */
    pthread_mutex_t mutex;
};

const char *partial_checkpoint_target_name(const struct partial_checkpoint *p)
{
    return p->to.name;
}

const char *partial_checkpoint_folder_name(const struct partial_checkpoint *p)
{
    return p->name;
}

const struct shard_layout *partial_checkpoint_layout(const struct partial_checkpoint *p)
{
    return p->shards;
}

static int fail(const struct partial_checkpoint *p, const char *name, struct error *e)
{
    return error_set(e, "cannot write %s in %s: %s", name, p->name, strerror(errno));
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Shards that killed processes were writing: whoever writes one has it locked. */
static void remove_dead(const struct partial_checkpoint *p)
{
    DIR *dir = fs_open_folder(p->folder);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        if (!pattern_matches(".*.safetensors.??????", d->d_name))
            continue;
        int fd = openat(p->folder, d->d_name, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(p->folder, d->d_name, 0);
        close_fd(fd);
    }
    if (dir)
        closedir(dir);
}

/* All who work share the lock; a file system that knows none does without. */
static int take_lock(struct partial_checkpoint *p, struct error *e)
{
    bool shared = p->mode == PARTIAL_CHECKPOINT_SHARED;
    p->lock = openat(p->folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (p->lock < 0)
        return fail(p, "lock", e);
    if (flock(p->lock, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return 0;
    return error_set(e, "somebody is %s %s", shared ? "publishing" : "still at work on",
                     p->to.name);
}

static int open_folder(struct partial_checkpoint *p, struct error *e)
{
    if (asprintf(&p->name, ".%.240s.parts", p->to.base) < 0)
        abort();
    if (p->mode != PARTIAL_CHECKPOINT_PUBLISH_ONLY && mkdirat(p->to.parent, p->name, 0777) &&
        errno != EEXIST)
        return error_set(e, "cannot make a folder beside %s: %s", p->to.name, strerror(errno));
    p->folder = openat(p->to.parent, p->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->folder < 0)
        return errno == ENOENT ? error_set(e, "there are no parts of %s", p->to.name)
                               : error_set(e, "cannot open %s beside %s: %s", p->name, p->to.name,
                                           strerror(errno));
    if (take_lock(p, e))
        return -1;
    if (p->mode != PARTIAL_CHECKPOINT_PUBLISH_ONLY && mkdirat(p->folder, "model", 0777) &&
        errno != EEXIST)
        return fail(p, "model", e);
    remove_dead(p);
    p->model = openat(p->folder, "model", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return p->model < 0 ? error_set(e, "there are no parts of %s", p->to.name) : 0;
}

struct partial_checkpoint *partial_checkpoint_open(const char *target, bool force,
                                                   enum partial_checkpoint_mode mode,
                                                   struct error *e)
{
    struct partial_checkpoint *p = mem_alloc(1, sizeof *p);
    p->mode = mode;
    p->folder = p->model = p->lock = -1;
    p->files = json_object();
    pthread_mutex_init(&p->mutex, NULL);
    int failed = output_target_open(&p->to, target, force, e);
    if (!failed && p->to.form != OUTPUT_FOLDER)
        failed = error_set(e, "\"%s\": only a folder is made in parts", target);
    if (!failed && (output_target_open_parent(&p->to, e) || open_folder(p, e)))
        failed = -1;
    if (!failed)
        return p;
    partial_checkpoint_close(p);
    return NULL;
}

/* Forgets what was being written of a shard. */
static void drop(struct partial_checkpoint *p, struct work *w)
{
    close_fd(w->fd);
    w->fd = -1;
    if (w->temporary)
        unlinkat(p->folder, w->temporary, 0);
    free(w->temporary);
    w->temporary = NULL;
}

void partial_checkpoint_close(struct partial_checkpoint *p)
{
    if (!p)
        return;
    for (size_t i = 0; p->work && i < p->shards->n_files; i++)
        drop(p, &p->work[i]);
    free(p->work);
    shard_layout_free(p->shards);
    json_decref(p->files);
    close_fd(p->model);
    close_fd(p->lock);
    close_fd(p->folder);
    output_target_close(&p->to);
    free(p->name);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

void partial_checkpoint_set_layout(struct partial_checkpoint *p, struct shard_layout *shards,
                                   const struct merge_fingerprint *print)
{
    p->shards = shards;
    p->print = *print;
    p->work = mem_alloc(shards->n_files, sizeof *p->work);
    for (size_t i = 0; i < shards->n_files; i++)
        p->work[i] = (struct work){.state = SHARD_UNCHECKED, .fd = -1};
}

/* ---- records --------------------------------------------------------------------------------- */

static const char *shard_title(const struct partial_checkpoint *p, size_t shard)
{
    return shard == SIZE_MAX ? BESIDE : p->shards->files[shard].name;
}

static int save_record(struct partial_checkpoint *p, const char *title, json_t *more,
                       struct error *e)
{
    char *file = shard_records_file_name(title);
    int failed = shard_records_save(p->folder, title, more, &p->print) ? fail(p, file, e) : 0;
    free(file);
    return failed;
}

json_t *partial_checkpoint_load_record(const struct partial_checkpoint *p, size_t shard)
{
    json_t *record = shard_records_load(p->folder, shard_title(p, shard));
    if (shard_records_check(record, &p->print) == SHARD_FINISHED)
        return record;
    json_decref(record);
    return NULL;
}

/* Are the file's bytes, from `from` on, those that the record tells? */
static bool holds(const struct partial_checkpoint *p, const char *name, uint64_t from,
                  uint64_t bytes, const json_t *of, const char *key)
{
    uint64_t size, hash;
    return fs_hash_file(p->model, name, from, &size, &hash) == 0 && size == bytes &&
           shard_records_hash_equals(of, key, hash);
}

enum shard_state partial_checkpoint_check_shard(struct partial_checkpoint *p, size_t shard)
{
    struct work *w = &p->work[shard];
    const struct shard *s = &p->shards->files[shard];
    if (w->state != SHARD_UNCHECKED)
        return w->state;
    json_t *record = shard_records_load(p->folder, s->name);
    w->state = shard_records_check(record, &p->print);
    if (w->state == SHARD_FINISHED && !holds(p, s->name, s->head_size, s->size, record, "checksum"))
        w->state = SHARD_DAMAGED;
    json_decref(record);
    return w->state;
}

/* Does the small file hold what the record says? */
static bool file_holds(const struct partial_checkpoint *p, const json_t *files, const char *name)
{
    uint64_t size, hash;
    return fs_hash_file(p->model, name, 0, &size, &hash) == 0 &&
           shard_records_hash_equals(files, name, hash);
}

enum shard_state partial_checkpoint_check_auxiliary_files(const struct partial_checkpoint *p)
{
    json_t *record = shard_records_load(p->folder, BESIDE), *value;
    enum shard_state state = shard_records_check(record, &p->print);
    json_t *files = json_object_get(record, "files");
    const char *name;
    json_object_foreach(files, name, value)
    {
        if (state == SHARD_FINISHED && !file_holds(p, files, name))
            state = SHARD_DAMAGED;
    }
    json_decref(record);
    return state;
}

const char *shard_records_state_text(enum shard_state state)
{
    static const char *const texts[] = {
        [SHARD_FINISHED] = " is finished",
        [SHARD_MISSING] = " has not been made",
        [SHARD_OTHER_RECIPE] = " was made by another recipe",
        [SHARD_OTHER_INPUTS] = " was made from other models",
        [SHARD_DAMAGED] = " is damaged (its checksum is not the one that was recorded)",
        [SHARD_UNCHECKED] = ""};
    return texts[state];
}

/* The next entry whose name ends in .json and that is no record of the plan; NULL. */
static char *next_stranger(const struct partial_checkpoint *p, DIR *dir)
{
    for (struct dirent *d; (d = readdir(dir));) {
        char *name = mem_copy_text(d->d_name), *dot = strrchr(name, '.');
        bool known = d->d_name[0] == '.' || !dot || strcmp(dot, ".json") != 0;
        if (!known)
            *dot = '\0';
        known |= strcmp(name, BESIDE) == 0 || !pattern_text_ends_with(name, ".safetensors");
        for (size_t i = 0; !known && i < p->shards->n_files; i++)
            known = strcmp(name, p->shards->files[i].name) == 0;
        if (!known)
            return name;
        free(name);
    }
    return NULL;
}

char *partial_checkpoint_find_foreign_record(const struct partial_checkpoint *p)
{
    DIR *dir = fs_open_folder(p->folder);
    char *name = dir ? next_stranger(p, dir) : NULL;
    if (dir)
        closedir(dir);
    return name;
}

int partial_checkpoint_remove_foreign_records(struct partial_checkpoint *p, struct error *e)
{
    int failed = 0;
    for (char *name; !failed && (name = partial_checkpoint_find_foreign_record(p)); free(name)) {
        char *record = shard_records_file_name(name);
        if (unlinkat(p->folder, record, 0))
            failed = fail(p, record, e);
        unlinkat(p->model, name, 0);
        free(record);
    }
    return failed;
}

/* ---- making ---------------------------------------------------------------------------------- */

void partial_checkpoint_claim_shard(struct partial_checkpoint *p, size_t shard)
{
    p->work[shard].taken = true;
}

bool partial_checkpoint_is_claimed(const struct partial_checkpoint *p, size_t shard)
{
    return p->work[shard].taken;
}

int partial_checkpoint_check_space(const struct partial_checkpoint *p, struct error *e)
{
    uint64_t need = 0;
    for (size_t i = 0; i < p->shards->n_files; i++)
        if (p->work[i].taken)
            need += p->shards->files[i].head_size + p->shards->files[i].size;
    return output_target_check_space(&p->to, need, e);
}

/* Makes a file of another name and locks it. 1: it was taken for dead before it was locked. */
static int make_work(struct partial_checkpoint *p, struct work *w, const char *name)
{
    char suffix[7];
    struct stat st;
    fs_random_suffix(suffix);
    if (asprintf(&w->temporary, ".%s.%s", name, suffix) < 0)
        abort();
    w->fd = openat(p->folder, w->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (w->fd < 0)
        return -1;
    bool dead = flock(w->fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    if (!dead && fstat(w->fd, &st) == 0 && st.st_nlink > 0)
        return 0;
    drop(p, w);
    return 1;
}

/* The file that the shard is written to, open from its first byte on. */
static int open_work(struct partial_checkpoint *p, size_t shard, struct error *e)
{
    struct work *w = &p->work[shard];
    const struct shard *s = &p->shards->files[shard];
    int made = 0;
    if (w->fd >= 0)
        return 0;
    while ((made = make_work(p, w, s->name)) > 0)
        continue;
    if (made < 0 || fs_preallocate(w->fd, s->head_size + s->size) ||
        fs_write_at(w->fd, 0, s->head, s->head_size))
        return fail(p, s->name, e);
    return 0;
}

int partial_checkpoint_write_tensor(struct partial_checkpoint *p, size_t i, uint64_t offset,
                                    const void *bytes, size_t size, struct error *e)
{
    const struct place *t = &p->shards->places[i];
    const struct shard *s = &p->shards->files[t->shard];
    struct work *w = &p->work[t->shard];
    pthread_mutex_lock(&p->mutex);
    int failed = open_work(p, t->shard, e);
    pthread_mutex_unlock(&p->mutex);
    if (failed)
        return -1;
    if (fs_write_at(w->fd, s->head_size + t->offset + offset, bytes, size))
        return fail(p, s->name, e);
    pthread_mutex_lock(&p->mutex);
    w->written += size;
    fs_start_writeback(w->fd, w->written, size, w->written == s->size);
    pthread_mutex_unlock(&p->mutex);
    return 0;
}

int partial_checkpoint_finish_shard(struct partial_checkpoint *p, size_t shard, json_t *more,
                                    struct error *e)
{
    struct work *w = &p->work[shard];
    const struct shard *s = &p->shards->files[shard];
    uint64_t size = 0, hash = 0;
    int failed = open_work(p, shard, e);
    if (!failed && w->written != s->size)
        failed = error_set(e, "%s is not complete: %llu of %llu bytes came", s->name,
                           (unsigned long long)w->written, (unsigned long long)s->size);
    if (!failed &&
        (fsync(w->fd) || fs_hash_file(p->folder, w->temporary, s->head_size, &size, &hash) ||
         renameat(p->folder, w->temporary, p->model, s->name) || fsync(p->model)))
        failed = fail(p, s->name, e);
    if (failed) {
        json_decref(more);
        return -1;
    }
    free(w->temporary);
    w->temporary = NULL;
    close_fd(w->fd);
    w->fd = -1;
    json_object_set_new(more, "bytes", json_integer((json_int_t)size));
    json_object_set_new(more, "checksum", shard_records_hash_to_json(hash));
    if (save_record(p, s->name, more, e))
        return -1;
    w->taken = false;
    w->state = SHARD_FINISHED;
    return 0;
}

int partial_checkpoint_write_file(struct partial_checkpoint *p, const char *name, const void *bytes,
                                  size_t size, struct error *e)
{
    uint64_t all, hash;
    if (fs_replace_file(p->model, name, bytes, size) ||
        fs_hash_file(p->model, name, 0, &all, &hash))
        return fail(p, name, e);
    json_object_set_new(p->files, name, shard_records_hash_to_json(hash));
    return 0;
}

int partial_checkpoint_record_auxiliary_files(struct partial_checkpoint *p, json_t *more,
                                              struct error *e)
{
    json_object_set(more, "files", p->files);
    return save_record(p, BESIDE, more, e);
}

int partial_checkpoint_write_work_file(struct partial_checkpoint *p, const char *name,
                                       const void *bytes, size_t size, struct error *e)
{
    return fs_replace_file(p->folder, name, bytes, size) ? fail(p, name, e) : 0;
}

char *partial_checkpoint_read_work_file(const struct partial_checkpoint *p, const char *name,
                                        size_t *size)
{
    return fs_read_file(p->folder, name, size);
}

/* ---- publishing ------------------------------------------------------------------------------ */

static int write_heads(struct partial_checkpoint *p, const char *key, const char *value,
                       struct error *e)
{
    int failed = shard_layout_set_metadata(p->shards, key, value, p->to.name, e);
    for (size_t i = 0; !failed && i < p->shards->n_files; i++) {
        const struct shard *s = &p->shards->files[i];
        int fd = openat(p->model, s->name, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || fs_write_at(fd, 0, s->head, s->head_size) || fsync(fd))
            failed = fail(p, s->name, e);
        close_fd(fd);
    }
    return failed;
}

static bool belongs(const struct partial_checkpoint *p, const json_t *files, const char *name)
{
    bool found = json_object_get(files, name) || strcmp(name, README) == 0 ||
                 (strcmp(name, INDEX) == 0 && p->shards->n_files > 1);
    for (size_t i = 0; !found && i < p->shards->n_files; i++)
        found = strcmp(name, p->shards->files[i].name) == 0;
    return found;
}

/* Files of an earlier merge, and what a killed process left in between. */
static int remove_rest(const struct partial_checkpoint *p, const json_t *files, struct error *e)
{
    int failed = 0;
    DIR *dir = fs_open_folder(p->model);
    if (!dir)
        return fail(p, "model", e);
    for (struct dirent *d; !failed && (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
            !belongs(p, files, d->d_name) && fs_remove_tree(p->model, d->d_name))
            failed = fail(p, d->d_name, e);
    closedir(dir);
    return failed;
}

/* In one go: a signal waits until it is over. */
static int put_in_place(struct partial_checkpoint *p, struct error *e)
{
    sigset_t all, before;
    char *old;
    int old_folder;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = output_target_rename_into_place(&p->to, p->folder, "model", &old, &old_folder, e);
    if (!failed) {
        failed = output_target_remove_replaced(&p->to, old, old_folder, e);
        if (fs_remove_tree(p->to.parent, p->name) && !failed)
            failed = error_set(e, "%s is in place, but %s beside it could not be removed",
                               p->to.name, p->name);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

int partial_checkpoint_publish(struct partial_checkpoint *p, const char *key, const char *value,
                               const char *readme, struct error *e)
{
    json_t *record = partial_checkpoint_load_record(p, SIZE_MAX);
    char *index = shard_layout_index_json(p->shards);
    int failed = remove_rest(p, json_object_get(record, "files"), e) ||
                 write_heads(p, key, value, e) ||
                 (index && partial_checkpoint_write_file(p, INDEX, index, strlen(index), e)) ||
                 partial_checkpoint_write_file(p, README, readme, strlen(readme), e);
    if (!failed && fsync(p->model))
        failed = fail(p, "model", e);
    failed = failed || put_in_place(p, e);
    free(index);
    json_decref(record);
    return failed ? -1 : 0;
}
