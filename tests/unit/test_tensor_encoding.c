/* Encoded tensors: parts of blocks, and interleaved rows, by hand. */
#include "unit.h"

#include "stored_tensors.h"

#include <stdbool.h>

#define BLOCK 4

/* A block of three bytes is a scale and four codes of four bits, the low ones first. */
static void decode_toy(const struct stored_tensor *t, size_t first, size_t n, void *to)
{
    float *out = to;
    CHECK(first % BLOCK == 0 && n % BLOCK == 0);
    for (size_t i = 0; i < n; i++) {
        const unsigned char *block = t->data + (first + i) / BLOCK * 3;
        size_t j = (first + i) % BLOCK;
        out[i] = (float)block[0] * (float)(block[1 + j / 2] >> (j % 2 * 4) & 15);
    }
}

static const unsigned char blocks[] = {
    1, 0x21, 0x43, 10,  0x21, 0x43, /* row 0 */
    2, 0x65, 0x87, 20,  0x65, 0x87, /* row 1 */
    3, 0xA9, 0xCB, 30,  0xA9, 0xCB, /* row 2 */
    4, 0xED, 0x0F, 100, 0xED, 0x0F, /* row 3 */
};
static const float decoded[4][8] = {{1, 2, 3, 4, 10, 20, 30, 40},
                                    {10, 12, 14, 16, 100, 120, 140, 160},
                                    {27, 30, 33, 36, 270, 300, 330, 360},
                                    {52, 56, 60, 0, 1300, 1400, 1500, 0}};

static void test_parts(const struct tensor_encoding *encoding, const size_t *rows)
{
    const uint64_t shape[] = {4, 8};
    struct stored_tensor t = {.name = "a",
                              .dtype = DTYPE_F32,
                              .rank = 2,
                              .shape = shape,
                              .elements = 32,
                              .data = blocks,
                              .encoding = encoding};
    for (size_t first = 0; first <= 32; first++)
        for (size_t n = 0; first + n <= 32; n++) {
            float x[33];
            x[n] = -1;
            stored_tensors_copy_elements(&t, first, n, x);
            bool same = x[n] == -1;
            for (size_t i = 0; i < n; i++)
                same &= x[i] == decoded[rows[(first + i) / 8]][(first + i) % 8];
            CHECK(same);
        }
    size_t size;
    CHECK(stored_tensors_byte_range(&t, 0, 0, &size) == blocks && size == 0);
    CHECK(stored_tensors_byte_range(&t, 0, 32, &size) == blocks && size == sizeof blocks);
    const unsigned char *from = stored_tensors_byte_range(&t, 5, 8, &size);
    if (encoding->interleaved_rows)
        CHECK(from == blocks && size == sizeof blocks);
    else
        CHECK(from == blocks + 3 && size == 9);
}

/* Elements of two bytes that are stored as they are, but in another order of rows. */
static void test_rows_alone(void)
{
    static const uint16_t stored[] = {0, 10, 1, 11, 2, 12, 20, 30, 21, 31, 22, 32};
    static const struct tensor_encoding encoding = {
        .block_elements = 1, .block_bytes = 2, .interleaved_rows = 6};
    const uint64_t shape[] = {12};
    struct stored_tensor t = {.name = "a",
                              .dtype = DTYPE_F16,
                              .rank = 1,
                              .shape = shape,
                              .elements = 12,
                              .data = (const unsigned char *)stored,
                              .encoding = &encoding};
    static const uint16_t expected[] = {0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32};
    uint16_t x[12];
    stored_tensors_copy_elements(&t, 0, 12, x);
    CHECK(memcmp(x, expected, sizeof x) == 0);
    size_t size;
    CHECK(stored_tensors_byte_range(&t, 7, 1, &size) == t.data + 12 && size == 12);
}

int main(void)
{
    static const struct tensor_encoding plain = {
        .name = "toy", .block_elements = BLOCK, .block_bytes = 3, .decode = decode_toy};
    static const struct tensor_encoding interleaved = {.name = "toy",
                                                       .block_elements = BLOCK,
                                                       .block_bytes = 3,
                                                       .interleaved_rows = 4,
                                                       .decode = decode_toy};
    test_parts(&plain, (const size_t[]){0, 1, 2, 3});
    test_parts(&interleaved, (const size_t[]){0, 2, 1, 3});
    test_rows_alone();
    return unit_end();
}
