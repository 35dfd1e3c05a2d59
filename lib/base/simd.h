/* Macros for hot loops over arrays. TV_CLONES before a function compiles it for several SIMD
 * widths; the program chooses one when it starts. TV_CLONES_AVX2 is for loops that are written for
 * AVX2's vectors, and are slower when they are compiled for wider ones. All versions compute the
 * same bytes, because contraction to fused multiply-add is off. (no-trapping-math: floating-point
 * exception flags are not used, so both sides of a conditional may be computed.)
 *
 * Loops that the compiler does not vectorize well are written with intrinsics, #ifdef TV_AVX2, for
 * the processors with TV_HAS_AVX2, beside the plain loop. TV_AVX2 and TV_AVX512 are attributes of
 * such functions.
 *
 * `make SIMD=plain`, `avx2` or `avx512` compiles one version only: TV_CLONE is its attribute and
 * TV_CLONE_BITS the width of its vectors.
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

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TV_AVX2   TV_HOT __attribute__((target("avx2")))
#define TV_AVX512 TV_HOT __attribute__((target("arch=x86-64-v4")))
#ifdef TV_CLONE
#define TV_HAS_AVX2   (TV_CLONE_BITS >= 256)
#define TV_HAS_AVX512 (TV_CLONE_BITS >= 512)
#else
#define TV_HAS_AVX2   __builtin_cpu_supports("avx2")
#define TV_HAS_AVX512 __builtin_cpu_supports("x86-64-v4")
#endif
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
