#include "atomic_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int set_write_error(const char *path, int error_number, struct error *e)
{
    return error_set(e, "cannot write %s: %s", path, strerror(error_number));
}

int atomic_file_open(struct atomic_file *f, const char *path, struct error *e)
{
    struct stat s;
    bool write_directly = stat(path, &s) == 0 && !S_ISREG(s.st_mode);
    f->path = path;
    f->temporary = NULL;
    if (!write_directly && asprintf(&f->temporary, "%s.partial-%ld", path, (long)getpid()) < 0)
        abort();
    f->out = fopen(write_directly ? path : f->temporary, "we");
    if (f->out)
        return 0;
    set_write_error(path, errno, e);
    free(f->temporary);
    f->temporary = NULL;
    return -1;
}

int atomic_file_close(struct atomic_file *f, bool ok, struct error *e)
{
    int failed = 0;
    if (!f->out)
        return 0;
    bool flush_failed = fflush(f->out) != 0 || ferror(f->out);
    int flush_errno = errno;
    if ((fclose(f->out) != 0 || flush_failed) && ok)
        failed = set_write_error(f->path, flush_failed ? flush_errno : errno, e);
    if (ok && !failed && f->temporary && rename(f->temporary, f->path) < 0)
        failed = set_write_error(f->path, errno, e);
    if (f->temporary && (failed || !ok))
        unlink(f->temporary);
    free(f->temporary);
    *f = (struct atomic_file){0};
    return failed;
}
