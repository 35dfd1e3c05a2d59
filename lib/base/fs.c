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
#include <sys/statvfs.h>
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

int fs_open_for_writing(int folder, const char *name)
{
    return openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

int fs_replace_file(int folder, const char *name, const void *bytes, size_t size)
{
    char suffix[7];
    fs_random_suffix(suffix);
    char *temporary = mem_printf(".%.200s.%s", name, suffix);
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

int fs_open_regular_file(int folder, const char *name, struct stat *st)
{
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int reason = fstat(fd, st) ? errno : S_ISREG(st->st_mode) ? 0 : EINVAL;
    if (!reason)
        return fd;
    close(fd);
    errno = reason;
    return -1;
}

bool fs_is_missing(int error_number)
{
    return error_number == ENOENT || error_number == EINVAL || error_number == ELOOP ||
           error_number == ENXIO;
}

/* Reads at `offset`, up to `size` bytes or the end of the file; their number, or -1. */
static ssize_t read_at(int fd, uint64_t offset, char *bytes, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, bytes + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* Closes a descriptor and keeps errno. */
static void close_quietly(int fd)
{
    int reason = errno;
    close(fd);
    errno = reason;
}

char *fs_read_file(int folder, const char *name, size_t *size)
{
    struct stat st;
    int fd = fs_open_regular_file(folder, name, &st);
    if (fd < 0)
        return NULL;
    char *text = NULL;
    ssize_t n = -1;
    *size = (size_t)st.st_size;
    errno = EFBIG;
    if (*size <= MAX_READ) {
        text = mem_alloc(*size + 1, 1);
        n = read_at(fd, 0, text, *size);
        if (n >= 0)
            errno = EIO; /* it was truncated meanwhile */
    }
    close_quietly(fd);
    if (n >= 0 && (size_t)n == *size)
        return text;
    int reason = errno;
    free(text);
    errno = reason;
    return NULL;
}

int fs_move_bytes(int fd, uint64_t offset, uint64_t size, uint64_t by)
{
    char *bytes = mem_alloc(READ_SIZE, 1);
    int failed = 0;
    while (size > 0 && !failed) { /* the last bytes first */
        size_t n = size < READ_SIZE ? (size_t)size : READ_SIZE;
        size -= n;
        ssize_t found = read_at(fd, offset + size, bytes, n);
        if (found >= 0 && (size_t)found < n)
            errno = EIO; /* it was truncated meanwhile */
        failed = (size_t)found != n || fs_write_at(fd, offset + size + by, bytes, n);
    }
    int reason = errno;
    free(bytes);
    errno = reason;
    return failed ? -1 : 0;
}

int fs_hash_range(int fd, uint64_t from, uint64_t most, uint64_t *size, uint64_t *hash)
{
    XXH3_state_t *state = hash_new_state();
    char *bytes = mem_alloc(READ_SIZE, 1);
    ssize_t n = 1;
    for (*size = 0; n > 0 && *size<most; *size += n> 0 ? (uint64_t)n : 0) {
        uint64_t left = most - *size;
        n = read_at(fd, from + *size, bytes, left < READ_SIZE ? (size_t)left : READ_SIZE);
        if (n > 0)
            XXH3_64bits_update(state, bytes, (size_t)n);
    }
    *hash = XXH3_64bits_digest(state);
    int reason = errno;
    XXH3_freeState(state);
    free(bytes);
    errno = reason;
    return n < 0 ? -1 : 0;
}

int fs_hash_file(int folder, const char *name, uint64_t from, uint64_t *size, uint64_t *hash)
{
    struct stat st;
    int fd = fs_open_regular_file(folder, name, &st);
    if (fd < 0)
        return -1;
    int failed = fs_hash_range(fd, from, UINT64_MAX, size, hash);
    close_quietly(fd);
    return failed;
}

/* ---- folders --------------------------------------------------------------------------------- */

DIR *fs_open_folder(int folder)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? NULL : fdopendir(fd);
}

int fs_open_own_folder(int parent, const char *name, uid_t owner)
{
    struct stat st;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int reason = fstat(fd, &st) ? errno : st.st_uid == owner ? 0 : EPERM;
    if (!reason)
        return fd;
    close(fd);
    errno = reason;
    return -1;
}

uid_t fs_own_user(int folder)
{
    char suffix[7];
    struct stat st = {.st_uid = geteuid()};
    fs_random_suffix(suffix);
    char *name = mem_printf(".tvtools-%s", suffix);
    if (mkdirat(folder, name, 0700) == 0) {
        if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW))
            st.st_uid = geteuid();
        unlinkat(folder, name, AT_REMOVEDIR);
    }
    free(name);
    return st.st_uid;
}

bool fs_is_own_file(int folder, const char *name, uid_t owner)
{
    struct stat st;
    return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           st.st_uid == owner;
}

size_t fs_name_max(int folder)
{
    long most = fpathconf(folder, _PC_NAME_MAX);
    return most > 0 ? (size_t)most : 255;
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

uint64_t fs_available_bytes(int fd)
{
    enum { RESERVE_SHARE = 64 }; /* of the disk */
    const uint64_t most = (uint64_t)256 << 20;
    struct statvfs s;
    if (fstatvfs(fd, &s))
        return UINT64_MAX;
    uint64_t free = (uint64_t)s.f_bavail * s.f_frsize;
    uint64_t reserve = (uint64_t)s.f_blocks * s.f_frsize / RESERVE_SHARE;
    reserve = reserve < most ? reserve : most;
    return free > reserve ? free - reserve : 0;
}

bool fs_has_room(int fd, uint64_t *written, size_t size)
{
    const uint64_t interval = (uint64_t)16 << 20;
    uint64_t before = *written;
    *written += size;
    return *written / interval == before / interval || fs_available_bytes(fd) > 0;
}
