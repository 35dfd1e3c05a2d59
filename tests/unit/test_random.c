#include "random.h"
#include "unit.h"

#include <Random123/philox.h>

/* The reference implementation: Random123's function, one element at a time. */
static float reference(uint64_t seed, uint64_t stream, uint64_t i)
{
    philox4x32_ctr_t c = {
        {(uint32_t)(i / 4), (uint32_t)(i / 4 >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)}};
    philox4x32_key_t k = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    return (float)(philox4x32_R(10, c, k).v[i % 4] >> 8) * 0x1p-24f;
}

static void test_streams(void)
{
    CHECK(random_stream_number_of_tensor("math", "model.embed_tokens.weight") ==
          0x3cba25e7c777cfde);
    CHECK(random_stream_number_of_tensor("code", "lm_head.weight") == 0xd0dfb0c66d2d7d2c);
    CHECK(random_stream_number_of_tensor("math", "model.norm.weight") == 0x92a03e5777aa540c);
}

/* Known words; only their upper 24 bits are visible. */
static void check_words(uint64_t seed, uint64_t stream, uint64_t first, const uint32_t *words,
                        size_t n)
{
    float u[8];
    random_fill_uniform(seed, stream, first, n, u);
    for (size_t i = 0; i < n; i++)
        CHECK(u[i] == (float)(words[i] >> 8) * 0x1p-24f);
}

static void test_known_answers(void)
{
    static const uint32_t zero[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    static const uint32_t pi[] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    static const uint32_t norm[] = {0x46f78f9a, 0x53ec2144, 0x31200c02, 0x93eb2733,
                                    0x3705446e, 0x2a47d860, 0xa8d6b3c1, 0x4422a029};
    static const uint32_t embed[] = {0xeb8c2f84, 0xd7ee63d7, 0x3fdfc747,
                                     0x0e20096e, 0x3e83c3cc, 0x5a621d23};
    static const uint32_t head[] = {0x7ff03c4a, 0x0a694ace, 0xd3b91e2f,
                                    0x086f1b9d, 0x07ddb0e2, 0x4f8b9c50};
    check_words(0, 0, 0, zero, 4);
    /* No element has this counter: a check of the reference alone. */
    philox4x32_ctr_t c = {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}};
    philox4x32_key_t k = {{0xa4093822, 0x299f31d0}};
    philox4x32_ctr_t words = philox4x32_R(10, c, k);
    CHECK(memcmp(words.v, pi, sizeof pi) == 0);
    check_words(42, random_stream_number_of_tensor("math", "model.norm.weight"), 0, norm, 8);
    check_words(42, random_stream_number_of_tensor("math", "model.embed_tokens.weight"), 0, embed,
                6);
    check_words(0x123456789abcdef0, random_stream_number_of_tensor("code", "lm_head.weight"), 0,
                head, 6);
}

/* Any start and any length, across 2^32 counters. */
static void test_reference(void)
{
    static const uint64_t starts[] = {
        0, 1, 2, 3, 255, 256, (1ull << 34) - 130, (1ull << 34) + 5, (1ull << 40) + 2};
    static const size_t lengths[] = {0, 1, 3, 4, 255, 256, 257, 1000};
    float u[1000];
    for (size_t s = 0; s < sizeof starts / sizeof *starts; s++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            uint64_t seed = 0x9876543210abcdef + s, stream = 0xfedcba9876543210 * (l + 1);
            random_fill_uniform(seed, stream, starts[s], lengths[l], u);
            for (size_t i = 0; i < lengths[l]; i++)
                CHECK(u[i] == reference(seed, stream, starts[s] + i));
        }
}

/* Phi(x), by the error function of libm. */
static double normal_probability(double x)
{
    return 0.5 * erfc(-x / sqrt(2));
}

/* x is Phi^-1 of u, in the center and in both tails, wherever a call begins. */
static void test_normal(void)
{
    enum { N = 20000 };
    static float u[N], x[N], part[7];
    size_t tails = 0;
    random_fill_uniform(5, 9, 0, N, u);
    random_fill_normal(5, 9, 0, N, x);
    for (size_t i = 0; i < N; i++) {
        double p = (double)u[i] + 0x1p-25, found = normal_probability((double)x[i]);
        CHECK(fabs(found - p) <= 2e-7 * fmin(p, 1 - p) * fmax(1, fabs((double)x[i]) * 3));
        tails += p < 0.001 || p > 0.999;
    }
    CHECK(tails > 20);
    random_fill_normal(5, 9, 1001, 7, part);
    CHECK(memcmp(part, x + 1001, sizeof part) == 0);
}

int main(void)
{
    test_streams();
    test_normal();
    test_known_answers();
    test_reference();
    return unit_end();
}
