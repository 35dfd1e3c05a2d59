#include "installed_folder.h"

#include "mem.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

char *installed_folder_find(const char *installed, const char *built)
{
    char own[PATH_MAX / 2], path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n < 0)
        return NULL;
    own[n] = '\0';
    *strrchr(own, '/') = '\0';
    snprintf(path, sizeof path, "%s/%s", own, installed);
    if (access(path, X_OK) != 0)
        snprintf(path, sizeof path, "%s/%s", own, built);
    return access(path, X_OK) == 0 ? mem_real_path(path) : NULL;
}
