#include "pipeline_scripts.h"

#include "installed_folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 256

/* The text after "# NAME: " in the second line of a script; NULL if there is none. */
static const char *read_summary(const char *path, const char *name, struct arena *a)
{
    char line[LINE_MAX_BYTES] = "";
    FILE *f = fopen(path, "re");
    for (int i = 0; f && i < 2; i++)
        if (!fgets(line, sizeof line, f))
            *line = '\0';
    if (f)
        fclose(f);
    size_t n = strlen(name);
    if (strncmp(line, "# ", 2) != 0 || strncmp(line + 2, name, n) != 0 ||
        strncmp(line + 2 + n, ": ", 2) != 0)
        return NULL;
    return arena_copy_text_n(a, line + n + 4, strcspn(line + n + 4, "\n"));
}

static int compare_by_name(const void *a, const void *b)
{
    return strcmp(((const struct pipeline_script *)a)->name,
                  ((const struct pipeline_script *)b)->name);
}

size_t pipeline_scripts_list(struct pipeline_script **scripts, struct arena *a)
{
    size_t n = 0, capacity = 0;
    char *folder = installed_folder_find("../libexec/tvtools/pipelines", "../../pipelines");
    DIR *d = folder ? opendir(folder) : NULL;
    *scripts = NULL;
    for (const struct dirent *entry; d && (entry = readdir(d));) {
        const char *path = arena_printf(a, "%s/%s", folder, entry->d_name);
        const char *summary = read_summary(path, entry->d_name, a);
        if (!summary)
            continue;
        *scripts = arena_grow(a, *scripts, n, &capacity, sizeof **scripts);
        (*scripts)[n++] =
            (struct pipeline_script){arena_copy_text(a, entry->d_name), summary, path};
    }
    if (d)
        closedir(d);
    free(folder);
    if (n > 0)
        qsort(*scripts, n, sizeof **scripts, compare_by_name);
    return n;
}
