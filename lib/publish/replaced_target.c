#include "replaced_target.h"

#include "fs.h"
#include "model_content.h"
#include "model_files.h"
#include "model_folder_names.h"
#include "weight_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ADVICE "so --force does not replace it; write to another OUT, or remove it first"

/* ---- records --------------------------------------------------------------------------------- */

/* DEVICE/INODE/SIZE/MODIFIED/NAME; without a size and a time of a folder, which other processes may
 * change, and without a name of the target itself. */
static char *format_record(const struct stat *st, const char *name)
{
    bool is_folder = S_ISDIR(st->st_mode);
    return mem_printf(
        REPLACED_TARGET_RECORD "%llu/%llu/%llu/%lld.%09ld/%s", (unsigned long long)st->st_dev,
        (unsigned long long)st->st_ino, is_folder ? 0 : (unsigned long long)st->st_size,
        is_folder ? 0 : (long long)st->st_mtim.tv_sec, is_folder ? 0 : st->st_mtim.tv_nsec, name);
}

static void add_record(struct replaced_target *r, const struct stat *st, const char *name)
{
    char *record = format_record(st, name);
    bytes_append(&r->records, record, strlen(record) + 1);
    free(record);
}

/* The fields of a record. */
struct record {
    unsigned long long device, inode, size;
    long long seconds;
    long nanoseconds;
    const char *name; /* "": the target itself */
};

static bool parse_record(const char *text, struct record *r)
{
    int n = 0;
    if (strncmp(text, REPLACED_TARGET_RECORD, sizeof REPLACED_TARGET_RECORD - 1) != 0)
        return false;
    text += sizeof REPLACED_TARGET_RECORD - 1;
    if (sscanf(text, "%llu/%llu/%llu/%lld.%ld/%n", &r->device, &r->inode, &r->size, &r->seconds,
               &r->nanoseconds, &n) != 5 ||
        n == 0)
        return false;
    r->name = text + n;
    return !strchr(r->name, '/');
}

static bool matches_record(const struct record *r, int folder, const char *name)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) ||
        (unsigned long long)st.st_dev != r->device || (unsigned long long)st.st_ino != r->inode)
        return false;
    return S_ISDIR(st.st_mode) ||
           ((unsigned long long)st.st_size == r->size && st.st_mtim.tv_sec == r->seconds &&
            st.st_mtim.tv_nsec == r->nanoseconds);
}

/* The first record at or after `at`, and where the next one may begin; false: there is none. */
static bool next_record(const char **at, const char *end, struct record *r)
{
    while (*at < end) {
        const char *text = *at;
        size_t n = strnlen(text, (size_t)(end - text));
        *at = text + n + 1;
        if (text + n < end && parse_record(text, r))
            return true;
    }
    return false;
}

bool replaced_target_is(const char *records, size_t size, int parent, const char *name)
{
    struct record r;
    for (const char *at = records; next_record(&at, records + size, &r);)
        if (!*r.name && matches_record(&r, parent, name))
            return true;
    return false;
}

int replaced_target_remove(const char *records, size_t size, int parent, const char *name)
{
    struct record r;
    if (!replaced_target_is(records, size, parent, name))
        return -1;
    int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return unlinkat(parent, name, 0);
    for (const char *at = records; next_record(&at, records + size, &r);)
        if (*r.name && matches_record(&r, folder, r.name))
            unlinkat(folder, r.name, 0);
    close(folder);
    return unlinkat(parent, name, AT_REMOVEDIR);
}

/* ---- checking -------------------------------------------------------------------------------- */

/* Does the file hold weights? A link is followed, as when a model is read. */
static bool is_weight_file(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    bool found = fd >= 0 && model_content_is_weight_file(fd, name);
    if (fd >= 0)
        close(fd);
    return found;
}

/* Does the entry belong to a checkpoint? */
static bool belongs_to_checkpoint(int folder, const char *name, const struct stat *st,
                                  bool *is_weights)
{
    if (!S_ISREG(st->st_mode) && !S_ISLNK(st->st_mode))
        return false;
    *is_weights = model_files_kind_of(name) == MODEL_FILE_WEIGHTS;
    return *is_weights ? is_weight_file(folder, name) : model_folder_names_contain(name);
}

/* Keeps the first of the names in alphabetical order. */
static void keep_first(char **first, const char *name)
{
    if (*first && strcmp(*first, name) <= 0)
        return;
    free(*first);
    *first = mem_copy_text(name);
}

/* Looks at all entries. *foreign is the first that belongs to no checkpoint. -1 with the reason in
 * errno. */
static int list_entries(struct replaced_target *r, DIR *dir, size_t *n, size_t *n_weights,
                        char **foreign)
{
    for (struct dirent *d; errno = 0, (d = readdir(dir));) {
        struct stat st;
        bool is_weights = false;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW))
            return -1;
        if (!belongs_to_checkpoint(dirfd(dir), d->d_name, &st, &is_weights))
            keep_first(foreign, d->d_name);
        add_record(r, &st, d->d_name);
        *n_weights += is_weights;
        ++*n;
    }
    return errno ? -1 : 0;
}

/* The first weight file that is not among those of the model that the folder is read as; NULL if
 * there is none. */
static const char *find_other_weights(const struct weight_files *w)
{
    for (size_t i = 0; i < w->files->n; i++) {
        const struct model_file *file = &w->files->files[i];
        if (model_files_kind_of(file->name) == MODEL_FILE_WEIGHTS && !weight_files_contain(w, file))
            return file->name;
    }
    return NULL;
}

/* An error if the folder contains more weights than those of one model, or not all of them. */
static int check_one_model(const char *path, struct error *e)
{
    struct model_files files = {0};
    struct weight_files w = {.files = &files, .path = path};
    struct error why;
    int failed = model_files_add_folder(&files, path, e);
    if (!failed && weight_files_find(&w, &why))
        failed = error_set(e, "%s, so --force does not replace it", why.text);
    else if (!failed && find_other_weights(&w))
        failed = error_set(e, "%s contains %s besides %s, " ADVICE, path, find_other_weights(&w),
                           w.list[0]->name);
    weight_files_free(&w);
    model_files_free(&files);
    return failed;
}

static int check_folder(struct replaced_target *r, DIR *dir, const char *path, struct error *e)
{
    size_t n = 0, n_weights = 0;
    char *foreign = NULL;
    int failed = list_entries(r, dir, &n, &n_weights, &foreign)
                     ? error_set(e, "cannot read the folder %s: %s", path, strerror(errno))
                     : 0;
    if (!failed && foreign)
        failed = error_set(e,
                           "%s contains %.200s, which is no file of a checkpoint, so --force does "
                           "not replace it; write to another OUT, or move %.200s elsewhere",
                           path, foreign, foreign);
    else if (!failed && n > 0 && n_weights == 0)
        failed = error_set(e, "%s is not a checkpoint (it contains no weights), " ADVICE, path);
    else if (!failed && n > 0)
        failed = check_one_model(path, e);
    free(foreign);
    return failed;
}

static int check_file_content(int fd, const char *name, const char *path, struct error *e)
{
    char *foreign = NULL;
    if (model_content_is_weight_file(fd, name) ||
        model_content_is_archive(fd, model_folder_names_contain, &foreign))
        return 0;
    int failed =
        foreign ? error_set(e,
                            "%s is an archive that contains %.200s, which is no file of a "
                            "checkpoint, " ADVICE,
                            path, foreign)
                : error_set(e,
                            "%s is not a checkpoint (neither a valid weight file nor an archive of "
                            "a model), " ADVICE,
                            path);
    free(foreign);
    return failed;
}

static int check_file(int parent, const char *name, const char *path, struct error *e)
{
    struct stat st;
    int fd = fs_open_regular_file(parent, name, &st);
    if (fd < 0)
        return error_set(e, "cannot read %s, which --force would replace: %s", path,
                         strerror(errno));
    int failed = st.st_size == 0 ? 0 : check_file_content(fd, name, path, e);
    close(fd);
    return failed;
}

static int check_found(struct replaced_target *r, int parent, const char *name, const char *path,
                       struct error *e)
{
    add_record(r, &r->st, "");
    if (S_ISLNK(r->st.st_mode))
        return 0;
    if (S_ISREG(r->st.st_mode))
        return check_file(parent, name, path, e);
    if (!S_ISDIR(r->st.st_mode))
        return error_set(e, "%s is not a file or a folder; remove it first", path);
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return error_set(e, "cannot read the folder %s: %s", path, strerror(errno));
    int failed = check_folder(r, dir, path, e);
    closedir(dir);
    return failed;
}

bool replaced_target_is_checked_file(const struct replaced_target *r, int parent, const char *name)
{
    return r->records.size && S_ISREG(r->st.st_mode) &&
           replaced_target_is((const char *)r->records.data, r->records.size, parent, name);
}

int replaced_target_check(struct replaced_target *r, int parent, const char *name, const char *path,
                          struct error *e)
{
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW)) {
        int reason = errno;
        replaced_target_free(r);
        return reason == ENOENT ? 0 : error_set(e, "cannot access %s: %s", path, strerror(reason));
    }
    if (replaced_target_is_checked_file(r, parent, name))
        return 1;
    replaced_target_free(r);
    r->st = st;
    if (check_found(r, parent, name, path, e) == 0)
        return 1;
    replaced_target_free(r);
    return -1;
}

void replaced_target_free(struct replaced_target *r)
{
    bytes_free(&r->records);
    *r = (struct replaced_target){0};
}
