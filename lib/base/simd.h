/* Macros for hot loops over arrays. TV_CLONES before a function compiles it for several SIMD
 * widths; the program chooses one when it starts. TV_CLONES_AVX2 is for loops that are written for
 * AVX2's vectors, and are slower when they are compiled for wider ones. All versions compute the
 * same bytes, because contraction to fused multiply-add is off. (no-trapping-math: floating-point
 * exception flags are not used, so both sides of a conditional may be computed.)
 *
 * `make SIMD=plain`, `avx2` or `avx512` compiles one version only: TV_CLONE is its attribute.
 * tests/clones compares the bytes of all versions. */
#ifndef TV_SIMD_H
#define TV_SIMD_H

/* Sanitizers do not support the run-time choice of functions. */
#if defined(__GNUC__) && !defined(__clang__)
#define TV_HOT __attribute__((optimize("O3", "fp-contract=off", "no-trapping-math")))
#if defined(TV_CLONE)
#define TV_CLONES      TV_HOT TV_CLONE
#define TV_CLONES_AVX2 TV_HOT TV_CLONE
#elif defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TV_CLONES      TV_HOT __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#define TV_CLONES_AVX2 TV_HOT __attribute__((target_clones("avx2", "default")))
#else
#define TV_CLONES      TV_HOT
#define TV_CLONES_AVX2 TV_HOT
#endif
#else
#define TV_HOT
#define TV_CLONES
#define TV_CLONES_AVX2
#endif

/* Before a loop whose iterations do not depend on each other. */
#ifdef __clang__
#define TV_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define TV_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* Before a loop of few iterations, which GCC would unroll instead of using vectors. */
#ifdef __clang__
#define TV_NOT_UNROLLED
#else
#define TV_NOT_UNROLLED _Pragma("GCC unroll 1")
#endif

/* For functions that such a loop calls for each element. */
#define TV_INLINE static inline __attribute__((always_inline))

#endif
