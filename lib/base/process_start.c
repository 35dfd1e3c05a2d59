#include "process_start.h"

#include "fatal.h"
#include "mem.h"
#include "printable.h"
#include "standard_output.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <locale.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* With O_PATH, reads and writes fail with EBADF, as with a closed descriptor. */
static void fill_closed_descriptors(const char *name)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        if (open("/", O_PATH | O_DIRECTORY) == fd)
            continue;
        printable_message("%s: descriptor %d is closed and cannot be filled: %s", name, fd,
                          strerror(errno));
        exit(1);
    }
}

static void *allocate(size_t size)
{
    return mem_check(malloc(size ? size : 1));
}

/* Each block allocates and frees its buffers. glibc decides from earlier frees whether it returns
 * them to the system each time, which costs a page fault per 4 KiB, unless its thresholds are set.
 */
static void keep_freed_buffers(void)
{
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
#endif
}

void process_start(const char *name)
{
    keep_freed_buffers();
    fatal_set_program(name, 1);
    fill_closed_descriptors(name);
    setlocale(LC_CTYPE, "C.UTF-8"); /* else libarchive cannot read names in UTF-8 */
    json_set_alloc_funcs(allocate, free);
    standard_output_flush_at_exit(name);
}
