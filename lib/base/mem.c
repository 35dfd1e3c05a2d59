#include "mem.h"

#include "fatal.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *exit_if_null(void *p)
{
    if (!p)
        fatal_exit("out of memory");
    return p;
}

void *mem_alloc(size_t count, size_t size)
{
    return exit_if_null(calloc(count ? count : 1, size ? size : 1));
}

void *mem_resize(void *old, size_t count, size_t size)
{
    return exit_if_null(reallocarray(old, count ? count : 1, size));
}

void *mem_grow(void *list, size_t n, size_t size)
{
    return n & (n - 1) ? list : mem_resize(list, n ? 2 * n : 1, size);
}

void *mem_alloc_aligned(size_t size)
{
    return exit_if_null(aligned_alloc(64, size ? (size + 63) / 64 * 64 : 64));
}

char *mem_copy_text(const char *text)
{
    return exit_if_null(strdup(text));
}

char *mem_printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    return exit_if_null(length < 0 ? NULL : text);
}

void bytes_append(struct bytes *b, const void *data, size_t size)
{
    if (b->capacity - b->size < size) {
        b->capacity = (b->size + size) * 3 / 2 + 256;
        b->data = mem_resize(b->data, b->capacity, 1);
    }
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
}

void bytes_free(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, size;
    max_align_t data[];
};

void *arena_alloc(struct arena *a, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2)
        exit_if_null(NULL); /* more memory than there can be */
    bytes = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct arena_chunk *c = a->chunks;
    if (!c || c->size - c->used < bytes) {
        size_t capacity = bytes > 4096 ? bytes : 4096;
        c = exit_if_null(malloc(sizeof *c + capacity));
        *c = (struct arena_chunk){.next = a->chunks, .size = capacity};
        a->chunks = c;
    }
    void *p = (char *)c->data + c->used;
    c->used += bytes;
    return memset(p, 0, bytes);
}

void *arena_copy(struct arena *a, const void *bytes, size_t size)
{
    void *p = arena_alloc(a, size, 1);
    if (size)
        memcpy(p, bytes, size);
    return p;
}

char *arena_copy_text_n(struct arena *a, const char *text, size_t length)
{
    char *p = arena_alloc(a, length + 1, 1);
    if (length)
        memcpy(p, text, length);
    return p;
}

char *arena_copy_text(struct arena *a, const char *text)
{
    return text ? arena_copy_text_n(a, text, strlen(text)) : NULL;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    exit_if_null(length < 0 ? NULL : text);
    char *p = arena_copy_text_n(a, text, (size_t)length);
    free(text);
    return p;
}

void *arena_grow(struct arena *a, void *list, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity)
        return list;
    *capacity = n ? 2 * n : 4;
    void *longer = arena_alloc(a, *capacity, size);
    if (n)
        memcpy(longer, list, n * size);
    return longer;
}

void arena_clear(struct arena *a)
{
    while (a->chunks && a->chunks->next) {
        struct arena_chunk *next = a->chunks->next;
        free(a->chunks);
        a->chunks = next;
    }
    if (a->chunks)
        a->chunks->used = 0;
}

void arena_free(struct arena *a)
{
    arena_clear(a);
    free(a->chunks);
    a->chunks = NULL;
}
