/* What a run cost, for `--report`: time, bytes and memory, chain by chain and stage by stage. An
 * account lies in memory that is shared with the processes forked after account_new, so that chains
 * that run beside one another write into one; it is the caller's until account_free. */
#ifndef TV_ACCOUNT_H
#define TV_ACCOUNT_H

#include "error.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct account;

/* What one stage has cost so far; written by several threads at once. */
struct spent {
    _Atomic uint64_t nanoseconds; /* inside its functions, summed over threads */
    _Atomic uint64_t bytes;       /* that it was given; a source: that it gave */
};

struct account_stage {
    const char *name;
    double seconds;
    uint64_t bytes;
};

struct account_chain {
    uint64_t threads, bytes_read, bytes_written, peak_resident, peak_anonymous;
    double seconds;
    size_t n;
    const struct account_stage *stages;
};

/* Nanoseconds since some time in the past. */
uint64_t account_clock(void);
/* Bytes of this process that are in memory and of no file now. */
uint64_t account_anonymous(void);
/* The most bytes of this process that were in memory at once. */
uint64_t account_resident(void);

/* The clock starts. */
struct account *account_new(void);
void account_free(struct account *a);
/* A chain that has ended well; beyond some hundreds they are not kept, and the report says so. */
void account_add(struct account *a, const struct account_chain *chain);
/* JSON, at `path` when it is complete or not at all. */
int account_write(const struct account *a, const char *path, struct error *e);

#endif
