/* What the fuzz targets share: a budget of memory and time in proportion to the input's size, and
 * the mutation of a part of an input. A target defines fuzz_one, which must not keep anything:
 * memory that three runs of one input do not free is a finding too. */
#ifndef TV_FUZZ_H
#define TV_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that an input may hold at a time. What is compressed needs more, for the windows of zstd
 * and xz. */
#define FUZZ_FIXED_MEMORY    (4 << 20)
#define FUZZ_LARGE_MEMORY    (300 << 20)
#define FUZZ_MEMORY_PER_BYTE 1000
/* CPU seconds, of a build with sanitizers */
#define FUZZ_FIXED_SECONDS    1.0
#define FUZZ_SECONDS_PER_BYTE 1e-4

/* What a target defines. */
void fuzz_one(const uint8_t *bytes, size_t size);

/* libFuzzer's functions; the custom mutator is a target's, if it has one. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed);

/* Standard error, which -close_fd_mask closes to the library. */
extern int fuzz_log;
/* FUZZ_FIXED_MEMORY; a target may set it for an input. */
extern long fuzz_fixed_memory;

/* A copy that ends where its allocation ends, so that reading past it is detected. */
uint8_t *fuzz_copy(const void *bytes, size_t size);
/* The bytes as a string. */
char *fuzz_text(const void *bytes, size_t size);
/* Mutates the n bytes at `at`, and moves what follows; their new number. */
size_t fuzz_mutate_part(uint8_t *bytes, size_t *size, size_t max, size_t at, size_t n);
/* Mutates the header of a safetensors file and keeps its length right, or one time in four the
 * data; the new size. */
size_t fuzz_mutate_safetensors(uint8_t *bytes, size_t size, size_t max, unsigned seed);

/* ---- files in memory (files.c) ---- */

/* Puts a file with these bytes, which are the caller's, at that path. Slots 0 and 1 are two files.
 * The library reads it with mapped_file_open, fopen and line_reader_open, and, by its name in any
 * folder, fs_read_file. The path is the caller's too. Returns it. */
const char *fuzz_file(int slot, const char *path, const void *bytes, size_t size);
/* The same, with a descriptor of the bytes behind the mapped file. */
const char *fuzz_file_with_descriptor(int slot, const char *path, const void *bytes, size_t size);
/* A file without a name with these bytes, at its start; its descriptor, the same for every input.
 */
int fuzz_descriptor(const void *bytes, size_t size);
/* The path of such a file. */
const char *fuzz_descriptor_path(const void *bytes, size_t size);
/* Removes the files of fuzz_file. */
void fuzz_remove_files(void);

/* ---- the count of allocated bytes (allocator.c) ---- */

/* Since the input's start. */
extern long fuzz_live, fuzz_peak;
bool fuzz_count_allocations(void);

#endif
