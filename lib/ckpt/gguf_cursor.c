#include "gguf_cursor.h"

#include "little_endian.h"

#define MAX_STRING ((uint64_t)1 << 30)

const unsigned char *gguf_cursor_take(struct gguf_cursor *c, uint64_t n, const char *what,
                                      struct error *e)
{
    if (n > c->size - c->position) {
        error_set(e, "%s ends inside its header: %s at byte %zu needs %llu bytes, but %zu are left",
                  c->file, what, c->position, (unsigned long long)n, c->size - c->position);
        return NULL;
    }
    const unsigned char *p = c->bytes + c->position;
    c->position += n;
    return p;
}

int gguf_cursor_read(struct gguf_cursor *c, size_t size, const char *what, uint64_t *x,
                     struct error *e)
{
    const unsigned char *p = gguf_cursor_take(c, size, what, e);
    *x = p ? little_endian_read(p, size) : 0;
    return p ? 0 : -1;
}

const char *gguf_cursor_read_string(struct gguf_cursor *c, const char *what, size_t *length,
                                    struct error *e)
{
    uint64_t n;
    if (gguf_cursor_read(c, 8, what, &n, e) < 0)
        return NULL;
    if (n > MAX_STRING) {
        error_set(e, "%s: %s at byte %zu has %llu bytes; at most 2^30 are supported", c->file, what,
                  c->position - 8, (unsigned long long)n);
        return NULL;
    }
    *length = (size_t)n;
    return (const char *)gguf_cursor_take(c, n, what, e);
}
