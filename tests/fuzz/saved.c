/* A saved stream, mapped: any element of any tensor. */
#include "byte_input.h"
#include "fuzz.h"
#include "saved_stream.h"

static void read_vector(struct saved_stream *s, size_t i, size_t k)
{
    const struct tensor *t = saved_stream_tensor(s, i);
    size_t all = tensor_elements(t), n = all < 256 ? all : 256;
    unsigned char to[256 * 16];
    if (dtype_bits(t->vectors[k].dtype) < 8)
        n -= n % 8;
    saved_stream_read_elements(s, i, k, 0, n, to);
    if (dtype_bits(t->vectors[k].dtype) >= 8)
        saved_stream_read_elements(s, i, k, all - n, n, to);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    if (byte_input_is_compressed(bytes, size))
        fuzz_fixed_memory = FUZZ_LARGE_MEMORY;
    const char *file = fuzz_file_with_descriptor(0, "stream", bytes, size);
    struct saved_stream *s = saved_stream_open(file, NULL, size & 1 ? KIND_WEIGHTS : 0, &e);
    if (!s)
        return;
    for (size_t i = 0; i < saved_stream_header(s)->n_tensors; i++)
        for (size_t k = 0; k < saved_stream_tensor(s, i)->n_vectors; k++)
            read_vector(s, i, k);
    saved_stream_fingerprint(s);
    saved_stream_close(s);
}
