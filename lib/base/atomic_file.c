#include "atomic_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const char *path, int why, struct error *e)
{
    return error_set(e, "cannot write %s: %s", path, strerror(why));
}

int atomic_file_open(struct atomic_file *f, const char *path, struct error *e)
{
    struct stat s;
    bool in_place = stat(path, &s) == 0 && !S_ISREG(s.st_mode);
    f->path = path;
    f->temporary = NULL;
    if (!in_place && asprintf(&f->temporary, "%s.partial-%ld", path, (long)getpid()) < 0)
        abort();
    f->out = fopen(in_place ? path : f->temporary, "we");
    if (f->out)
        return 0;
    fail(path, errno, e);
    free(f->temporary);
    f->temporary = NULL;
    return -1;
}

int atomic_file_close(struct atomic_file *f, bool ok, struct error *e)
{
    int failed = 0;
    if (!f->out)
        return 0;
    bool full = fflush(f->out) != 0 || ferror(f->out);
    int why = errno;
    if ((fclose(f->out) != 0 || full) && ok)
        failed = fail(f->path, full ? why : errno, e);
    if (ok && !failed && f->temporary && rename(f->temporary, f->path) < 0)
        failed = fail(f->path, errno, e);
    if (f->temporary && (failed || !ok))
        unlink(f->temporary);
    free(f->temporary);
    *f = (struct atomic_file){0};
    return failed;
}
