/* Memory: allocation that never fails, growing byte buffers, and arenas. The caller frees what a
 * mem_ function returns with free(); what an arena_ function returns lives until its arena is
 * cleared or freed. If memory runs out, the program exits with one sentence (fatal.h); callers
 * check sizes from input files before they allocate. */
#ifndef TV_MEM_H
#define TV_MEM_H

#include <stddef.h>
#include <stdio.h>

_Noreturn void mem_exit(void);
/* What another library has allocated: p itself, if it is not NULL; otherwise exits. */
void *mem_check(void *p);

/* `count` zeroed items of `size` bytes; never NULL. */
void *mem_alloc(size_t count, size_t size);
/* realloc: grows or shrinks `old` and keeps its contents; new bytes are not zeroed; never NULL. */
void *mem_resize(void *old, size_t count, size_t size);
/* `size` bytes aligned to 64, not zeroed; never NULL. */
void *mem_alloc_aligned(size_t size);
/* Makes space for item n of a list that grows by one item at a time: the capacity is the next power
 * of two. */
void *mem_grow(void *list, size_t n, size_t size);
char *mem_copy_text(const char *text);
/* A copy of at most `length` bytes of the text. */
char *mem_copy_text_n(const char *text, size_t length);
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The path without links, "." and ".."; NULL with the reason in errno. */
char *mem_real_path(const char *path);

/* A growing byte buffer; starts zeroed. */
struct bytes {
    unsigned char *data;
    size_t size, capacity;
};
void bytes_append(struct bytes *b, const void *data, size_t size);
/* A stream that appends to the buffer what is printed to it, complete after fclose. */
FILE *bytes_open_stream(struct bytes *b);
/* The contents as text, freed by the caller; the buffer is empty then. */
char *bytes_take_text(struct bytes *b);
void bytes_free(struct bytes *b);

/* Memory that is freed all at once; starts zeroed. */
struct arena {
    struct arena_chunk *chunks;
};

/* `count` zeroed items of `size` bytes; never NULL. */
void *arena_alloc(struct arena *a, size_t count, size_t size);
void *arena_copy(struct arena *a, const void *bytes, size_t size);
/* The first `length` bytes of `text`, with a terminating zero. */
char *arena_copy_text_n(struct arena *a, const char *text, size_t length);
/* A copy of `text`; NULL if `text` is NULL. */
char *arena_copy_text(struct arena *a, const char *text);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Makes space for item n of a list in the arena, which holds `*capacity` items; the capacity
 * doubles, so that a list takes time and memory in proportion to its length. */
void *arena_grow(struct arena *a, void *list, size_t n, size_t *capacity, size_t size);
/* Invalidates everything in the arena; keeps one chunk for reuse. */
void arena_clear(struct arena *a);
void arena_free(struct arena *a);

#endif
