#include "saved.h"

#include "reader.h"
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct saved {
    struct reader *reader;
    unsigned char *bytes;
    size_t size;
    size_t **blocks; /* [tensor][block]: where its payload starts in the file */
    uint64_t fingerprint;
};

static int copy_to_file(int from, const char *folder, struct error *e)
{
    static unsigned char bytes[1 << 16];
    int to = spool_file(folder, e);
    ssize_t n = 0;
    while (to >= 0 && (n = read(from, bytes, sizeof bytes)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || write(to, bytes, (size_t)n) != n) {
            error_set(e, "cannot copy a model to a temporary file: %s", strerror(errno));
            close(to);
            return -1;
        }
    }
    if (to >= 0)
        lseek(to, 0, SEEK_SET);
    return to;
}

/* Reads the stream once, through the reader and its checks, noting where the blocks lie. */
static int walk(struct saved *s, struct error *e)
{
    const struct header *h = reader_header(s->reader);
    struct arena a = {0};
    struct tensor t;
    int more;
    void *block = NULL;
    s->blocks = mem_alloc(h->n_tensors, sizeof *s->blocks);
    for (size_t i = 0; (more = reader_next(s->reader, &a, &t, e)) == 1; i++) {
        size_t n_blocks = tensor_blocks(&t), bits = dtype_bits(t.vectors[0].dtype);
        s->blocks[i] = mem_alloc(n_blocks, sizeof(size_t));
        block = mem_resize(block, tensor_block_elements(&t) * bits / 8 + 1, 1);
        for (size_t b = 0; b < n_blocks; b++) {
            size_t first, n;
            tensor_block(&t, b, &first, &n);
            if (reader_payload(s->reader, block, (n * bits + 7) / 8, e)) {
                more = -1;
                goto done;
            }
            s->blocks[i][b] = reader_payload_offset(s->reader);
        }
        arena_clear(&a);
    }
done:
    free(block);
    arena_free(&a);
    return more;
}

static int map_file(struct saved *s, int fd, const char *path, struct error *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(e, "cannot read %s: %s", path, strerror(errno));
    s->size = (size_t)st.st_size;
    s->bytes = mmap(NULL, s->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (s->bytes == MAP_FAILED) {
        s->bytes = NULL;
        return error_set(e, "cannot map %s: %s", path, strerror(errno));
    }
    s->fingerprint = XXH3_64bits(s->bytes, s->size);
    return 0;
}

static int check_is_model(const struct header *h, const char *path, struct error *e)
{
    if (h->kind != KIND_WEIGHTS)
        return error_set(e, "%s holds %s; a model is a stream of weights", path,
                         kind_name(h->kind));
    for (size_t i = 0; i < h->n_tensors; i++)
        if (h->tensors[i].n_vectors != 1)
            return error_set(e, "%s holds several models; choose one with pick", path);
    return 0;
}

struct saved *saved_open(const char *path, const char *spool, struct error *e)
{
    struct saved *s = mem_alloc(1, sizeof *s);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0) {
        error_set(e, "cannot open %s: %s", path, strerror(errno));
    } else if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
        int copy = copy_to_file(fd, spool, e);
        close(fd);
        fd = copy;
    }
    bool ok = fd >= 0 && (s->reader = reader_open(fd, path, e)) &&
              check_is_model(reader_header(s->reader), path, e) == 0 && walk(s, e) == 0 &&
              map_file(s, fd, path, e) == 0;
    if (fd >= 0)
        close(fd);
    if (ok)
        return s;
    saved_close(s);
    return NULL;
}

void saved_close(struct saved *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->blocks && i < reader_header(s->reader)->n_tensors; i++)
        free(s->blocks[i]);
    free(s->blocks);
    reader_close(s->reader);
    if (s->bytes)
        munmap(s->bytes, s->size);
    free(s);
}

const struct header *saved_header(const struct saved *s)
{
    return reader_header(s->reader);
}

uint64_t saved_fingerprint(const struct saved *s)
{
    return s->fingerprint;
}

void saved_read(const struct saved *s, size_t i, size_t first, size_t n, void *to)
{
    const struct tensor *t = &saved_header(s)->tensors[i];
    size_t bits = dtype_bits(t->vectors[0].dtype);
    char *out = to;
    if (bits % 8) { /* never cut: one block, read from its start */
        memcpy(out, s->bytes + s->blocks[i][0] + first * bits / 8, n * bits / 8);
        return;
    }
    for (size_t b = tensor_block_of(t, first); n > 0; b++) {
        size_t start, length;
        tensor_block(t, b, &start, &length);
        size_t skip = first - start, take = length - skip < n ? length - skip : n;
        memcpy(out, s->bytes + s->blocks[i][b] + skip * bits / 8, take * bits / 8);
        out += take * bits / 8;
        first += take;
        n -= take;
    }
}
