#include "fs.h"

#include "hash.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_READ  ((size_t)1 << 30)    /* bytes of a file that is read as a whole */
#define READ_SIZE ((size_t)1 << 20)    /* bytes of one read, for hashing */
#define WRITEBACK ((uint64_t)32 << 20) /* bytes between two calls to the kernel */

void fs_random_suffix(char suffix[7])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char random[6];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        memset(random, getpid() & 0xff, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        suffix[i] = letters[random[i] % (sizeof letters - 1)];
    suffix[6] = '\0';
}

/* ---- writing --------------------------------------------------------------------------------- */

int fs_write_at(int fd, uint64_t offset, const void *bytes, size_t size)
{
    const char *from = bytes;
    while (size > 0) {
        ssize_t n = pwrite(fd, from, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        from += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

int fs_preallocate(int fd, uint64_t size)
{
    if (size == 0 || fallocate(fd, 0, 0, (off_t)size) == 0)
        return 0;
    if (errno == ENOSPC || errno == EFBIG || errno == EDQUOT)
        return -1;
    return ftruncate(fd, (off_t)size);
}

void fs_start_writeback(int fd, uint64_t written, size_t size, bool complete)
{
    if (complete || written / WRITEBACK > (written - size) / WRITEBACK)
        sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

int fs_sync_file(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int failed = fsync(fd), reason = errno;
    close(fd);
    errno = reason;
    return failed;
}

int fs_replace_file(int folder, const char *name, const void *bytes, size_t size)
{
    char suffix[7], *temporary;
    fs_random_suffix(suffix);
    if (asprintf(&temporary, ".%.200s.%s", name, suffix) < 0)
        abort();
    int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int failed = fd < 0 || fs_write_at(fd, 0, bytes, size) || fsync(fd) ? -1 : 0;
    int reason = errno;
    if (fd >= 0 && close(fd) && !failed) {
        failed = -1;
        reason = errno;
    }
    if (!failed && (failed = renameat(folder, temporary, folder, name)))
        reason = errno;
    if (failed && fd >= 0)
        unlinkat(folder, temporary, 0);
    free(temporary);
    errno = reason;
    return failed;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Opens a regular file; a pipe or a device may have no end. */
static int open_regular_file(int folder, const char *name, struct stat *st)
{
    int fd = openat(folder, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || (fstat(fd, st) == 0 && S_ISREG(st->st_mode)))
        return fd;
    close(fd);
    errno = EINVAL;
    return -1;
}

char *fs_read_file(int folder, const char *name, size_t *size)
{
    struct stat st;
    int fd = open_regular_file(folder, name, &st);
    if (fd < 0)
        return NULL;
    size_t length = st.st_size < 0 || (size_t)st.st_size > MAX_READ ? 0 : (size_t)st.st_size;
    char *text = mem_alloc(length + 1, 1);
    ssize_t n = 0;
    for (*size = 0; *size < length; *size += (size_t)n)
        if ((n = read(fd, text + *size, length - *size)) <= 0)
            break;
    close(fd);
    if (*size == length)
        return text;
    free(text);
    return NULL;
}

int fs_hash_file(int folder, const char *name, uint64_t from, uint64_t *size, uint64_t *hash)
{
    struct stat st;
    int fd = open_regular_file(folder, name, &st);
    if (fd < 0)
        return -1;
    XXH3_state_t *state = XXH3_createState();
    char *bytes = mem_alloc(READ_SIZE, 1);
    ssize_t n;
    XXH3_64bits_reset(state);
    for (*size = 0; (n = pread(fd, bytes, READ_SIZE, (off_t)(from + *size))) > 0;
         *size += (uint64_t)n)
        XXH3_64bits_update(state, bytes, (size_t)n);
    *hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    free(bytes);
    int reason = errno;
    close(fd);
    errno = reason;
    return n < 0 ? -1 : 0;
}

/* ---- folders --------------------------------------------------------------------------------- */

DIR *fs_open_folder(int folder)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? NULL : fdopendir(fd);
}

int fs_remove_tree(int parent, const char *name)
{
    if (unlinkat(parent, name, 0) == 0)
        return 0;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    int failed = 0;
    for (struct dirent *d; (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            failed |= fs_remove_tree(dirfd(dir), d->d_name);
    closedir(dir);
    return failed | unlinkat(parent, name, AT_REMOVEDIR);
}
