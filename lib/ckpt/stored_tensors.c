#include "stored_tensors.h"

#include "utf8.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int check_name(const struct stored_tensors *w, const char *name, size_t length,
                      struct error *e)
{
    size_t i = utf8_valid_prefix(name, length);
    if (i < length)
        return error_set(e, "%s: the name of a tensor (%.*s...) is not UTF-8 without NUL", w->file,
                         (int)(i < 200 ? i : 200), name);
    return 0;
}

int stored_tensors_check_size(const char *file, const char *name, const struct stored_tensor *t,
                              size_t *elements, size_t *bytes, struct error *e)
{
    size_t bits;
    *elements = 1;
    for (size_t i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(*elements, t->shape[i], elements))
            return error_set(e, "%s: tensor %.200s: its shape overflows", file, name);
    if (__builtin_mul_overflow(*elements, dtype_bits(t->dtype), &bits))
        return error_set(e, "%s: tensor %.200s: its size overflows", file, name);
    if (bits % 8)
        return error_set(e, "%s: tensor %.200s: %zu elements of %s do not fill whole bytes", file,
                         name, *elements, dtype_name(t->dtype));
    *bytes = bits / 8;
    return 0;
}

int stored_tensors_add(struct stored_tensors *w, const char *name, size_t name_length,
                       const struct stored_tensor *t, struct error *e)
{
    size_t bytes;
    if (check_name(w, name, name_length, e) < 0)
        return -1;
    struct stored_tensor new = *t;
    new.name = arena_copy_text_n(&w->arena, name, name_length);
    if (t->rank > STORED_TENSORS_MAX_RANK)
        return error_set(e, "%s: tensor %.200s has %zu dimensions; %d are read", w->file, new.name,
                         t->rank, STORED_TENSORS_MAX_RANK);
    if (stored_tensors_check_size(w->file, new.name, t, &new.elements, &bytes, e) < 0)
        return -1;
    new.shape = arena_copy(&w->arena, t->shape, t->rank * sizeof *t->shape);
    if (t->stride)
        new.stride = arena_copy(&w->arena, t->stride, t->rank * sizeof *t->stride);
    if (w->n == w->room) {
        w->room = w->room ? 2 * w->room : 64;
        w->list = mem_resize(w->list, w->room, sizeof *w->list);
    }
    w->list[w->n++] = new;
    return 0;
}

void stored_tensors_free(struct stored_tensors *w)
{
    arena_free(&w->arena);
    free(w->list);
    w->list = NULL;
    w->n = w->room = 0;
}

void notes_print(FILE *notes, const char *format, ...)
{
    char text[1024];
    struct error clean;
    if (!notes)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_set(&clean, "%s", text);
    fprintf(notes, "%s\n", clean.text);
}
