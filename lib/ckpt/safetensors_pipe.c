#include "safetensors_pipe.h"

#include "fs.h"
#include "safetensors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PIECE ((size_t)1 << 16) /* bytes of the header read at a time */

struct safetensors_pipe {
    struct byte_input *in;
    const char *file;    /* its name in messages */
    struct bytes header; /* eight bytes of length and the JSON */
    uint64_t data_size;
    unsigned char *window; /* the available bytes, `begin` to `end` of the data */
    size_t capacity;
    uint64_t begin, end;
};

static int report_truncated(const struct safetensors_pipe *p, uint64_t found, struct error *e)
{
    return error_set(e, "%s is truncated: %llu bytes of data were read, %llu are missing", p->file,
                     (unsigned long long)found, (unsigned long long)(p->data_size - found));
}

/* ---- the header ------------------------------------------------------------------------------ */

/* Memory grows with the bytes that arrive, because the length may be wrong. */
static int read_header(struct safetensors_pipe *p, struct error *e)
{
    unsigned char bytes[PIECE];
    uint64_t length;
    long long n = byte_input_read_fully(p->in, bytes, 8, e);
    if (n < 0)
        return -1;
    if (n < 8)
        return error_set(e, "%s has %lld bytes; a safetensors file has at least 8", p->file, n);
    if (safetensors_header_length(p->file, bytes, &length, e) < 0)
        return -1;
    bytes_append(&p->header, bytes, 8);
    for (uint64_t left = length; left > 0; left -= (uint64_t)n) {
        n = byte_input_read_fully(p->in, bytes, left < PIECE ? left : PIECE, e);
        if (n < 0)
            return -1;
        if (n == 0)
            return error_set(e, "%s: the header length is %llu bytes, but only %llu follow",
                             p->file, (unsigned long long)length,
                             (unsigned long long)(length - left));
        bytes_append(&p->header, bytes, (size_t)n);
    }
    return 0;
}

struct safetensors_pipe *safetensors_pipe_open(struct byte_input *in, struct stored_tensors *s,
                                               struct error *e)
{
    struct safetensors_pipe *p = mem_alloc(1, sizeof *p);
    p->in = in;
    p->file = s->file;
    if (read_header(p, e) == 0) {
        s->header = p->header.data + 8;
        s->header_size = p->header.size - 8;
        if (safetensors_list_piped_tensors(s, &p->data_size, e) == 0)
            return p;
    }
    safetensors_pipe_close(p);
    return NULL;
}

void safetensors_pipe_close(struct safetensors_pipe *p)
{
    if (!p)
        return;
    byte_input_close(p->in);
    bytes_free(&p->header);
    free(p->window);
    free(p);
}

/* ---- the data -------------------------------------------------------------------------------- */

/* Drops the bytes before `offset`. */
static int skip_to(struct safetensors_pipe *p, uint64_t offset, struct error *e)
{
    long long n = byte_input_read_fully(p->in, NULL, offset - p->end, e);
    if (n < 0)
        return -1;
    if ((uint64_t)n < offset - p->end)
        return report_truncated(p, p->end + (uint64_t)n, e);
    p->begin = p->end = offset;
    return 0;
}

int safetensors_pipe_load(struct safetensors_pipe *p, uint64_t offset, size_t size, struct error *e)
{
    if (offset >= p->begin && offset <= p->end && size <= p->end - offset)
        return 0;
    if (offset < p->end)
        return error_set(e, "%s: bytes from %llu on were already read", p->file,
                         (unsigned long long)offset);
    if (skip_to(p, offset, e))
        return -1;
    if (size > p->capacity) {
        free(p->window);
        p->window = mem_alloc_aligned(size);
        p->capacity = size;
    }
    long long n = byte_input_read_fully(p->in, p->window, size, e);
    if (n < 0)
        return -1;
    p->end = offset + (uint64_t)n;
    return (size_t)n < size ? report_truncated(p, p->end, e) : 0;
}

const unsigned char *safetensors_pipe_bytes(const struct safetensors_pipe *p, uint64_t offset)
{
    return p->window + (offset - p->begin);
}

/* ---- the end --------------------------------------------------------------------------------- */

static int check_no_more_bytes(struct safetensors_pipe *p, struct error *e)
{
    char byte;
    ssize_t n = byte_input_read(p->in, &byte, 1, e);
    return n <= 0 ? (int)n : error_set(e, "%s: bytes after its data belong to no tensor", p->file);
}

int safetensors_pipe_finish(struct safetensors_pipe *p, struct error *e)
{
    return skip_to(p, p->data_size, e) || check_no_more_bytes(p, e) ? -1 : 0;
}

static int write_bytes(const struct safetensors_pipe *p, int fd, uint64_t offset,
                       const unsigned char *bytes, size_t size, struct error *e)
{
    return fs_write_at(fd, offset, bytes, size)
               ? error_set(e, "cannot copy %s to a temporary file: %s", p->file, strerror(errno))
               : 0;
}

int safetensors_pipe_copy_to_file(struct safetensors_pipe *p, int fd, struct error *e)
{
    if (write_bytes(p, fd, 0, p->header.data, p->header.size, e))
        return -1;
    unsigned char *bytes = mem_alloc(PIECE, 1);
    long long n = 0;
    for (; p->end < p->data_size; p->end += (uint64_t)n) {
        uint64_t left = p->data_size - p->end;
        n = byte_input_read_fully(p->in, bytes, left < PIECE ? left : PIECE, e);
        if (n <= 0 || write_bytes(p, fd, p->header.size + p->end, bytes, (size_t)n, e))
            break;
    }
    free(bytes);
    if (n < 0)
        return -1;
    if (p->end < p->data_size)
        return n == 0 ? report_truncated(p, p->end, e) : -1;
    return check_no_more_bytes(p, e);
}
