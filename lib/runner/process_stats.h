/* Measures this process: a monotonic clock, and its memory in use. */
#ifndef TV_PROCESS_STATS_H
#define TV_PROCESS_STATS_H

#include <stdint.h>

/* Nanoseconds since an unspecified time in the past. */
uint64_t process_stats_monotonic_ns(void);
/* Bytes of memory in use now that belong to no file (heap, stacks); 0 if /proc does not report it.
 */
uint64_t process_stats_anonymous_bytes(void);
/* The maximum number of bytes in memory at once, pages of mapped files included. */
uint64_t process_stats_peak_resident_bytes(void);

#endif
