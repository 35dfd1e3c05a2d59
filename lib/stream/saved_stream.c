#include "saved_stream.h"

#include "hash.h"
#include "mapped_file.h"
#include "reader.h"

#include <stdlib.h>
#include <string.h>

struct saved_stream {
    char *path;
    struct mapped_file file;
    struct reader *reader;
    struct tensor *tensors;
    size_t **offsets; /* [tensor][block * vectors + vector]: of the payload in the file */
    struct arena arena;
};

static int check_is_unweighted(const struct tensor *t, const char *path, struct error *e)
{
    if (vector_is_weighted(&t->vectors[0]))
        return error_set(e,
                         "%s: tensor %s has a weight other than 1, so the stream cannot be used as "
                         "a model",
                         path, t->name);
    return 0;
}

/* Reads and checks a tensor's payload and records the offsets of its bins. */
static int check_payload_and_record_offsets(struct saved_stream *s, size_t i, struct error *e)
{
    const struct tensor *t = &s->tensors[i];
    size_t blocks = tensor_block_count(t), K = t->n_vectors;
    void *bytes = mem_alloc(tensor_block_elements(t), 8);
    int failed = 0;
    s->offsets[i] = mem_alloc(blocks * K, sizeof(size_t));
    for (size_t j = 0; j < blocks * K && !failed; j++) {
        size_t first, n;
        tensor_block_range(t, j / K, &first, &n);
        size_t size = dtype_bytes(t->vectors[j % K].dtype, n);
        failed = reader_read_payload(s->reader, bytes, size, e);
        s->offsets[i][j] = reader_payload_offset(s->reader);
    }
    free(bytes);
    return failed;
}

static int check_all_payloads_and_record_offsets(struct saved_stream *s, const char *path,
                                                 bool as_model, struct error *e)
{
    const struct header *h = reader_header(s->reader);
    struct tensor t;
    int more;
    s->offsets = mem_alloc(h->n_tensors, sizeof *s->offsets);
    s->tensors = mem_alloc(h->n_tensors, sizeof *s->tensors);
    for (size_t i = 0; (more = reader_next_tensor(s->reader, &s->arena, &t, e)) == 1; i++) {
        s->tensors[i] = t;
        if ((as_model && check_is_unweighted(&t, path, e)) ||
            check_payload_and_record_offsets(s, i, e))
            return -1;
    }
    return more;
}

static int check_is_model(const struct header *h, const char *path, int kinds, struct error *e)
{
    if (!(kinds & (int)h->kind))
        return error_set(e, "%s contains %s; expected a stream of weights%s", path,
                         stream_kind_name(h->kind),
                         kinds & KIND_ACTIVATIONS ? " or activations" : "");
    for (size_t i = 0; i < h->n_tensors; i++)
        if (h->tensors[i].n_vectors != 1)
            return error_set(e, "%s contains several models; select one with pick", path);
    return 0;
}

/* With `in` the stream arrives through a pipe. */
static struct saved_stream *open_stream(struct byte_input *in, const char *path, const char *spool,
                                        int model_kinds, struct error *e)
{
    struct saved_stream *s = mem_alloc(1, sizeof *s);
    s->path = mem_copy_text(path);
    int failed = in ? mapped_file_open_pipe(&s->file, in, path, spool, e)
                    : mapped_file_open(&s->file, path, spool, "\xa4" RECORD_MAGIC, e);
    if (!failed && (s->reader = reader_open(s->file.fd, path, e)) &&
        (!model_kinds || check_is_model(reader_header(s->reader), path, model_kinds, e) == 0) &&
        check_all_payloads_and_record_offsets(s, path, model_kinds != 0, e) == 0)
        return s;
    saved_stream_close(s);
    return NULL;
}

struct saved_stream *saved_stream_open(const char *path, const char *spool, int model_kinds,
                                       struct error *e)
{
    return open_stream(NULL, path, spool, model_kinds, e);
}

struct saved_stream *saved_stream_open_pipe(struct byte_input *in, const char *title,
                                            const char *spool, int model_kinds, struct error *e)
{
    return open_stream(in, title, spool, model_kinds, e);
}

void saved_stream_close(struct saved_stream *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->offsets && i < reader_header(s->reader)->n_tensors; i++)
        free(s->offsets[i]);
    free(s->offsets);
    free(s->tensors);
    arena_free(&s->arena);
    reader_close(s->reader);
    mapped_file_close(&s->file);
    free(s->path);
    free(s);
}

int saved_stream_check_unchanged(const struct saved_stream *s, struct error *e)
{
    return s->file.is_path ? input_file_check_unchanged(s->path, s->path, &s->file.version, e) : 0;
}

const struct header *saved_stream_header(const struct saved_stream *s)
{
    return reader_header(s->reader);
}

const struct tensor *saved_stream_tensor(const struct saved_stream *s, size_t i)
{
    return &s->tensors[i];
}

uint64_t saved_stream_fingerprint(const struct saved_stream *s)
{
    const size_t piece = (size_t)16 << 20;
    XXH3_state_t *state = hash_new_state();
    for (size_t at = 0; at < s->file.size; at += piece) {
        size_t n = s->file.size - at < piece ? s->file.size - at : piece;
        XXH3_64bits_update(state, s->file.bytes + at, n);
        mapped_file_release_pages(s->file.bytes, s->file.size, s->file.bytes + at, n);
    }
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

void saved_stream_read_elements(const struct saved_stream *s, size_t i, size_t k, size_t first,
                                size_t n, void *to)
{
    const struct tensor *t = &s->tensors[i];
    size_t bits = dtype_bits(t->vectors[k].dtype), K = t->n_vectors;
    const unsigned char *bytes = s->file.bytes;
    char *out = to;
    if (n > 0 && bits % 8) { /* the tensor is a single block */
        memcpy(out, bytes + s->offsets[i][k] + first * bits / 8, n * bits / 8);
        return;
    }
    for (size_t b = n ? tensor_block_containing(t, first) : 0; n > 0; b++) {
        size_t start, length;
        tensor_block_range(t, b, &start, &length);
        size_t skip = first - start, count = length - skip < n ? length - skip : n;
        const unsigned char *block = bytes + s->offsets[i][b * K + k];
        memcpy(out, block + skip * bits / 8, count * bits / 8);
        if (skip + count == length) /* most callers read sequentially: the block is finished */
            mapped_file_release_pages_sequentially(bytes, s->file.size, block, length * bits / 8,
                                                   b + 1 == tensor_block_count(t));
        out += count * bits / 8;
        first += count;
        n -= count;
    }
}
