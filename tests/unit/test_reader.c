/* The reader of streams: a stream that is cut, or has a flipped bit, at any byte is refused. */
#include "mem.h"
#include "reader.h"
#include "unit.h"
#include "writer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAYLOAD "\0\1\2\3\4\5"
enum { ELEMENTS = sizeof PAYLOAD - 1 };

static int file_of(const unsigned char *bytes, size_t size)
{
    int fd = memfd_create("stream", 0);
    CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

/* A stream of one model with one tensor (2, 3). */
static unsigned char *make_stream(size_t *size)
{
    struct error e;
    struct header *h = header_new();
    const uint64_t shape[] = {2, 3};
    CHECK(header_add_model(h, "m", NULL, &e) == 0);
    struct vector v = vector_with_defaults(0, "w", DTYPE_U8, DTYPE_U8);
    struct tensor t = {
        .name = "w", .rank = 2, .shape = shape, .layer = -1, .n_vectors = 1, .vectors = &v};
    h->kind = KIND_WEIGHTS;
    h->n_tensors = 1;
    h->tensors = &t;
    header_add_history_step(h, "test", 0, NULL);
    int fd = memfd_create("stream", 0);
    struct writer *w = writer_open(dup(fd), "the stream");
    CHECK(writer_write_header(w, h, &e) == 0 && writer_write_tensor(w, &t, &e) == 0 &&
          writer_write_payload(w, PAYLOAD, ELEMENTS, &e) == 0 &&
          writer_write_tensor_trailer(w, &e) == 0 &&
          writer_write_end_record(w, 0, NULL, NULL, &e) == 0 && writer_close(w, &e) == 0);
    *size = (size_t)lseek(fd, 0, SEEK_END);
    unsigned char *bytes = mem_alloc(*size, 1);
    CHECK(pread(fd, bytes, *size, 0) == (ssize_t)*size);
    close(fd);
    header_free(h);
    return bytes;
}

/* Reads all of it: 0, or -1 if it is refused, with a sentence. */
static int read_stream(const unsigned char *bytes, size_t size)
{
    struct error e = {0};
    struct arena a = {0};
    struct tensor t;
    char payload[ELEMENTS];
    int fd = file_of(bytes, size), result = -1;
    struct reader *r = reader_open(fd, "the stream", &e);
    if (r && reader_next_tensor(r, &a, &t, &e) == 1 &&
        reader_read_payload(r, payload, ELEMENTS, &e) == 0)
        result = reader_next_tensor(r, &a, &t, &e);
    CHECK(result <= 0 && (result == 0) == (e.text[0] == 0) && !strchr(e.text, '\n'));
    CHECK(result < 0 || memcmp(payload, PAYLOAD, ELEMENTS) == 0);
    reader_close(r);
    arena_free(&a);
    close(fd);
    return result;
}

static void test_cuts_and_flips(void)
{
    size_t size;
    unsigned char *bytes = make_stream(&size);
    CHECK(size > 100 && read_stream(bytes, size) == 0);
    for (size_t at = 0; at < size; at++) {
        CHECK(read_stream(bytes, at) == -1);
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] ^= (unsigned char)(1 << bit);
            CHECK(read_stream(bytes, size) == -1);
            bytes[at] ^= (unsigned char)(1 << bit);
        }
    }
    free(bytes);
}

/* A pipe from any program holds as much as the system allows, up to 1 MiB. */
static void test_pipe_capacity(void)
{
    size_t size;
    struct error e;
    unsigned char *bytes = make_stream(&size);
    int ends[2], other[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0 && pipe2(other, O_CLOEXEC) == 0);
    int usual = fcntl(ends[0], F_GETPIPE_SZ), most = fcntl(other[0], F_SETPIPE_SZ, 1 << 20);
    CHECK(write(ends[1], bytes, size) == (ssize_t)size);
    struct reader *r = reader_open(ends[0], "the stream", &e);
    CHECK(r && fcntl(ends[1], F_GETPIPE_SZ) == (most < 0 ? usual : most));
    reader_close(r);
    for (int i = 0; i < 2; i++) {
        close(ends[i]);
        close(other[i]);
    }
    free(bytes);
}

int main(void)
{
    test_pipe_capacity();
    test_cuts_and_flips();
    return unit_end();
}
