#include "pickle_stack.h"

#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 8388608 /* 400,000 tensors have fewer */
#define MAX_STACK  1048576

int pickle_stack_set_error(const struct pickle *p, const char *reason, struct error *e)
{
    return error_set(e, "%s: invalid pickle at byte %zu: %s", p->file, p->position, reason);
}

void pickle_stack_reset(struct pickle *p)
{
    p->n_stack = p->n_marks = p->n_memo = 0;
    if (!p->stack)
        p->stack = mem_alloc(p->stack_capacity = 256, sizeof *p->stack);
    if (p->memo_capacity)
        memset(p->memo, 0, p->memo_capacity * sizeof *p->memo);
}

void pickle_stack_free(struct pickle *p)
{
    free(p->stack);
    free(p->memo);
    free(p->marks);
    arena_free(&p->arena);
}

/* ---- values ---------------------------------------------------------------------------------- */

/* The number of values above the last mark. */
static size_t count_above_mark(const struct pickle *p)
{
    return p->n_stack - (p->n_marks ? p->marks[p->n_marks - 1] : 0);
}

int pickle_stack_push(struct pickle *p, struct pickle_value *v, struct error *e)
{
    if (p->n_stack == MAX_STACK)
        return pickle_stack_set_error(p, "the stack is too deep", e);
    if (p->n_stack == p->stack_capacity) {
        p->stack_capacity *= 2;
        p->stack = mem_resize(p->stack, p->stack_capacity, sizeof *p->stack);
    }
    p->stack[p->n_stack++] = v;
    return 0;
}

struct pickle_value *pickle_stack_push_new(struct pickle *p, enum pickle_kind kind, struct error *e)
{
    if (p->n_values == MAX_VALUES) {
        pickle_stack_set_error(p, "too many values", e);
        return NULL;
    }
    p->n_values++;
    struct pickle_value *v = arena_alloc(&p->arena, 1, sizeof *v);
    v->kind = kind;
    return pickle_stack_push(p, v, e) < 0 ? NULL : v;
}

int pickle_stack_push_integer(struct pickle *p, enum pickle_kind kind, int64_t x, struct error *e)
{
    struct pickle_value *v = pickle_stack_push_new(p, kind, e);
    if (!v)
        return -1;
    v->integer = x;
    return 0;
}

struct pickle_value **pickle_stack_pop_n(struct pickle *p, size_t n, struct error *e)
{
    if (count_above_mark(p) < n) {
        pickle_stack_set_error(p, "the stack is empty", e);
        return NULL;
    }
    p->n_stack -= n;
    return p->stack + p->n_stack;
}

struct pickle_value *pickle_stack_pop(struct pickle *p, struct error *e)
{
    struct pickle_value **v = pickle_stack_pop_n(p, 1, e);
    return v ? *v : NULL;
}

struct pickle_value *pickle_stack_top(const struct pickle *p)
{
    return count_above_mark(p) ? p->stack[p->n_stack - 1] : NULL;
}

struct pickle_value *pickle_stack_top_of_kind(struct pickle *p, enum pickle_kind kind,
                                              const char *reason, struct error *e)
{
    struct pickle_value *v = pickle_stack_top(p);
    if (v && v->kind == kind)
        return v;
    pickle_stack_set_error(p, reason, e);
    return NULL;
}

/* ---- marks ----------------------------------------------------------------------------------- */

int pickle_stack_push_mark(struct pickle *p, struct error *e)
{
    if (p->n_marks == MAX_STACK)
        return pickle_stack_set_error(p, "too many marks", e);
    if (p->n_marks == p->marks_capacity) {
        p->marks_capacity = p->marks_capacity ? 2 * p->marks_capacity : 64;
        p->marks = mem_resize(p->marks, p->marks_capacity, sizeof *p->marks);
    }
    p->marks[p->n_marks++] = p->n_stack;
    return 0;
}

struct pickle_value **pickle_stack_pop_to_mark(struct pickle *p, size_t *n, struct error *e)
{
    if (p->n_marks == 0) {
        pickle_stack_set_error(p, "a mark is missing", e);
        return NULL;
    }
    *n = count_above_mark(p);
    p->n_stack = p->marks[--p->n_marks];
    return p->stack + p->n_stack;
}

/* ---- containers ------------------------------------------------------------------------------ */

int pickle_stack_make_tuple(struct pickle *p, size_t n, struct error *e)
{
    struct pickle_value **items = pickle_stack_pop_n(p, n, e);
    if (!items)
        return -1;
    items = arena_copy(&p->arena, items, n * sizeof *items);
    struct pickle_value *v = pickle_stack_push_new(p, PICKLE_TUPLE, e);
    if (!v)
        return -1;
    v->items = items;
    v->n = v->capacity = n;
    return 0;
}

/* A container that grows leaves its old items in the arena: no more bytes than it uses itself. */
void pickle_stack_append_to_container(struct pickle *p, struct pickle_value *container,
                                      struct pickle_value **items, size_t n)
{
    size_t old = container->n, total = old + n;
    if (n > container->capacity - old) {
        size_t capacity = total > 2 * container->capacity ? total : 2 * container->capacity;
        struct pickle_value **grown = arena_alloc(&p->arena, capacity, sizeof *grown);
        if (old)
            memcpy(grown, container->items, old * sizeof *grown);
        container->items = grown;
        container->capacity = capacity;
    }
    if (n)
        memcpy(container->items + old, items, n * sizeof *items);
    container->n = total;
}

/* ---- memo ------------------------------------------------------------------------------------ */

int pickle_stack_store_top_in_memo(struct pickle *p, uint64_t i, struct error *e)
{
    if (count_above_mark(p) == 0)
        return pickle_stack_set_error(p, "the stack is empty", e);
    if (i > ++p->n_memo) /* entries count from 0 (Python 2: from 1) without gaps */
        return pickle_stack_set_error(p, "memo entries are out of order", e);
    if (i >= p->memo_capacity) {
        size_t capacity = 2 * i + 256;
        p->memo = mem_resize(p->memo, capacity, sizeof *p->memo);
        memset(p->memo + p->memo_capacity, 0, (capacity - p->memo_capacity) * sizeof *p->memo);
        p->memo_capacity = capacity;
    }
    p->memo[i] = p->stack[p->n_stack - 1];
    return 0;
}

int pickle_stack_store_top_in_next_memo(struct pickle *p, struct error *e)
{
    return pickle_stack_store_top_in_memo(p, p->n_memo, e);
}

int pickle_stack_push_from_memo(struct pickle *p, uint64_t i, struct error *e)
{
    if (i >= p->memo_capacity || !p->memo[i])
        return pickle_stack_set_error(p, "the memo has no such entry", e);
    return pickle_stack_push(p, p->memo[i], e);
}
