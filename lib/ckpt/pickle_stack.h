/* The stack machine that executes a pickle: its values, the stack with its marks, and the
 * memo. CPython's Lib/pickletools.py describes it.
 *
 * A pickle owns its values until pickle_free (pickle.h). Zeroed except for `file`, `bytes` and
 * `size` it is ready for pickle_load. The functions return -1 or NULL on error. */
#ifndef TV_PICKLE_STACK_H
#define TV_PICKLE_STACK_H

#include "error.h"
#include "mem.h"
#include "pickle_value.h"

struct pickle {
    const char *file; /* the file's name in messages; borrowed */
    const unsigned char *bytes;
    size_t size, position;
    struct arena arena;
    struct pickle_storage *storages; /* every storage that the pickle refers to */
    size_t n_values;
    struct pickle_value **stack, **memo;
    size_t n_stack, stack_capacity, n_memo, memo_capacity;
    size_t *marks; /* stack sizes */
    size_t n_marks, marks_capacity;
};

/* "FILE: invalid pickle at byte N: REASON"; returns -1. */
int pickle_stack_set_error(const struct pickle *p, const char *reason, struct error *e);
/* Empties stack, marks and memo for the next pickle of the same file. */
void pickle_stack_reset(struct pickle *p);
void pickle_stack_free(struct pickle *p);

int pickle_stack_push(struct pickle *p, struct pickle_value *v, struct error *e);
/* Pushes a new zeroed value. */
struct pickle_value *pickle_stack_push_new(struct pickle *p, enum pickle_kind kind,
                                           struct error *e);
int pickle_stack_push_integer(struct pickle *p, enum pickle_kind kind, int64_t x, struct error *e);
/* Pops a value above the last mark. */
struct pickle_value *pickle_stack_pop(struct pickle *p, struct error *e);
/* The value on top; NULL if there is none above the last mark. */
struct pickle_value *pickle_stack_top(const struct pickle *p);
/* The value on top; a value of another kind is an error for `reason`. */
struct pickle_value *pickle_stack_top_of_kind(struct pickle *p, enum pickle_kind kind,
                                              const char *reason, struct error *e);
/* Pops the n values on top, all above the last mark. They stay readable until the next push. */
struct pickle_value **pickle_stack_pop_n(struct pickle *p, size_t n, struct error *e);

int pickle_stack_push_mark(struct pickle *p, struct error *e);
/* Pops the last mark and the *n values above it. They stay readable until the next push. */
struct pickle_value **pickle_stack_pop_to_mark(struct pickle *p, size_t *n, struct error *e);

/* Replaces the n values on top by a tuple of them. */
int pickle_stack_make_tuple(struct pickle *p, size_t n, struct error *e);
/* Appends values to a list or dict. */
void pickle_stack_append_to_container(struct pickle *p, struct pickle_value *container,
                                      struct pickle_value **items, size_t n);

/* Stores the value on top as memo entry i; pushes entry i. */
int pickle_stack_store_top_in_memo(struct pickle *p, uint64_t i, struct error *e);
/* Stores the value on top as the entry after the last one. */
int pickle_stack_store_top_in_next_memo(struct pickle *p, struct error *e);
int pickle_stack_push_from_memo(struct pickle *p, uint64_t i, struct error *e);

#endif
