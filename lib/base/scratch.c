#include "scratch.h"

#include "fs.h"
#include "mem.h"
#include "spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int map_temporary_file(struct scratch *s, const char *folder, struct error *e)
{
    int fd = spool_open_temporary_file(folder, e);
    if (fd < 0)
        return -1;
    void *bytes = MAP_FAILED;
    if (fs_preallocate(fd, s->size) == 0)
        bytes = mmap(NULL, s->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int reason = errno;
    close(fd);
    if (bytes == MAP_FAILED)
        return error_set(e,
                         "a temporary file of %zu MiB in %s: %s (--spool chooses another folder)",
                         s->size >> 20, spool_folder_or_default(folder), strerror(reason));
    s->bytes = bytes;
    return 0;
}

int scratch_alloc(struct scratch *s, size_t size, size_t memory, const char *folder,
                  struct error *e)
{
    *s = (struct scratch){.size = size, .is_file = size > memory};
    if (s->is_file && map_temporary_file(s, folder, e)) {
        *s = (struct scratch){0};
        return -1;
    }
    if (!s->is_file)
        s->bytes = mem_alloc_aligned(size);
    return 0;
}

void scratch_free(struct scratch *s)
{
    if (s->is_file)
        munmap(s->bytes, s->size);
    else
        free(s->bytes);
    *s = (struct scratch){0};
}
