/* A table of coefficients, against the header of a stream. The mutator keeps the checksum of the
 * heading right. */
#include "coefficient_table.h"
#include "fuzz.h"
#include "hash.h"

static struct header *make_header(void)
{
    static const uint64_t shape[] = {8};
    struct error e;
    struct header *h = header_new();
    header_add_model(h, "math", "expert", &e);
    struct vector *v = arena_alloc(&h->arena, 1, sizeof *v);
    *v = vector_with_defaults(0, "w", DTYPE_F32, DTYPE_F32);
    h->tensors = arena_alloc(&h->arena, 1, sizeof *h->tensors);
    h->tensors[h->n_tensors++] = (struct tensor){.name = "w",
                                                 .rank = 1,
                                                 .shape = shape,
                                                 .layer = -1,
                                                 .layers = -1,
                                                 .n_vectors = 1,
                                                 .vectors = v};
    return h;
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    const double *values;
    struct coefficient_table *t = coefficient_table_read(fuzz_file(0, "table", bytes, size), &e);
    if (!t)
        return;
    struct header *h = make_header();
    coefficient_table_find_values(t, "w", "math", &values);
    coefficient_table_check_against_stream(t, h, &e);
    header_free(h);
    coefficient_table_free(t);
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    static const char heading[] = "tensor\tmodel\tchunk\tvalue\txxh3:";
    size_t n = sizeof heading - 1 + 17;
    char digits[18];
    if (seed % 8 == 0 || size < n || memcmp(bytes, heading, sizeof heading - 1) != 0)
        return LLVMFuzzerMutate(bytes, size, max);
    fuzz_mutate_part(bytes, &size, max, n, size - n);
    snprintf(digits, sizeof digits, "%016llx\n",
             (unsigned long long)XXH3_64bits(bytes + n, size - n));
    memcpy(bytes + n - 17, digits, 17);
    return size;
}
