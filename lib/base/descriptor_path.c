#include "descriptor_path.h"

#include "mem.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40 /* as many as the kernel follows */

static char *copy_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return mem_copy_text(".");
    return slash == path ? mem_copy_text("/") : mem_copy_text_n(path, (size_t)(slash - path));
}

/* Is it the folder of this process's descriptors, or of those of a thread of it? */
static bool is_descriptor_folder(const char *folder)
{
    char real[PATH_MAX], self[PATH_MAX];
    if (strcmp(folder, "/dev/fd") == 0 || strcmp(folder, "/proc/self/fd") == 0)
        return true; /* also where /proc is missing */
    size_t n = realpath("/proc/self", self) ? strlen(self) : 0;
    if (n == 0 || !realpath(folder, real) || strncmp(real, self, n) != 0 || real[n] != '/')
        return false;
    const char *rest = real + n + 1;
    if (strncmp(rest, "task/", 5) == 0) {
        rest += 5;
        rest += strspn(rest, "0123456789");
        rest += *rest == '/';
    }
    return strcmp(rest, "fd") == 0;
}

static int parse_descriptor(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n < 10 && strspn(name, "0123456789") == n ? atoi(name) : -1;
}

/* The path that a link contains, relative to the working directory; NULL if the path is no link, or
 * one of another user. */
static char *read_trusted_link(const char *path, const char *folder)
{
    struct stat st, folder_st;
    char target[PATH_MAX];
    if (lstat(path, &st) || !S_ISLNK(st.st_mode) || stat(folder, &folder_st) ||
        (st.st_uid != geteuid() && st.st_uid != folder_st.st_uid))
        return NULL;
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n <= 0)
        return NULL;
    target[n] = '\0';
    return *target == '/' ? mem_copy_text(target) : mem_printf("%s/%s", folder, target);
}

int descriptor_path_find(const char *path)
{
    char *at = mem_copy_text(path);
    int descriptor = -1;
    for (int links = 0; at && descriptor < 0 && links < LINKS_MAX; links++) {
        char *folder = copy_folder_of(at), *next = NULL;
        const char *slash = strrchr(at, '/');
        if (is_descriptor_folder(folder))
            descriptor = parse_descriptor(slash ? slash + 1 : at);
        else
            next = read_trusted_link(at, folder);
        free(folder);
        free(at);
        at = next;
    }
    free(at);
    return descriptor;
}

const char *descriptor_path_to_read(const char *path)
{
    return strcmp(path, "-") == 0 ? "/dev/stdin" : path;
}

const char *descriptor_path_to_write(const char *path)
{
    return strcmp(path, "-") == 0 ? "/dev/stdout" : path;
}
