/* Reads the ends of every tensor of a weight file that was accepted. */
#include "stored_tensors.h"

static void read_stored_tensors(struct stored_tensors *s)
{
    unsigned char to[64 * 16];
    for (size_t i = 0; i < s->n; i++) {
        const struct stored_tensor *t = &s->list[i];
        size_t n = t->elements < 64 ? t->elements : 64, size;
        n -= dtype_bits(t->dtype) < 8 ? n % 8 : 0;
        if (n == 0)
            continue;
        stored_tensors_copy_elements(t, 0, n, to);
        stored_tensors_byte_range(t, 0, n, &size);
        if (dtype_bits(t->dtype) >= 8)
            stored_tensors_copy_elements(t, t->elements - n, n, to);
    }
}
