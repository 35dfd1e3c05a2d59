#include "standard_output.h"

#include "printable.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int standard_output_columns(void)
{
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

int standard_output_flush(struct error *e)
{
    errno = 0;
    bool failed = fflush(stdout) != 0;
    if (failed || ferror(stdout))
        return error_set(e, "cannot write to standard output: %s",
                         errno ? strerror(errno) : "an earlier write failed");
    return 0;
}

static void flush_at_exit(int status, void *name)
{
    struct error e;
    if (status == 0 && standard_output_flush(&e)) {
        printable_message("%s: %s", (const char *)name, e.text);
        _exit(1);
    }
}

void standard_output_flush_at_exit(const char *name)
{
    on_exit(flush_at_exit, (void *)name);
}
