/* A library for LD_PRELOAD: the n-th call of one function fails in one process of a pipeline. It
 * also counts calls, sends signals at a call, and logs what changes a file system.
 *
 *   INJECT='ROLE FUNCTION N ACTION'
 *                       the fault; without it calls are only counted
 *   INJECT_ROLE=ROLE    what this process is called (default: the name of its program)
 *   INJECT_MAP=FILE     struct shared, zeros at first: counts, and what was injected
 *   INJECT_LOG=FILE     log of changes (struct change), for power-loss.py
 *   INJECT_FILE=FILE    the file that CUT and CHANGE work on
 *
 * A second process of the same name is called ROLE#2, the k-th child that a process forks ROLE.k.
 * FUNCTION is a name of KINDS and stands for the whole kind: openat for every way to open a file in
 * a folder, put for everything that prints into a FILE, send for what is written into a pipe.
 * ACTION is an errno (ENOSPC; ENOSPC+ for this call and all later ones), SHORT, a signal (SIGTERM;
 * SIGTERM+ for the process group), CUT or CHANGE; or LIMIT for the last three kinds, where N is the
 * limit, or the descriptor plus one. Calls before main are not counted, nor is what goes to
 * standard error.
 *
 *   cc -shared -fPIC -O1 -o inject.so inject.c */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Memory first, then calls into the system (`any` counts them all), then what is set up before
 * main: a limit on the size of files, on the number of descriptors, on the address space (MiB), a
 * descriptor of 0 to 2 that is closed. */
/* clang-format off */
#define KINDS(X) \
    X(malloc) X(calloc) X(realloc) X(memalign) \
    X(any) X(open) X(openat) X(fopen) X(memstream) X(opendir) X(readdir) X(read) X(pread) X(readv) \
    X(write) X(pwrite) X(writev) X(send) X(put) X(get) X(fflush) X(fclose) X(fsync) X(syncrange) \
    X(ftruncate) X(fallocate) X(mmap) X(close) X(rename) X(unlink) X(mkdir) X(link) X(stat) \
    X(readlink) X(statvfs) X(lseek) X(flock) X(pipe) X(dup) X(fork) X(exec) X(waitpid) X(poll) \
    X(eventfd) X(thread) X(getrandom) X(fcntl) X(rlimit) X(dlopen) \
    X(fsize) X(nofile) X(space) X(closed)
#define KIND(name) K_##name,
#define NAME(name) #name,
enum kind { KINDS(KIND) N_KINDS };
static const char kind_names[][16] = {KINDS(NAME)};
/* clang-format on */

#define ROLES  64
#define FRAMES 32

struct role {
    char name[48];
    _Atomic uint32_t count[64]; /* [kind] */
};
struct shared {
    char kinds[1024];                            /* their names, with blanks between them */
    _Atomic uint32_t n_roles, injected, crashed; /* the last: by which signal a child ended */
    char frames[FRAMES][96]; /* where: +OFFSET in the program, else LIBRARY FUNCTION */
    struct role roles[ROLES];
};

static struct shared *shared;
static struct role *self, own; /* NULL before main */
static uint32_t forks;
static const void *program; /* where it is mapped */
static __thread bool inside;

enum action { NOTHING, FAIL, SHORT, SIGNAL, CUT, CHANGE, LIMIT };
static struct {
    char role[48];
    bool here; /* in this process */
    enum kind kind;
    uint32_t n;
    enum action action;
    int number; /* errno or signal */
    bool plus;
} fault;

static const struct {
    const char *name;
    enum action action;
    int number;
} actions[] = {{"EIO", FAIL, EIO},           {"ENOSPC", FAIL, ENOSPC},
               {"EDQUOT", FAIL, EDQUOT},     {"EINTR", FAIL, EINTR},
               {"ENOMEM", FAIL, ENOMEM},     {"EMFILE", FAIL, EMFILE},
               {"EACCES", FAIL, EACCES},     {"EAGAIN", FAIL, EAGAIN},
               {"EINVAL", FAIL, EINVAL},     {"EPERM", FAIL, EPERM},
               {"ENOSYS", FAIL, ENOSYS},     {"ENOLCK", FAIL, ENOLCK},
               {"ESTALE", FAIL, ESTALE},     {"EOPNOTSUPP", FAIL, EOPNOTSUPP},
               {"SHORT", SHORT, 0},          {"SIGKILL", SIGNAL, SIGKILL},
               {"SIGTERM", SIGNAL, SIGTERM}, {"SIGINT", SIGNAL, SIGINT},
               {"SIGHUP", SIGNAL, SIGHUP},   {"SIGQUIT", SIGNAL, SIGQUIT},
               {"SIGPIPE", SIGNAL, SIGPIPE}, {"CUT", CUT, 0},
               {"CHANGE", CHANGE, 0},        {"LIMIT", LIMIT, 0}};

/* ---- setting up ------------------------------------------------------------------------------ */

static int raw_open(const char *path, int flags)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0666);
}

static void parse_fault(const char *text)
{
    char kind[16], action[16];
    if (sscanf(text, "%47s %15s %u %15s", fault.role, kind, &fault.n, action) != 4)
        return;
    size_t length = strlen(action);
    if (action[length - 1] == '+') {
        fault.plus = true;
        action[length - 1] = '\0';
    }
    for (int k = 0; k < N_KINDS; k++)
        if (strcmp(kind_names[k], kind) == 0)
            fault.kind = (enum kind)k;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (strcmp(actions[i].name, action) == 0) {
            fault.action = actions[i].action;
            fault.number = actions[i].number;
        }
}

static void map_shared(void)
{
    const char *path = getenv("INJECT_MAP");
    int fd = path ? raw_open(path, O_RDWR) : -1;
    if (fd < 0)
        return;
    void *p =
        (void *)syscall(SYS_mmap, NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (p == MAP_FAILED)
        return;
    shared = p;
    char *at = shared->kinds;
    for (int k = 0; k < N_KINDS; k++)
        at += sprintf(at, "%s ", kind_names[k]);
}

/* The role of that name; numbered if there are several. */
static void take_role(const char *name)
{
    uint32_t mine = shared ? shared->n_roles++ : 0, before = 0;
    self = &own;
    if (shared && mine < ROLES) {
        self = &shared->roles[mine];
        for (uint32_t i = 0; i < mine; i++) {
            const char *other = shared->roles[i].name;
            size_t length = strcspn(other, "#");
            before += strlen(name) == length && strncmp(name, other, length) == 0;
        }
    }
    snprintf(self->name, sizeof self->name, before ? "%.40s#%u" : "%.40s", name, before + 1);
    fault.here = fault.action && strcmp(fault.role, self->name) == 0;
}

static void injected(void)
{
    if (shared)
        shared->injected++;
}

/* A pipe is never full nor damaged, and its end is not the disk's affair. */
static bool is_pipe(int fd)
{
    struct stat st;
    int why = errno;
    bool before = inside;
    inside = true;
    bool pipe = fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
    inside = before;
    errno = why;
    return pipe;
}

/* What is not the failure of a call. */
static void set_limits(void)
{
    struct rlimit limit = {fault.n, fault.n};
    if (fault.kind == K_fsize && setrlimit(RLIMIT_FSIZE, &limit) == 0)
        injected();
    if (fault.kind == K_nofile && setrlimit(RLIMIT_NOFILE, &limit) == 0)
        injected();
    if (fault.kind == K_space) {
        limit.rlim_cur = limit.rlim_max = (rlim_t)fault.n << 20;
        if (setrlimit(RLIMIT_AS, &limit) == 0)
            injected();
    }
    if (fault.kind == K_closed && !is_pipe((int)fault.n - 1) &&
        syscall(SYS_close, fault.n - 1) == 0)
        injected();
}

static int (*real_main)(int, char **, char **);

static int start(int argc, char **argv, char **env)
{
    const char *role = getenv("INJECT_ROLE"), *text = getenv("INJECT");
    Dl_info info;
    void *frames[2];
    if (text)
        parse_fault(text);
    map_shared();
    if (dladdr((void *)real_main, &info))
        program = info.dli_fbase;
    if (fault.action)
        backtrace(frames, 2); /* loads what it needs */
    take_role(role ? role : program_invocation_short_name);
    if (fault.here)
        set_limits();
    return real_main(argc, argv, env);
}

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*rtld_fini)(void), void *stack)
{
    int (*next)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void),
                void (*)(void), void *);
    *(void **)&next = dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = main;
    return next(start, argc, argv, init, fini, rtld_fini, stack);
}

/* ---- the fault ------------------------------------------------------------------------------- */

static void note_frames(void)
{
    void *frames[FRAMES];
    int n = backtrace(frames, FRAMES);
    for (int i = 0; i < n; i++) {
        Dl_info info = {0};
        dladdr(frames[i], &info);
        const char *file = info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
        if (info.dli_fbase == program)
            snprintf(shared->frames[i], sizeof *shared->frames, "+%#lx",
                     (unsigned long)((char *)frames[i] - (char *)program - 1));
        else
            snprintf(shared->frames[i], sizeof *shared->frames, "%.40s %.50s",
                     file ? file + 1 : "?", info.dli_sname ? info.dli_sname : "?");
    }
}

/* Cuts the chosen file in half, or changes a byte of it and with it its times. */
static void damage_file(void)
{
    const char *path = getenv("INJECT_FILE");
    int fd = path ? raw_open(path, O_RDWR) : -1;
    off_t size = fd < 0 ? 0 : (off_t)syscall(SYS_lseek, fd, 0, SEEK_END);
    unsigned char byte = 0;
    if (size == 0)
        return;
    if (fault.action == CUT)
        syscall(SYS_ftruncate, fd, size / 2);
    else if (syscall(SYS_pread64, fd, &byte, 1, size - 2) == 1) {
        byte ^= 1;
        syscall(SYS_pwrite64, fd, &byte, 1, size - 2);
    }
    syscall(SYS_close, fd);
}

/* Counts a call; FAIL (errno says why), SHORT or NOTHING. */
static enum action action_of(enum kind kind)
{
    if (!self || inside)
        return NOTHING;
    uint32_t n = ++self->count[kind], all = kind > K_any ? ++self->count[K_any] : 0;
    if (!fault.here || (fault.kind != kind && fault.kind != K_any))
        return NOTHING;
    if (fault.kind == K_any)
        n = all;
    bool forever = fault.plus && fault.action == FAIL;
    if (n != fault.n && !(forever && n > fault.n))
        return NOTHING;
    inside = true;
    if (shared && shared->injected++ == 0)
        note_frames();
    if (fault.action == CUT || fault.action == CHANGE)
        damage_file();
    inside = false;
    if (fault.action == SIGNAL)
        syscall(SYS_kill, fault.plus ? 0 : getpid(), fault.number);
    errno = fault.number;
    return fault.action == FAIL || fault.action == SHORT ? fault.action : NOTHING;
}

static bool fails(enum kind kind)
{
    return action_of(kind) == FAIL;
}

/* The function that this one stands before. */
#define NEXT(name, type, params)                                                                   \
    static type(*next) params;                                                                     \
    if (!next)                                                                                     \
    *(void **)&next = dlsym(RTLD_NEXT, #name)

/* A function that fails with `result`. */
#define CALL(kind, type, name, params, args, result)                                               \
    type name params                                                                               \
    {                                                                                              \
        NEXT(name, type, params);                                                                  \
        return fails(K_##kind) ? (result) : next args;                                             \
    }

/* ---- log of changes ---------------------------------------------------------------------------
 */

/* Behind it: the names, then `size` bytes, the content of the file after the change. */
struct change {
    char what; /* File, Directory, Link: an entry was made; T: a file without a name (O_TMPFILE);
                  Write; Sync; Rename; Unlink */
    char pad[3];
    uint32_t name_length, name2_length, flags;
    uint64_t folder, folder2, inode, size;
};

static int log_fd = -1;

__attribute__((constructor)) static void open_log(void)
{
    const char *path = getenv("INJECT_LOG");
    if (path)
        log_fd = raw_open(path, O_WRONLY | O_CREAT | O_APPEND);
}

static bool logs(void)
{
    return log_fd >= 0 && self;
}

static void write_change(struct change c, const char *name, const char *name2, const void *data)
{
    int why = errno;
    c.name_length = name ? (uint32_t)strlen(name) : 0;
    c.name2_length = name2 ? (uint32_t)strlen(name2) : 0;
    struct iovec parts[] = {{&c, sizeof c},
                            {(void *)name, c.name_length},
                            {(void *)name2, c.name2_length},
                            {(void *)data, c.size}};
    if (syscall(SYS_writev, log_fd, parts, 4) < 0)
        abort();
    errno = why;
}

/* The inode of the folder in which a path ends, and its last part. */
static uint64_t folder_of(int at, const char *path, const char **name)
{
    char parent[4096];
    struct stat st = {0};
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    inside = true;
    if (fstatat(at, parent, &st, 0))
        st.st_ino = 0;
    inside = false;
    return st.st_ino;
}

static void log_entry(char what, int at, const char *path)
{
    struct stat st;
    const char *name;
    int why = errno;
    uint64_t folder = folder_of(at, path, &name);
    inside = true;
    int failed = fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW);
    inside = false;
    errno = why;
    if (!failed)
        write_change((struct change){.what = what, .folder = folder, .inode = st.st_ino}, name,
                     NULL, NULL);
}

/* What the file holds now; nothing of a pipe. */
static void log_content(int fd)
{
    struct stat st;
    char path[32];
    int why = errno;
    inside = true;
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    inside = false;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int in = regular ? raw_open(path, O_RDONLY) : -1;
    if (in >= 0) {
        struct change c = {.what = 'W', .inode = st.st_ino, .size = (uint64_t)st.st_size};
        void *data = c.size ? (void *)syscall(SYS_mmap, NULL, c.size, PROT_READ, MAP_PRIVATE, in, 0)
                            : MAP_FAILED;
        write_change(c, NULL, NULL, c.size ? data : NULL);
        if (data != MAP_FAILED)
            syscall(SYS_munmap, data, c.size);
        syscall(SYS_close, in);
    }
    errno = why;
}

/* What has happened to the file or folder itself. */
static void log_file(char what, int fd)
{
    struct stat st;
    int why = errno;
    inside = true;
    if (fstat(fd, &st) == 0)
        write_change((struct change){.what = what, .inode = st.st_ino}, NULL, NULL, NULL);
    inside = false;
    errno = why;
}

static void log_open(int fd, int at, const char *path, int flags)
{
    bool nameless = (flags & O_TMPFILE) == O_TMPFILE;
    if (!logs() || fd < 0 || !(nameless || flags & (O_CREAT | O_TRUNC)))
        return;
    if (nameless)
        log_file('T', fd);
    else
        log_entry('F', at, path);
    log_content(fd);
}

static void log_rename(int at, const char *from, int at2, const char *to, unsigned flags)
{
    struct change c = {.what = 'R', .flags = flags};
    const char *name, *name2;
    c.folder = folder_of(at, from, &name);
    c.folder2 = folder_of(at2, to, &name2);
    write_change(c, name, name2, NULL);
}

static void log_unlink(int at, const char *path)
{
    const char *name;
    uint64_t folder = folder_of(at, path, &name);
    write_change((struct change){.what = 'U', .folder = folder}, name, NULL, NULL);
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

void *malloc(size_t size)
{
    return fails(K_malloc) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return fails(K_calloc) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return fails(K_realloc) ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, bytes);
}

void *memalign(size_t alignment, size_t size)
{
    return fails(K_memalign) ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **p, size_t alignment, size_t size)
{
    void *new = memalign(alignment, size);
    if (!new)
        return ENOMEM;
    *p = new;
    return 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

static mode_t mode_of(int flags, va_list args)
{
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(args, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    NEXT(open, int, (const char *, int, mode_t));
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    if (fails(K_open))
        return -1;
    int fd = next(path, flags, mode);
    log_open(fd, AT_FDCWD, path, flags);
    return fd;
}

int openat(int at, const char *path, int flags, ...)
{
    NEXT(openat, int, (int, const char *, int, mode_t));
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    if (fails(K_openat))
        return -1;
    int fd = next(at, path, flags, mode);
    log_open(fd, at, path, flags);
    return fd;
}

int mkostemp(char *pattern, int flags)
{
    NEXT(mkostemp, int, (char *, int));
    if (fails(K_open))
        return -1;
    int fd = next(pattern, flags);
    log_open(fd, AT_FDCWD, pattern, O_CREAT);
    return fd;
}

int mkstemp(char *pattern)
{
    return mkostemp(pattern, 0);
}

FILE *fopen(const char *path, const char *mode)
{
    NEXT(fopen, FILE *, (const char *, const char *));
    if (fails(K_fopen))
        return NULL;
    FILE *f = next(path, mode);
    if (f)
        log_open(fileno(f), AT_FDCWD, path, *mode == 'r' ? 0 : O_CREAT);
    return f;
}

CALL(fopen, FILE *, fdopen, (int fd, const char *mode), (fd, mode), NULL)
CALL(memstream, FILE *, open_memstream, (char **text, size_t *size), (text, size), NULL)
CALL(opendir, DIR *, opendir, (const char *path), (path), NULL)
CALL(opendir, DIR *, fdopendir, (int fd), (fd), NULL)
CALL(readdir, struct dirent *, readdir, (DIR * dir), (dir), NULL)

/* ---- reading and writing --------------------------------------------------------------------- */

static bool is_write(enum kind kind)
{
    return kind == K_write || kind == K_writev;
}

static enum action action_of_transfer(int fd, enum kind kind)
{
    if (fd == STDERR_FILENO)
        return NOTHING;
    return action_of(is_write(kind) && is_pipe(fd) ? K_send : kind);
}

/* A single transfer of `size` bytes; of a short one half arrives. */
#define TRANSFER(kind, name, params, args, after)                                                  \
    ssize_t name params                                                                            \
    {                                                                                              \
        NEXT(name, ssize_t, params);                                                               \
        enum action a = action_of_transfer(fd, K_##kind);                                          \
        if (a == FAIL)                                                                             \
            return -1;                                                                             \
        if (a == SHORT && size > 1)                                                                \
            size /= 2;                                                                             \
        ssize_t done = next args;                                                                  \
        after;                                                                                     \
        return done;                                                                               \
    }

static void log_write(int fd, ssize_t done)
{
    if (logs() && done > 0)
        log_content(fd);
}

TRANSFER(read, read, (int fd, void *to, size_t size), (fd, to, size), )
TRANSFER(pread, pread, (int fd, void *to, size_t size, off_t at), (fd, to, size, at), )
TRANSFER(write, write, (int fd, const void *from, size_t size), (fd, from, size),
         log_write(fd, done))
TRANSFER(pwrite, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at),
         log_write(fd, done))

/* The first part that is not empty, half of it where it has more than a byte. */
static struct iovec shortened(const struct iovec *parts, int n)
{
    int i = 0;
    while (i < n - 1 && parts[i].iov_len == 0)
        i++;
    struct iovec part = parts[i];
    if (part.iov_len > 1)
        part.iov_len /= 2;
    return part;
}

#define TRANSFER_PARTS(name, after)                                                                \
    ssize_t name(int fd, const struct iovec *parts, int n)                                         \
    {                                                                                              \
        NEXT(name, ssize_t, (int, const struct iovec *, int));                                     \
        enum action a = action_of_transfer(fd, K_##name);                                          \
        if (a == FAIL)                                                                             \
            return -1;                                                                             \
        struct iovec part;                                                                         \
        if (a == SHORT && n > 0) {                                                                 \
            part = shortened(parts, n);                                                            \
            parts = &part;                                                                         \
            n = 1;                                                                                 \
        }                                                                                          \
        ssize_t done = next(fd, parts, n);                                                         \
        after;                                                                                     \
        return done;                                                                               \
    }

TRANSFER_PARTS(readv, )
TRANSFER_PARTS(writev, log_write(fd, done))

/* ---- FILE ------------------------------------------------------------------------------------ */

#define ERROR_FLAG 0x20 /* _IO_ERR_SEEN */

/* What a failed write leaves: the error flag is set and what was in the buffer is lost. A stream in
 * memory fails when memory does. */
static bool file_fails(FILE *f, enum kind kind)
{
    int fd = fileno_unlocked(f);
    if (fd < 0 || fd == STDERR_FILENO || !fails(kind))
        return false;
    int why = errno;
    __fpurge(f);
    f->_flags |= ERROR_FLAG;
    errno = why;
    return true;
}

size_t fwrite(const void *from, size_t size, size_t n, FILE *f)
{
    NEXT(fwrite, size_t, (const void *, size_t, size_t, FILE *));
    return file_fails(f, K_put) ? 0 : next(from, size, n, f);
}

#define PUT(name, params, args, f)                                                                 \
    int name params                                                                                \
    {                                                                                              \
        NEXT(name, int, params);                                                                   \
        return file_fails(f, K_put) ? EOF : next args;                                             \
    }

PUT(fputs, (const char *text, FILE *f), (text, f), f)
PUT(fputc, (int c, FILE *f), (c, f), f)
PUT(putc, (int c, FILE *f), (c, f), f)
PUT(puts, (const char *text), (text), stdout)
PUT(putchar, (int c), (c), stdout)
PUT(vfprintf, (FILE * f, const char *format, va_list args), (f, format, args), f)

int fprintf(FILE *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vfprintf(f, format, args);
    va_end(args);
    return n;
}

int printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vfprintf(stdout, format, args);
    va_end(args);
    return n;
}

size_t fread(void *to, size_t size, size_t n, FILE *f)
{
    NEXT(fread, size_t, (void *, size_t, size_t, FILE *));
    return file_fails(f, K_get) ? 0 : next(to, size, n, f);
}

#define GET(name, type, params, args, result)                                                      \
    type name params                                                                               \
    {                                                                                              \
        NEXT(name, type, params);                                                                  \
        return file_fails(f, K_get) ? (result) : next args;                                        \
    }

GET(fgetc, int, (FILE * f), (f), EOF)
GET(getc, int, (FILE * f), (f), EOF)
GET(__uflow, int, (FILE * f), (f), EOF)
GET(fgets, char *, (char *text, int n, FILE *f), (text, n, f), NULL)
GET(getline, ssize_t, (char **line, size_t *size, FILE *f), (line, size, f), -1)

/* Only what is pending can fail; of all streams it is standard output that may hold something. */
int fflush(FILE *f)
{
    NEXT(fflush, int, (FILE *));
    FILE *which = f ? f : stdout;
    if (__fpending(which) > 0 && file_fails(which, K_fflush))
        return EOF;
    int result = next(f);
    if (logs() && f)
        log_content(fileno_unlocked(f));
    return result;
}

int fclose(FILE *f)
{
    NEXT(fclose, int, (FILE *));
    bool failed = file_fails(f, K_fclose);
    int why = errno, fd = logs() ? dup(fileno_unlocked(f)) : -1, result = next(f);
    if (fd >= 0) {
        log_content(fd);
        syscall(SYS_close, fd);
    }
    if (!failed)
        return result;
    errno = why;
    return EOF;
}

/* ---- files and folders ----------------------------------------------------------------------- */

#define SYNC(name)                                                                                 \
    int name(int fd)                                                                               \
    {                                                                                              \
        NEXT(name, int, (int));                                                                    \
        int result = fails(K_fsync) ? -1 : next(fd);                                               \
        if (logs() && result == 0)                                                                 \
            log_file('S', fd);                                                                     \
        return result;                                                                             \
    }

SYNC(fsync)
SYNC(fdatasync)
CALL(syncrange, int, sync_file_range, (int fd, off_t at, off_t n, unsigned flags),
     (fd, at, n, flags), -1)

/* A change of a file that `fd` is open for, or of an entry. */
#define CHANGES(kind, name, params, args, note)                                                    \
    int name params                                                                                \
    {                                                                                              \
        NEXT(name, int, params);                                                                   \
        int result = fails(K_##kind) ? -1 : next args;                                             \
        if (logs() && result == 0)                                                                 \
            note;                                                                                  \
        return result;                                                                             \
    }

CHANGES(ftruncate, ftruncate, (int fd, off_t size), (fd, size), log_content(fd))
CHANGES(fallocate, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n),
        log_content(fd))
CHANGES(rename, rename, (const char *from, const char *to), (from, to),
        log_rename(AT_FDCWD, from, AT_FDCWD, to, 0))
CHANGES(rename, renameat, (int at, const char *from, int at2, const char *to), (at, from, at2, to),
        log_rename(at, from, at2, to, 0))
CHANGES(rename, renameat2, (int at, const char *from, int at2, const char *to, unsigned flags),
        (at, from, at2, to, flags), log_rename(at, from, at2, to, flags))
CHANGES(unlink, unlink, (const char *path), (path), log_unlink(AT_FDCWD, path))
CHANGES(unlink, unlinkat, (int at, const char *path, int flags), (at, path, flags),
        log_unlink(at, path))
CHANGES(unlink, rmdir, (const char *path), (path), log_unlink(AT_FDCWD, path))
CHANGES(mkdir, mkdir, (const char *path, mode_t mode), (path, mode), log_entry('D', AT_FDCWD, path))
CHANGES(mkdir, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode),
        log_entry('D', at, path))
CHANGES(link, link, (const char *from, const char *to), (from, to), log_entry('L', AT_FDCWD, to))
CHANGES(link, linkat, (int at, const char *from, int at2, const char *to, int flags),
        (at, from, at2, to, flags), log_entry('L', at2, to))
CHANGES(link, symlinkat, (const char *from, int at, const char *to), (from, at, to),
        log_entry('L', at, to))

char *mkdtemp(char *pattern)
{
    NEXT(mkdtemp, char *, (char *));
    char *made = fails(K_mkdir) ? NULL : next(pattern);
    if (logs() && made)
        log_entry('D', AT_FDCWD, pattern);
    return made;
}

CALL(stat, int, stat, (const char *path, struct stat *st), (path, st), -1)
CALL(stat, int, lstat, (const char *path, struct stat *st), (path, st), -1)
CALL(stat, int, fstat, (int fd, struct stat *st), (fd, st), -1)
CALL(stat, int, fstatat, (int at, const char *path, struct stat *st, int flags),
     (at, path, st, flags), -1)
CALL(stat, int, access, (const char *path, int mode), (path, mode), -1)
CALL(stat, int, faccessat, (int at, const char *path, int mode, int flags), (at, path, mode, flags),
     -1)
CALL(readlink, ssize_t, readlink, (const char *path, char *to, size_t n), (path, to, n), -1)
CALL(readlink, ssize_t, readlinkat, (int at, const char *path, char *to, size_t n),
     (at, path, to, n), -1)
CALL(readlink, char *, realpath, (const char *path, char *to), (path, to), NULL)
CALL(statvfs, int, statvfs, (const char *path, struct statvfs *st), (path, st), -1)
CALL(statvfs, int, fstatvfs, (int fd, struct statvfs *st), (fd, st), -1)
CALL(lseek, off_t, lseek, (int fd, off_t at, int from), (fd, at, from), -1)
CALL(flock, int, flock, (int fd, int how), (fd, how), -1)
CALL(mmap, void *, mmap, (void *at, size_t size, int access, int flags, int fd, off_t from),
     (at, size, access, flags, fd, from), MAP_FAILED)

/* The kernel closes the descriptor, whatever it says then. */
int close(int fd)
{
    NEXT(close, int, (int));
    if (is_pipe(fd) || !fails(K_close))
        return next(fd);
    int why = errno;
    next(fd);
    errno = why;
    return -1;
}

/* ---- processes ------------------------------------------------------------------------------- */

CALL(pipe, int, pipe, (int ends[2]), (ends), -1)
CALL(pipe, int, pipe2, (int ends[2], int flags), (ends, flags), -1)
CALL(dup, int, dup, (int fd), (fd), -1)
CALL(dup, int, dup2, (int from, int to), (from, to), -1)
CALL(dup, int, dup3, (int from, int to, int flags), (from, to, flags), -1)
CALL(poll, int, poll, (struct pollfd * fds, nfds_t n, int timeout), (fds, n, timeout), -1)
CALL(eventfd, int, eventfd, (unsigned n, int flags), (n, flags), -1)
CALL(rlimit, int, getrlimit, (__rlimit_resource_t what, struct rlimit *limit), (what, limit), -1)
CALL(rlimit, int, setrlimit, (__rlimit_resource_t what, const struct rlimit *limit), (what, limit),
     -1)

int fcntl(int fd, int command, ...)
{
    NEXT(fcntl, int, (int, int, void *));
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    return fails(K_fcntl) ? -1 : next(fd, command, argument);
}

/* So that dlerror has something to say. */
void *dlopen(const char *file, int flags)
{
    NEXT(dlopen, void *, (const char *, int));
    return next(fails(K_dlopen) ? "/nowhere/library.so" : file, flags);
}

CALL(getrandom, ssize_t, getrandom, (void *to, size_t n, unsigned flags), (to, n, flags), -1)

pid_t fork(void)
{
    NEXT(fork, pid_t, (void));
    char name[48];
    if (fails(K_fork))
        return -1;
    if (self)
        snprintf(name, sizeof name, "%.36s.%u", self->name, ++forks);
    pid_t pid = next();
    if (pid == 0 && self) {
        forks = 0;
        take_role(name);
    }
    return pid;
}

static bool is_crash(int number)
{
    return number == SIGSEGV || number == SIGABRT || number == SIGBUS || number == SIGFPE ||
           number == SIGILL;
}

/* A child's crash may be hidden in its parent's exit status. */
pid_t waitpid(pid_t pid, int *status, int options)
{
    NEXT(waitpid, pid_t, (pid_t, int *, int));
    if (fails(K_waitpid))
        return -1;
    pid_t child = next(pid, status, options);
    if (shared && child > 0 && status && WIFSIGNALED(*status) && is_crash(WTERMSIG(*status)))
        shared->crashed = (uint32_t)WTERMSIG(*status);
    return child;
}

/* What is started is called by its own name. */
#define EXEC(name)                                                                                 \
    int name(const char *path, char *const *args)                                                  \
    {                                                                                              \
        NEXT(name, int, (const char *, char *const *));                                            \
        if (fails(K_exec))                                                                         \
            return -1;                                                                             \
        unsetenv("INJECT_ROLE");                                                                   \
        return next(path, args);                                                                   \
    }

EXEC(execv)
EXEC(execvp)

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*f)(void *),
                   void *data)
{
    NEXT(pthread_create, int, (pthread_t *, const pthread_attr_t *, void *(*)(void *), void *));
    return fails(K_thread) ? fault.number : next(thread, attributes, f, data);
}
