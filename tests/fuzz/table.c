/* A table of coefficients, against the header of a stream. */
#include "fuzz.h"
#include "coefficient_table.h"

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

static void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    const double *values;
    struct coefficient_table *t = coefficient_table_read(fuzz_file(0, bytes, size), &e);
    if (!t)
        return;
    struct header *h = make_header();
    coefficient_table_find_values(t, "w", "math", &values);
    coefficient_table_check_against_stream(t, h, &e);
    header_free(h);
    coefficient_table_free(t);
}
