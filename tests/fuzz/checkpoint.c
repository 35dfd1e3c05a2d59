/* A file as a model: its format is recognized, and all tensors are read. */
#include "ckpt.h"
#include "fuzz.h"

static void read_tensor(const struct ckpt *c, size_t i)
{
    const struct ckpt_tensor *t = ckpt_tensor(c, i);
    unsigned char to[256 * 16];
    size_t n = t->elements < 256 ? t->elements : 256;
    n -= dtype_bits(t->dtype) < 8 ? n % 8 : 0;
    ckpt_read_elements(c, i, 0, n, to);
    if (dtype_bits(t->dtype) >= 8)
        ckpt_read_elements(c, i, t->elements - n, n, to);
    ckpt_find_tensor(c, t->name);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    size_t n;
    fuzz_fixed_memory = FUZZ_LARGE_MEMORY;
    const char *file = fuzz_descriptor_path(bytes, size);
    struct ckpt *c =
        ckpt_is_checkpoint(file, &e) > 0 ? ckpt_open(file, "/dev/shm", NULL, &e) : NULL;
    if (!c)
        return;
    for (size_t i = 0; i < ckpt_tensor_count(c); i++)
        read_tensor(c, i);
    for (size_t i = 0; i < ckpt_auxiliary_file_count(c); i++) {
        char *text;
        ckpt_read_auxiliary_file(c, ckpt_auxiliary_file_name(c, i), &text, &n, &e);
        free(text);
    }
    ckpt_fingerprint(c);
    ckpt_close(c);
}
