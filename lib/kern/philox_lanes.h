/* Philox for LANES counters per vector. philox.c includes this file once for each width of vectors,
 * after it has defined LANES; TARGET, an attribute of the functions; NAME(name), their names;
 * MULTIPLY_WORDS(a, b), the products of the lower halves of the lanes; COUNTER_ORDER; and the lanes
 * that store_words shuffles, FIRST_WORDS and SECOND_WORDS. This file undefines them. */
#define lanes  NAME(lanes)
#define words  NAME(words)
#define floats NAME(floats)

/* A word of each counter, in the lower half of its lane: that half is what MULTIPLY_WORDS takes.
 * The upper halves hold anything. */
typedef uint64_t lanes __attribute__((vector_size(8 * LANES)));
typedef uint32_t words __attribute__((vector_size(8 * LANES)));
typedef float floats __attribute__((vector_size(8 * LANES), aligned(4)));

/* Groups of counters side by side, since a round waits for the products before it. */
#define GROUPS 4

TARGET TV_INLINE lanes NAME(all)(uint64_t x)
{
    return x - (lanes){0};
}

TARGET TV_INLINE void NAME(philox_round)(lanes c[4], lanes key0, lanes key1)
{
    lanes p = (lanes)MULTIPLY_WORDS(c[0], NAME(all)(MULTIPLIER0));
    lanes q = (lanes)MULTIPLY_WORDS(c[2], NAME(all)(MULTIPLIER1));
    c[0] = (q >> 32) ^ c[1] ^ key0;
    c[1] = q;
    c[2] = (p >> 32) ^ c[3] ^ key1;
    c[3] = p;
}

TARGET TV_INLINE void NAME(store_uniform)(lanes w, float *u)
{
    typedef int32_t signed_words __attribute__((vector_size(8 * LANES)));
    signed_words bits = (signed_words)((words)w >> 8);
    *(floats *)u = __builtin_convertvector(bits, floats) * 0x1p-24f;
}

/* The lanes have the counters in COUNTER_ORDER, so that two shuffles put all words in order. */
TARGET TV_INLINE void NAME(store_words)(const lanes c[4], float *u)
{
    const lanes lower = NAME(all)(UINT32_MAX);
    lanes w01 = (c[0] & lower) | c[1] << 32, w23 = (c[2] & lower) | c[3] << 32;
    NAME(store_uniform)(__builtin_shuffle(w01, w23, (lanes){FIRST_WORDS}), u);
    NAME(store_uniform)(__builtin_shuffle(w01, w23, (lanes){SECOND_WORDS}), u + 2 * LANES);
}

TARGET static void NAME(draw)(uint64_t seed, uint64_t stream, uint64_t counter, float *u)
{
    lanes keys[ROUNDS][2];
    for (uint32_t r = 0; r < ROUNDS; r++) {
        keys[r][0] = NAME(all)(round_key0(seed, r));
        keys[r][1] = NAME(all)(round_key1(seed, r));
    }
    for (size_t j = 0; j < PHILOX_BATCH; j += LANES * GROUPS) {
        lanes c[GROUPS][4];
#pragma GCC unroll 4
        for (size_t g = 0; g < GROUPS; g++) {
            c[g][0] = NAME(all)(counter + j + LANES * g) + (lanes){COUNTER_ORDER};
            c[g][1] = c[g][0] >> 32;
            c[g][2] = NAME(all)(stream);
            c[g][3] = c[g][2] >> 32;
        }
#pragma GCC unroll 10
        for (uint32_t r = 0; r < ROUNDS; r++)
#pragma GCC unroll 4
            for (size_t g = 0; g < GROUPS; g++)
                NAME(philox_round)(c[g], keys[r][0], keys[r][1]);
#pragma GCC unroll 4
        for (size_t g = 0; g < GROUPS; g++)
            NAME(store_words)(c[g], u + 4 * (j + LANES * g));
    }
}

#undef lanes
#undef words
#undef floats
#undef GROUPS
#undef LANES
#undef TARGET
#undef NAME
#undef MULTIPLY_WORDS
#undef COUNTER_ORDER
#undef FIRST_WORDS
#undef SECOND_WORDS
