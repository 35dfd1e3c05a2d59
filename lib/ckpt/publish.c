#include "publish.h"

#include "mem.h"
#include "pattern.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define HEADER_MAX    100000000           /* bytes of a safetensors header that readers take */
#define SLACK         ((uint64_t)1 << 20) /* for headers, folders and the file system's own needs */
#define ARCHIVE_BLOCK (1 << 18)           /* bytes of one write of an archive */
#define WRITE_BEHIND  ((uint64_t)32 << 20) /* bytes after which writing to the disk is begun */

/* One safetensors file. */
struct shard {
    const char *name;    /* of the file in its folder */
    unsigned char *head; /* eight bytes of length and the JSON header */
    size_t head_size;
    uint64_t size, written; /* bytes of data */
    int fd;                 /* -1 until the first write and after the last */
};

/* One tensor. */
struct place {
    const char *name;
    enum dtype dtype;
    size_t rank;
    const uint64_t *shape;
    uint64_t size;
    size_t shard;
    uint64_t offset; /* in its shard's data */
    uint64_t start;  /* in the data of all shards, one after another */
};

/* A file that was or will be made, for whoever cleans up: it may be a signal handler. */
struct name {
    struct name *next;
    const char *text;
};

/* What an archive has to wait with, because what comes before it is not there yet. */
struct waiting {
    struct waiting *next;
    uint64_t at;
    size_t size;
    unsigned char bytes[];
};

struct publish {
    enum publish_form form;
    bool force, to_stdout;
    char *target;       /* as sentences call it */
    const char *base;   /* its last part */
    char *temporary;    /* the name beside it */
    int parent, folder; /* where these two lie; where the files are made */
    struct name *_Atomic names;
    struct arena arena;

    size_t n;
    struct place *places;
    size_t n_shards;
    struct shard *shards;
    size_t n_metadata;
    const char *(*metadata)[2];
    pthread_mutex_t lock;

    struct archive *archive;
    int fd;         /* of the archive */
    size_t current; /* the shard at hand */
    bool begun;     /* its entry has been started */
    uint64_t at;    /* bytes of data so far */
    struct waiting *waiting;
};

static bool is_archive(const struct publish *p)
{
    return p->form == PUBLISH_TAR || p->form == PUBLISH_TAR_ZST;
}

/* ---- cleaning up ---------------------------------------------------------------------------- */

/* Removes what was made. Nothing here but system calls that a signal handler may make. */
static void remove_temporary(struct publish *p)
{
    for (struct name *name = p->names; name; name = name->next)
        unlinkat(p->folder, name->text, 0);
    if (p->form == PUBLISH_FOLDER && p->temporary)
        unlinkat(p->parent, p->temporary, AT_REMOVEDIR);
}

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
#define N_SIGNALS (sizeof signals / sizeof *signals)
static struct sigaction old_actions[N_SIGNALS];
static struct publish *_Atomic active;
static atomic_bool committing; /* too late to remove: a signal waits */
static volatile sig_atomic_t waiting_signal;

static void on_signal(int signal_number)
{
    if (committing) {
        waiting_signal = signal_number;
        return;
    }
    struct publish *p = active;
    if (p)
        remove_temporary(p);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void catch_signals(struct publish *p)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    active = p;
    for (size_t i = 0; i < N_SIGNALS; i++) {
        sigaction(signals[i], NULL, &old_actions[i]);
        if (old_actions[i].sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
}

static void release_signals(struct publish *p)
{
    if (active != p)
        return;
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &old_actions[i], NULL);
    active = NULL;
    committing = false;
    int waited = waiting_signal;
    waiting_signal = 0;
    if (waited)
        raise(waited);
}

static void publish_free(struct publish *p)
{
    release_signals(p);
    for (size_t i = 0; i < p->n_shards; i++) {
        if (p->shards[i].fd >= 0)
            close(p->shards[i].fd);
        free(p->shards[i].head);
    }
    while (p->waiting) {
        struct waiting *next = p->waiting->next;
        free(p->waiting);
        p->waiting = next;
    }
    if (p->fd >= 0)
        close(p->fd);
    if (p->folder >= 0 && p->folder != p->parent)
        close(p->folder);
    if (p->parent >= 0)
        close(p->parent);
    free(p->target);
    free(p->temporary);
    free(p->shards);
    free(p->places);
    pthread_mutex_destroy(&p->lock);
    arena_free(&p->arena);
    free(p);
}

/* Leaves an archive without its end blocks. libarchive (3.6) can free one in the middle of an entry
 * only by filling the entry up, which takes as long as writing it, or by losing track of its own
 * memory: so it is kept until the program ends. */
static void abandon(struct archive *archive)
{
    static struct abandoned {
        struct abandoned *next;
        struct archive *archive;
    } * all;
    struct abandoned *one = mem_alloc(1, sizeof *one);
    *one = (struct abandoned){all, archive};
    all = one;
}

void publish_abort(struct publish *p)
{
    if (!p)
        return;
    if (p->archive)
        abandon(p->archive);
    remove_temporary(p);
    publish_free(p);
}

/* ---- opening -------------------------------------------------------------------------------- */

enum publish_form publish_form_of(const char *target)
{
    if (strcmp(target, "-") == 0 || pattern_ends(target, ".tar"))
        return PUBLISH_TAR;
    if (pattern_ends(target, ".tar.zst"))
        return PUBLISH_TAR_ZST;
    return pattern_ends(target, ".safetensors") ? PUBLISH_SAFETENSORS : PUBLISH_FOLDER;
}

/* Endings that promise a file which is not written: no folder is called so by intent. */
static int check_ending(const char *target, struct error *e)
{
    static const char *const others[] = {".zip", ".gz", ".tgz", ".xz",  ".zst",
                                         ".bin", ".pt", ".pth", ".gguf"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (pattern_ends(target, others[i]) && publish_form_of(target) == PUBLISH_FOLDER)
            return error_set(e,
                             "\"%s\": no %s is written, but a folder, .safetensors, .tar or "
                             ".tar.zst",
                             target, others[i]);
    return 0;
}

static int write_error(const struct publish *p, const char *name, struct error *e)
{
    const char *why = strerror(errno);
    if (p->form == PUBLISH_FOLDER && name)
        return error_set(e, "cannot write %s/%s: %s", p->target, name, why);
    return error_set(e, "cannot write %s: %s", p->target, why);
}

/* Splits the target into the folder in which it lies and its name there. */
static int open_parent(struct publish *p, struct error *e)
{
    size_t n = strlen(p->target);
    while (n > 1 && p->target[n - 1] == '/')
        p->target[--n] = '\0';
    char *slash = strrchr(p->target, '/');
    p->base = slash ? slash + 1 : p->target;
    if (!*p->base || strcmp(p->base, ".") == 0 || strcmp(p->base, "..") == 0)
        return error_set(e, "\"%s\" is no name for a new checkpoint", p->target);
    const char *parent = ".";
    if (slash)
        parent =
            arena_text(&p->arena, p->target, slash == p->target ? 1 : (size_t)(slash - p->target));
    p->parent = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return p->parent < 0 ? error_set(e, "cannot open folder %s: %s", parent, strerror(errno)) : 0;
}

static bool target_exists(const struct publish *p)
{
    struct stat st;
    return fstatat(p->parent, p->base, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* What --force may replace: a file, an empty folder, or one that looks like a checkpoint. */
static bool may_be_replaced(const struct publish *p)
{
    int fd = openat(p->parent, p->base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return errno == ENOTDIR || errno == ELOOP;
    bool empty = true, checkpoint = false;
    for (struct dirent *d; (d = readdir(dir));) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        empty = false;
        checkpoint |= strcmp(d->d_name, "config.json") == 0 ||
                      pattern_ends(d->d_name, ".safetensors") || pattern_ends(d->d_name, ".bin");
    }
    closedir(dir);
    return empty || checkpoint;
}

static int check_target(const struct publish *p, struct error *e)
{
    if (!target_exists(p))
        return 0;
    if (!p->force)
        return error_set(e, "%s exists already (--force replaces it)", p->target);
    return may_be_replaced(p) ? 0
                              : error_set(e,
                                          "%s is a folder that does not look like a "
                                          "checkpoint; remove it first",
                                          p->target);
}

static int check_space(const struct publish *p, uint64_t need, struct error *e)
{
    struct statvfs st;
    if (fstatvfs(p->parent, &st) || st.f_blocks == 0) /* a file system that does not say */
        return 0;
    uint64_t room = (uint64_t)st.f_bavail * st.f_frsize;
    uint64_t all = need < UINT64_MAX - SLACK ? need + SLACK : UINT64_MAX;
    if (all <= room)
        return 0;
    return error_set(e, "%s needs %.1f MB, but only %.1f MB are free there", p->target,
                     (double)all / 1e6, (double)room / 1e6);
}

/* Another name beside the target that nobody has. The modes are left to the umask. */
static char *name_beside(const struct publish *p, const char *what)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char random[6];
    char *name;
    char suffix[7] = "";
    if (getrandom(random, sizeof random, 0) != sizeof random)
        memset(random, getpid() & 0xff, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        suffix[i] = letters[random[i] % (sizeof letters - 1)];
    if (asprintf(&name, ".%.200s.%s-%s", p->base, what, suffix) < 0)
        abort();
    return name;
}

static void remember(struct publish *p, const char *text)
{
    struct name *name = arena_alloc(&p->arena, 1, sizeof *name);
    name->text = text;
    name->next = p->names;
    p->names = name;
}

static int make_folder(struct publish *p, struct error *e)
{
    for (int tries = 0; tries < 100; tries++) {
        free(p->temporary);
        p->temporary = name_beside(p, "partial");
        if (mkdirat(p->parent, p->temporary, 0777) == 0) {
            p->folder = openat(p->parent, p->temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            break;
        }
        if (errno != EEXIST)
            break;
    }
    return p->folder < 0
               ? error_set(e, "cannot make a folder beside %s: %s", p->target, strerror(errno))
               : 0;
}

/* One file beside the target, which an archive keeps open. */
static int make_file(struct publish *p, struct error *e)
{
    int fd = -1;
    p->folder = p->parent;
    for (int tries = 0; fd < 0 && tries < 100; tries++) {
        free(p->temporary);
        p->temporary = name_beside(p, "partial");
        fd = openat(p->parent, p->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd < 0)
        return error_set(e, "cannot make a file beside %s: %s", p->target, strerror(errno));
    remember(p, arena_text(&p->arena, p->temporary, strlen(p->temporary)));
    if (is_archive(p))
        p->fd = fd;
    else
        close(fd);
    return 0;
}

static la_ssize_t write_archive(struct archive *a, void *data, const void *bytes, size_t size)
{
    const struct publish *p = data;
    const char *from = bytes;
    for (size_t done = 0; done < size;) {
        ssize_t n = write(p->fd, from + done, size - done);
        if (n < 0 && errno != EINTR) {
            archive_set_error(a, errno, "%s", strerror(errno));
            return -1;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return (la_ssize_t)size;
}

static int archive_failed(const struct publish *p, struct error *e)
{
    const char *why = archive_error_string(p->archive);
    return error_set(e, "cannot write %s: %s", p->to_stdout ? "standard output" : p->target,
                     why ? why : "unknown error");
}

static int open_archive(struct publish *p, struct error *e)
{
    p->archive = archive_write_new();
    if (!p->archive)
        return error_set(e, "cannot write %s: out of memory", p->target);
    if (archive_write_set_format_pax_restricted(p->archive) != ARCHIVE_OK ||
        (p->form == PUBLISH_TAR_ZST && archive_write_add_filter_zstd(p->archive) != ARCHIVE_OK) ||
        archive_write_set_bytes_per_block(p->archive, ARCHIVE_BLOCK) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(p->archive, 1) != ARCHIVE_OK ||
        archive_write_open(p->archive, p, NULL, write_archive, NULL) != ARCHIVE_OK)
        return archive_failed(p, e);
    return 0;
}

static int open_stdout(struct publish *p, struct error *e)
{
    if (isatty(STDOUT_FILENO))
        return error_set(e, "standard output is a terminal; an archive goes into a pipe or a file");
    p->to_stdout = true;
    p->fd = STDOUT_FILENO;
    return open_archive(p, e);
}

static int open_target(struct publish *p, uint64_t need, struct error *e)
{
    if (open_parent(p, e) || check_target(p, e))
        return -1;
    /* How far an archive can be compressed is not known: it finds out. */
    if (p->form != PUBLISH_TAR_ZST && check_space(p, need, e))
        return -1;
    catch_signals(p);
    if (p->form == PUBLISH_FOLDER)
        return make_folder(p, e);
    if (make_file(p, e))
        return -1;
    return is_archive(p) ? open_archive(p, e) : 0;
}

struct publish *publish_open(const char *target, bool force, uint64_t need, struct error *e)
{
    struct publish *p = mem_alloc(1, sizeof *p);
    p->form = publish_form_of(target);
    p->force = force;
    p->target = mem_text(target);
    p->parent = p->folder = p->fd = -1;
    pthread_mutex_init(&p->lock, NULL);
    int failed = check_ending(target, e);
    if (!failed)
        failed = strcmp(target, "-") == 0 ? open_stdout(p, e) : open_target(p, need, e);
    if (!failed)
        return p;
    publish_abort(p);
    return NULL;
}

/* ---- shards --------------------------------------------------------------------------------- */

/* Cuts the tensors, in their order, into shards. Returns how many there are. */
static size_t cut(struct publish *p, uint64_t shard_size)
{
    size_t shard = 0;
    uint64_t used = 0, start = 0;
    for (size_t i = 0; i < p->n; i++) {
        struct place *t = &p->places[i];
        bool full = used > 0 && (t->size > shard_size || used > shard_size - t->size);
        /* In an archive the data stand as they come; each must be aligned for its dtype. */
        size_t element = dtype_bits(t->dtype) / 8;
        bool crooked = is_archive(p) && element > 1 && used % element != 0;
        if ((full && p->form != PUBLISH_SAFETENSORS) || crooked) {
            shard++;
            used = 0;
        }
        t->shard = shard;
        t->offset = used;
        t->start = start;
        used += t->size;
        start += t->size;
    }
    return shard + 1;
}

static int by_alignment(const void *a, const void *b)
{
    const struct place *s = *(const struct place *const *)a, *t = *(const struct place *const *)b;
    size_t m = dtype_bits(s->dtype), n = dtype_bits(t->dtype);
    if (s->shard != t->shard)
        return s->shard < t->shard ? -1 : 1;
    if (m != n)
        return m > n ? -1 : 1;
    return s < t ? -1 : s > t;
}

/* The tensors by shard, and in each in the order of their data: the widest dtype first, so that
 * all are aligned. */
static struct place **arrange(struct publish *p)
{
    struct place **order = mem_alloc(p->n, sizeof *order);
    uint64_t used = 0;
    for (size_t i = 0; i < p->n; i++)
        order[i] = &p->places[i];
    if (is_archive(p))
        return order;
    qsort(order, p->n, sizeof *order, by_alignment);
    for (size_t i = 0; i < p->n; i++) {
        if (i > 0 && order[i]->shard != order[i - 1]->shard)
            used = 0;
        order[i]->offset = used;
        used += order[i]->size;
    }
    return order;
}

static const char *shard_name(struct publish *p, size_t i)
{
    if (p->form == PUBLISH_SAFETENSORS)
        return p->names->text;
    if (p->n_shards == 1)
        return "model.safetensors";
    return arena_printf(&p->arena, "model-%05zu-of-%05zu.safetensors", i + 1, p->n_shards);
}

static json_t *tensor_json(const struct place *t)
{
    json_t *shape = json_array();
    for (size_t d = 0; d < t->rank; d++)
        json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(t->dtype), "shape", shape,
                     "data_offsets", (json_int_t)t->offset, (json_int_t)(t->offset + t->size));
}

/* The header of one shard as JSON, given its tensors in the order of their data. */
static json_t *shard_json(const struct publish *p, struct place *const *tensors, size_t n,
                          struct error *e)
{
    json_t *header = json_object(), *metadata = json_object();
    json_object_set_new(metadata, "format", json_string("pt"));
    json_object_set_new(header, "__metadata__", metadata);
    for (size_t i = 0; i < p->n_metadata; i++)
        if (json_object_set_new(metadata, p->metadata[i][0], json_string(p->metadata[i][1]))) {
            error_set(e, "metadata %s is not UTF-8", p->metadata[i][0]);
            json_decref(header);
            return NULL;
        }
    for (size_t i = 0; i < n; i++) {
        const char *name = tensors[i]->name;
        bool twice = json_object_get(header, name) != NULL;
        if (twice || json_object_set_new(header, name, tensor_json(tensors[i]))) {
            error_set(e, twice ? "two tensors are called %s" : "tensor name %s is not UTF-8", name);
            json_decref(header);
            return NULL;
        }
    }
    return header;
}

/* Eight bytes of length (little-endian), then JSON, with spaces to a multiple of eight. */
static int encode_header(const struct publish *p, struct shard *s, struct place *const *tensors,
                         size_t n, struct error *e)
{
    json_t *json = shard_json(p, tensors, n, e);
    if (!json)
        return -1;
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    size_t length = text ? strlen(text) : 0, padded = (length + 7) / 8 * 8;
    if (!text || padded > HEADER_MAX) {
        free(text);
        return error_set(e, "the header of %s would be too long for readers; cut smaller shards",
                         p->target);
    }
    free(s->head);
    s->head_size = 8 + padded;
    s->head = mem_alloc(s->head_size, 1);
    for (size_t i = 0; i < 8; i++)
        s->head[i] = (unsigned char)((uint64_t)padded >> 8 * i);
    memset(s->head + 8, ' ', padded);
    memcpy(s->head + 8, text, length);
    free(text);
    return 0;
}

static int encode_headers(struct publish *p, struct place *const *order, struct error *e)
{
    for (size_t i = 0, first = 0; i < p->n_shards; i++) {
        size_t n = 0;
        while (first + n < p->n && order[first + n]->shard == i)
            n++;
        if (encode_header(p, &p->shards[i], order + first, n, e))
            return -1;
        first += n;
    }
    return 0;
}

/* ---- files ---------------------------------------------------------------------------------- */

static int write_at(const struct publish *p, int fd, const char *name, uint64_t offset,
                    const void *bytes, size_t size, struct error *e)
{
    const char *from = bytes;
    while (size > 0) {
        ssize_t n = pwrite(fd, from, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return write_error(p, name, e);
        from += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

/* A new file of `room` bytes in the folder, with these at its start. */
static int create(struct publish *p, const char *name, const void *bytes, size_t size,
                  uint64_t room, struct error *e)
{
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC;
    if (p->form == PUBLISH_FOLDER) {
        remember(p, name);
        flags |= O_EXCL;
    }
    int fd = openat(p->folder, name, flags, 0666);
    if (fd < 0)
        return write_error(p, name, e);
    int failed = 0;
    if (room > size && fallocate(fd, 0, 0, (off_t)room)) {
        bool full = errno == ENOSPC || errno == EFBIG || errno == EDQUOT;
        if (full || ftruncate(fd, (off_t)room))
            failed = write_error(p, name, e);
    }
    failed = failed || write_at(p, fd, name, 0, bytes, size, e);
    if (close(fd) && !failed)
        failed = write_error(p, name, e);
    return failed ? -1 : 0;
}

static int archive_begin(struct publish *p, const char *name, uint64_t size, struct error *e)
{
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)size);
    archive_entry_set_mtime(entry, 0, 0);
    int failed = archive_write_header(p->archive, entry) != ARCHIVE_OK;
    archive_entry_free(entry);
    return failed ? archive_failed(p, e) : 0;
}

static int archive_put(struct publish *p, const void *bytes, size_t size, struct error *e)
{
    const char *from = bytes;
    while (size > 0) {
        la_ssize_t n = archive_write_data(p->archive, from, size);
        if (n <= 0)
            return archive_failed(p, e);
        from += n;
        size -= (size_t)n;
    }
    return 0;
}

static int archive_end(struct publish *p, struct error *e)
{
    return archive_write_finish_entry(p->archive) == ARCHIVE_OK ? 0 : archive_failed(p, e);
}

int publish_file(struct publish *p, const char *name, const void *bytes, size_t size,
                 struct error *e)
{
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error_set(e, "\"%s\" is no name of a file in a checkpoint", name);
    if (p->form == PUBLISH_SAFETENSORS)
        return 0;
    if (is_archive(p))
        return archive_begin(p, name, size, e) || archive_put(p, bytes, size, e) ||
                       archive_end(p, e)
                   ? -1
                   : 0;
    return create(p, arena_text(&p->arena, name, strlen(name)), bytes, size, size, e);
}

static int write_index(struct publish *p, struct error *e)
{
    json_t *map = json_object();
    uint64_t total = 0;
    for (size_t i = 0; i < p->n; i++) {
        json_object_set_new(map, p->places[i].name,
                            json_string(p->shards[p->places[i].shard].name));
        total += p->places[i].size;
    }
    json_t *index =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = json_dumps(index, JSON_INDENT(2));
    json_decref(index);
    int failed = publish_file(p, "model.safetensors.index.json", text, strlen(text), e);
    free(text);
    return failed;
}

int publish_tensors(struct publish *p, size_t n, const char *const *names, const enum dtype *dtypes,
                    const size_t *ranks, const uint64_t *const *shapes, uint64_t shard_size,
                    size_t n_metadata, const char *const (*metadata)[2], struct error *e)
{
    struct arena *a = &p->arena;
    p->n = n;
    p->places = mem_alloc(n, sizeof *p->places);
    for (size_t i = 0; i < n; i++) {
        uint64_t elements = 1;
        for (size_t d = 0; d < ranks[i]; d++)
            elements *= shapes[i][d];
        p->places[i] = (struct place){
            .name = arena_text(a, names[i], strlen(names[i])),
            .dtype = dtypes[i],
            .rank = ranks[i],
            .shape = arena_copy(a, shapes[i], ranks[i] * sizeof *shapes[i]),
            .size = dtype_bits(dtypes[i]) % 8 ? elements * dtype_bits(dtypes[i]) / 8
                                              : elements * (dtype_bits(dtypes[i]) / 8)};
    }
    p->n_metadata = n_metadata;
    p->metadata = arena_alloc(a, n_metadata, sizeof *p->metadata);
    for (size_t i = 0; i < n_metadata; i++)
        for (size_t j = 0; j < 2; j++)
            p->metadata[i][j] = arena_text(a, metadata[i][j], strlen(metadata[i][j]));
    p->n_shards = cut(p, shard_size);
    p->shards = mem_alloc(p->n_shards, sizeof *p->shards);
    for (size_t i = 0; i < p->n_shards; i++)
        p->shards[i] = (struct shard){.name = shard_name(p, i), .fd = -1};
    for (size_t i = 0; i < n; i++)
        p->shards[p->places[i].shard].size += p->places[i].size;
    struct place **order = arrange(p);
    int failed = encode_headers(p, order, e);
    free(order);
    for (size_t i = 0; !failed && !is_archive(p) && i < p->n_shards; i++) {
        struct shard *s = &p->shards[i];
        failed = create(p, s->name, s->head, s->head_size, s->head_size + s->size, e);
    }
    return failed || (p->n_shards > 1 && write_index(p, e)) ? -1 : 0;
}

int publish_metadata(struct publish *p, const char *key, const char *value, struct error *e)
{
    if (is_archive(p)) /* the headers have gone */
        return 0;
    for (size_t i = 0; i < p->n_metadata; i++)
        if (strcmp(p->metadata[i][0], key) == 0)
            p->metadata[i][1] = arena_text(&p->arena, value, strlen(value));
    size_t *sizes = mem_alloc(p->n_shards, sizeof *sizes);
    for (size_t i = 0; i < p->n_shards; i++)
        sizes[i] = p->shards[i].head_size;
    struct place **order = arrange(p);
    int failed = encode_headers(p, order, e);
    free(order);
    for (size_t i = 0; !failed && i < p->n_shards; i++) {
        struct shard *s = &p->shards[i];
        if (s->head_size != sizes[i]) {
            failed = error_set(e, "metadata %s has another length than was announced", key);
            break;
        }
        int fd = openat(p->folder, s->name, O_WRONLY | O_CLOEXEC);
        failed = fd < 0 ? write_error(p, s->name, e)
                        : write_at(p, fd, s->name, 0, s->head, s->head_size, e);
        if (fd >= 0 && close(fd) && !failed)
            failed = write_error(p, s->name, e);
    }
    free(sizes);
    return failed;
}

/* ---- data ----------------------------------------------------------------------------------- */

/* The shard's descriptor: open from its first byte to its last. */
static int shard_fd(struct publish *p, struct shard *s, struct error *e)
{
    pthread_mutex_lock(&p->lock);
    if (s->fd < 0)
        s->fd = openat(p->folder, s->name, O_WRONLY | O_CLOEXEC);
    int fd = s->fd;
    if (fd < 0)
        write_error(p, s->name, e);
    pthread_mutex_unlock(&p->lock);
    return fd;
}

static int shard_written(struct publish *p, struct shard *s, size_t size, struct error *e)
{
    int failed = 0;
    pthread_mutex_lock(&p->lock);
    s->written += size;
    /* On its way to the disk while the rest is computed: the fsync at the end finds little to do.
     */
    if (s->written / WRITE_BEHIND > (s->written - size) / WRITE_BEHIND || s->written == s->size)
        sync_file_range(s->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    if (s->written == s->size) {
        if (close(s->fd))
            failed = write_error(p, s->name, e);
        s->fd = -1;
    }
    pthread_mutex_unlock(&p->lock);
    return failed;
}

/* The next bytes of data of an archive: a shard's entry begins with the first of its bytes. */
static int archive_data(struct publish *p, const void *bytes, size_t size, struct error *e)
{
    const char *from = bytes;
    while (p->current < p->n_shards) {
        struct shard *s = &p->shards[p->current];
        if (!p->begun && (archive_begin(p, s->name, s->head_size + s->size, e) ||
                          archive_put(p, s->head, s->head_size, e)))
            return -1;
        p->begun = true;
        size_t m = size < s->size - s->written ? size : (size_t)(s->size - s->written);
        if (archive_put(p, from, m, e))
            return -1;
        s->written += m;
        p->at += m;
        from += m;
        size -= m;
        if (s->written < s->size)
            return 0;
        if (archive_end(p, e))
            return -1;
        p->begun = false;
        p->current++;
        if (size == 0)
            return 0;
    }
    return 0;
}

static void archive_wait(struct publish *p, uint64_t at, const void *bytes, size_t size)
{
    struct waiting **link = &p->waiting;
    struct waiting *w = mem_alloc(1, sizeof *w + size);
    while (*link && (*link)->at < at)
        link = &(*link)->next;
    w->at = at;
    w->size = size;
    memcpy(w->bytes, bytes, size);
    w->next = *link;
    *link = w;
}

static int archive_write(struct publish *p, uint64_t at, const void *bytes, size_t size,
                         struct error *e)
{
    pthread_mutex_lock(&p->lock);
    int failed = 0;
    if (at == p->at)
        failed = archive_data(p, bytes, size, e);
    else
        archive_wait(p, at, bytes, size);
    while (!failed && p->waiting && p->waiting->at == p->at) {
        struct waiting *w = p->waiting;
        failed = archive_data(p, w->bytes, w->size, e);
        p->waiting = w->next;
        free(w);
    }
    pthread_mutex_unlock(&p->lock);
    return failed;
}

int publish_write(struct publish *p, size_t i, uint64_t offset, const void *bytes, size_t size,
                  struct error *e)
{
    const struct place *t = &p->places[i];
    if (size == 0)
        return 0;
    if (is_archive(p))
        return archive_write(p, t->start + offset, bytes, size, e);
    struct shard *s = &p->shards[t->shard];
    int fd = shard_fd(p, s, e);
    if (fd < 0 || write_at(p, fd, s->name, s->head_size + t->offset + offset, bytes, size, e))
        return -1;
    return shard_written(p, s, size, e);
}

/* ---- putting in place ----------------------------------------------------------------------- */

static int check_complete(const struct publish *p, struct error *e)
{
    for (size_t i = 0; i < p->n_shards; i++)
        if (p->shards[i].written != p->shards[i].size)
            return error_set(e, "%s is not complete: %llu of %llu bytes came for its part %zu",
                             p->target, (unsigned long long)p->shards[i].written,
                             (unsigned long long)p->shards[i].size, i + 1);
    return 0;
}

static int sync_files(struct publish *p, struct error *e)
{
    for (struct name *name = p->names; name; name = name->next) {
        int fd = openat(p->folder, name->text, O_RDONLY | O_CLOEXEC);
        int failed = fd < 0 || fsync(fd) ? write_error(p, name->text, e) : 0;
        if (fd >= 0)
            close(fd);
        if (failed)
            return -1;
    }
    return fsync(p->folder) ? write_error(p, NULL, e) : 0;
}

/* Empty shards at the end, the end blocks, the descriptor. */
static int finish_archive(struct publish *p, struct error *e)
{
    while (p->current < p->n_shards && p->shards[p->current].written == p->shards[p->current].size)
        if (archive_data(p, "", 0, e))
            return -1;
    if (check_complete(p, e))
        return -1;
    if (archive_write_close(p->archive) != ARCHIVE_OK)
        return archive_failed(p, e);
    archive_write_free(p->archive);
    p->archive = NULL;
    int fd = p->fd;
    p->fd = -1;
    return close(fd) ? write_error(p, NULL, e) : 0;
}

/* Removes a file or a folder with all that is in it. */
static int remove_tree(int parent, const char *name)
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
            failed |= remove_tree(dirfd(dir), d->d_name);
    closedir(dir);
    return failed | unlinkat(parent, name, AT_REMOVEDIR);
}

static bool is_unsupported(int number)
{
    return number == EINVAL || number == ENOSYS || number == EOPNOTSUPP;
}

static int place_new(struct publish *p)
{
    if (renameat2(p->parent, p->temporary, p->parent, p->base, RENAME_NOREPLACE) == 0)
        return 0;
    if (!is_unsupported(errno))
        return -1;
    if (target_exists(p)) {
        errno = EEXIST;
        return -1;
    }
    return renameat(p->parent, p->temporary, p->parent, p->base);
}

/* On success the name of what was there before, to be removed; NULL on failure. */
static char *exchange(struct publish *p)
{
    if (renameat2(p->parent, p->temporary, p->parent, p->base, RENAME_EXCHANGE) == 0)
        return mem_text(p->temporary);
    if (!is_unsupported(errno))
        return NULL;
    char *aside = name_beside(p, "old");
    if (renameat(p->parent, p->base, p->parent, aside) == 0) {
        if (renameat(p->parent, p->temporary, p->parent, p->base) == 0)
            return aside;
        int why = errno;
        renameat(p->parent, aside, p->parent, p->base);
        errno = why;
    }
    free(aside);
    return NULL;
}

/* From here on a signal waits until the old and the new have changed places for good. */
static int put_in_place(struct publish *p, struct error *e)
{
    char *old = NULL;
    committing = true;
    bool replaces = p->force && target_exists(p);
    if (replaces ? !(old = exchange(p)) : place_new(p)) {
        int why = errno;
        committing = false;
        return error_set(e, "cannot put %s in place: %s", p->target, strerror(why));
    }
    p->names = NULL; /* what they named is published */
    free(p->temporary);
    p->temporary = NULL;
    int failed = fsync(p->parent) ? write_error(p, NULL, e) : 0;
    if (old && remove_tree(p->parent, old) && !failed)
        failed = error_set(e,
                           "%s is in place, but the old one could not be removed: it is %s "
                           "beside it now",
                           p->target, old);
    free(old);
    return failed;
}

int publish_commit(struct publish *p, struct error *e)
{
    int failed = is_archive(p) ? finish_archive(p, e) : check_complete(p, e);
    if (!failed && !p->to_stdout)
        failed = sync_files(p, e) || put_in_place(p, e) ? -1 : 0;
    if (failed) {
        publish_abort(p);
        return -1;
    }
    publish_free(p);
    return 0;
}
