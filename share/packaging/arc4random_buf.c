/* glibc has this function since 2.36; libarchive calls it, and a program that contains libarchive
 * also runs on systems with an older glibc if it contains this one as well. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void arc4random_buf(void *buffer, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = getrandom((char *)buffer + done, n - done, 0);
        if (got >= 0)
            done += (size_t)got;
        else if (errno != EINTR)
            abort();
    }
}
