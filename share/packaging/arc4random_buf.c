/* arc4random_buf for systems with a glibc before 2.36, which lacks it. libarchive calls it: a
 * program that is linked with libarchive statically runs there if it contains this function, too.
 */
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
