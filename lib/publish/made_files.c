#include "made_files.h"

#include "fs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES "files" /* the names, each ended by a zero */

static bool is_listed(const char *list, size_t size, const char *name)
{
    for (const char *at = list; list && at < list + size; at += strlen(at) + 1)
        if (strcmp(at, name) == 0)
            return true;
    return false;
}

int made_files_add(const struct parts_folder *f, const char *name, struct error *e)
{
    char *list;
    size_t size;
    struct bytes all = {0};
    if (parts_folder_read_file(f, FILES, &list, &size, e))
        return -1;
    bool listed = is_listed(list, size, name);
    int failed = !listed && faccessat(f->model, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0
                     ? parts_folder_foreign_error(f, "/model", name, e)
                     : 0;
    if (!listed && !failed) {
        bytes_append(&all, list, list ? size : 0);
        bytes_append(&all, name, strlen(name) + 1);
        failed = fs_replace_file(f->folder, FILES, all.data, all.size)
                     ? parts_folder_write_error(f, FILES, e)
                     : 0;
    }
    bytes_free(&all);
    free(list);
    return failed;
}

/* Has a merge in this folder made the file? A process that was killed leaves .NAME.XXXXXX
 * (fs_replace_file). */
static bool was_made_here(const char *list, size_t size, const char *name)
{
    size_t n = strlen(name), extra = sizeof "..XXXXXX" - 1;
    if (is_listed(list, size, name))
        return true;
    if (*name != '.' || n <= extra || name[n - 7] != '.')
        return false;
    char *inner = mem_printf("%.*s", (int)(n - extra), name + 1);
    bool made = is_listed(list, size, inner);
    free(inner);
    return made;
}

static int remove_file(const struct parts_folder *f, const char *list, size_t size,
                       const char *name, struct error *e)
{
    if (!was_made_here(list, size, name) || !fs_is_own_file(f->model, name, f->owner))
        return parts_folder_foreign_error(f, "/model", name, e);
    return unlinkat(f->model, name, 0) ? parts_folder_write_error(f, name, e) : 0;
}

int made_files_remove_others(const struct parts_folder *f,
                             bool (*belongs)(const void *checkpoint, const char *name),
                             const void *checkpoint, struct error *e)
{
    char *list;
    size_t size;
    if (parts_folder_read_file(f, FILES, &list, &size, e))
        return -1;
    DIR *dir = fs_open_folder(f->model);
    int failed = dir ? 0 : parts_folder_read_error(f, "model", e);
    for (struct dirent *d; dir && !failed && (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
            !belongs(checkpoint, d->d_name))
            failed = remove_file(f, list, size, d->d_name, e);
    if (dir)
        closedir(dir);
    free(list);
    return failed;
}
