/* For hot loops over arrays: TV_CLONES before a function compiles it for wide vectors too, chosen
 * when the program starts. All versions do the same arithmetic, so the bytes are the same: no
 * contraction to fused multiply-add. (no-trapping-math: nobody looks at the exception flags, so
 * both sides of a choice may be computed.) */
#ifndef TV_SIMD_H
#define TV_SIMD_H

/* Sanitizers and run-time choice of functions do not go together. */
#if defined(__GNUC__) && !defined(__clang__)
#define TV_HOT __attribute__((optimize("O3", "fp-contract=off", "no-trapping-math")))
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TV_CLONES TV_HOT __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define TV_CLONES TV_HOT
#endif
#else
#define TV_CLONES
#endif

/* For what such a loop calls for each element. */
#define TV_INLINE static inline __attribute__((always_inline))

#endif
