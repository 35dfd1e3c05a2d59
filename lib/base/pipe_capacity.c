#include "pipe_capacity.h"

#include <fcntl.h>

#define CAPACITY (1 << 20) /* the default of /proc/sys/fs/pipe-max-size */

void pipe_capacity_enlarge(int fd)
{
    fcntl(fd, F_SETPIPE_SZ, CAPACITY);
}
