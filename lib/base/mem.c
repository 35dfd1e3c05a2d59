#include "mem.h"

#include "fatal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mem_exit(void)
{
    fatal_exit("out of memory");
}

void *mem_check(void *p)
{
    if (!p)
        mem_exit();
    return p;
}

void *mem_alloc(size_t count, size_t size)
{
    return mem_check(calloc(count ? count : 1, size ? size : 1));
}

void *mem_resize(void *old, size_t count, size_t size)
{
    return mem_check(reallocarray(old, count ? count : 1, size));
}

void *mem_grow(void *list, size_t n, size_t size)
{
    return n & (n - 1) ? list : mem_resize(list, n ? 2 * n : 1, size);
}

void *mem_alloc_aligned(size_t size)
{
    return mem_check(aligned_alloc(64, size ? (size + 63) / 64 * 64 : 64));
}

char *mem_copy_text(const char *text)
{
    return mem_check(strdup(text));
}

char *mem_copy_text_n(const char *text, size_t length)
{
    return mem_check(strndup(text, length));
}

static char *print_to_text(const char *format, va_list args)
{
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    return mem_check(length < 0 ? NULL : text);
}

char *mem_printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = print_to_text(format, args);
    va_end(args);
    return text;
}

char *mem_real_path(const char *path)
{
    char *real = realpath(path, NULL);
    if (!real && errno == ENOMEM)
        mem_exit();
    return real;
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

static ssize_t append_to_bytes(void *b, const char *text, size_t size)
{
    bytes_append(b, text, size);
    return (ssize_t)size;
}

/* open_memstream loses text without an error if it cannot get more memory. */
FILE *bytes_open_stream(struct bytes *b)
{
    return mem_check(fopencookie(b, "w", (cookie_io_functions_t){.write = append_to_bytes}));
}

char *bytes_take_text(struct bytes *b)
{
    bytes_append(b, "", 1);
    char *text = (char *)b->data;
    *b = (struct bytes){0};
    return text;
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
        mem_exit(); /* more memory than there can be */
    bytes = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct arena_chunk *c = a->chunks;
    if (!c || c->size - c->used < bytes) {
        size_t capacity = bytes > 4096 ? bytes : 4096;
        c = mem_check(malloc(sizeof *c + capacity));
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
    char *text = print_to_text(format, args);
    va_end(args);
    char *p = arena_copy_text_n(a, text, strlen(text));
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
