/* Memory. What mem_alloc returns is freed with free; what arena_alloc returns lives until its
 * arena is cleared or freed. Both end the program with one sentence when memory runs out:
 * sizes that come from input are checked before they get here. */
#ifndef TV_MEM_H
#define TV_MEM_H

#include <stddef.h>

/* `count` zeroed items of `size` bytes; never NULL. */
void *mem_alloc(size_t count, size_t size);
/* Grows or shrinks `old`, contents kept, new bytes not zeroed; never NULL. */
void *mem_resize(void *old, size_t count, size_t size);
/* Not zeroed, aligned for vectors. */
void *mem_alloc_aligned(size_t size);
char *mem_copy_text(const char *text);

/* Growing bytes; freed with bytes_free. */
struct bytes {
    unsigned char *data;
    size_t size, capacity;
};
void bytes_append(struct bytes *b, const void *data, size_t size);
void bytes_free(struct bytes *b);

struct arena {
    struct arena_chunk *chunks;
};

void *arena_alloc(struct arena *a, size_t count, size_t size);
void *arena_copy(struct arena *a, const void *bytes, size_t size);
/* `length` bytes of `text`, terminated. */
char *arena_copy_text_n(struct arena *a, const char *text, size_t length);
/* All of a text; NULL of NULL. */
char *arena_copy_text(struct arena *a, const char *text);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Forgets everything in the arena, keeps one chunk for reuse. */
void arena_clear(struct arena *a);
void arena_free(struct arena *a);

#endif
