#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int output_finish(struct error *e)
{
    errno = 0;
    bool failed = fflush(stdout) != 0;
    if (failed || ferror(stdout))
        return error_set(e, "cannot write to standard output: %s",
                         errno ? strerror(errno) : "an earlier write failed");
    return 0;
}

static void check(int status, void *name)
{
    struct error e;
    if (status == 0 && output_finish(&e)) {
        fprintf(stderr, "%s: %s\n", (const char *)name, e.text);
        _exit(1);
    }
}

void output_check_at_exit(const char *name)
{
    on_exit(check, (void *)name);
}
