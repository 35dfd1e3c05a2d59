#include "pickle.h"

#include "little_endian.h"
#include "pickle_globals.h"
#include "pickle_torch.h"

#include <string.h>

#define MAX_STRING 1048576

/* ---- bytes ----------------------------------------------------------------------------------- */

/* The next n bytes; NULL on error. */
static const unsigned char *read_bytes(struct pickle *p, uint64_t n, struct error *e)
{
    if (n > p->size - p->position) {
        error_set(e, "%s: the pickle is truncated", p->file);
        return NULL;
    }
    p->position += n;
    return p->bytes + p->position - n;
}

static int read_integer(struct pickle *p, size_t n, uint64_t *x, struct error *e)
{
    const unsigned char *b = read_bytes(p, n, e);
    if (!b)
        return -1;
    *x = little_endian_read(b, n);
    return 0;
}

/* The bytes up to the next newline, which is skipped; NULL on error. */
static const char *read_line(struct pickle *p, size_t *length, struct error *e)
{
    const unsigned char *from = p->bytes + p->position;
    const unsigned char *newline = memchr(from, '\n', p->size - p->position);
    if (!newline) {
        error_set(e, "%s: the pickle is truncated", p->file);
        return NULL;
    }
    *length = (size_t)(newline - from);
    p->position += *length + 1;
    return (const char *)from;
}

/* ---- strings, numbers and globals ------------------------------------------------------------ */

/* A string after its length, which takes n bytes. */
static int push_string(struct pickle *p, size_t n, struct error *e)
{
    uint64_t length;
    if (read_integer(p, n, &length, e) < 0)
        return -1;
    if (length > MAX_STRING)
        return pickle_stack_set_error(p, "a string is longer than 1 MiB", e);
    const unsigned char *text = read_bytes(p, length, e);
    struct pickle_value *v = text ? pickle_stack_push_new(p, PICKLE_STRING, e) : NULL;
    if (!v)
        return -1;
    v->text = (const char *)text;
    v->length = length;
    return 0;
}

/* LONG1: n, then n bytes of two's complement. */
static int push_long_integer(struct pickle *p, struct error *e)
{
    uint64_t n, x = 0;
    if (read_integer(p, 1, &n, e) < 0)
        return -1;
    const unsigned char *b = read_bytes(p, n, e);
    if (!b)
        return -1;
    if (n > 8)
        return pickle_stack_push_new(p, PICKLE_OTHER, e) ? 0 : -1;
    if (n > 0) {
        x = little_endian_read(b, n);
        if (n < 8 && b[n - 1] & 0x80)
            x |= UINT64_MAX << 8 * n;
    }
    return pickle_stack_push_integer(p, PICKLE_INTEGER, (int64_t)x, e);
}

/* GLOBAL: two lines, module and name. */
static int push_global(struct pickle *p, struct error *e)
{
    size_t module_length, name_length;
    const char *module = read_line(p, &module_length, e);
    const char *name = module ? read_line(p, &name_length, e) : NULL;
    if (!name)
        return -1;
    const struct pickle_global *g = pickle_globals_find(module, module_length, name, name_length);
    if (!g)
        return error_set(
            e, "%s: the pickle refers to %.*s.%.*s, which is not allowed in a dict of tensors",
            p->file, module_length < 100 ? (int)module_length : 100, module,
            name_length < 100 ? (int)name_length : 100, name);
    struct pickle_value *v = pickle_stack_push_new(p, PICKLE_GLOBAL, e);
    if (!v)
        return -1;
    v->global = g;
    return 0;
}

/* ---- containers ------------------------------------------------------------------------------ */

/* TUPLE: the values above the last mark. */
static int push_marked_tuple(struct pickle *p, struct error *e)
{
    size_t n;
    if (!pickle_stack_pop_to_mark(p, &n, e))
        return -1;
    p->n_stack += n;
    return pickle_stack_make_tuple(p, n, e);
}

/* Moves n values from the top (0: those above the last mark) to the list or dict below them. */
static int append_items_to_container(struct pickle *p, enum pickle_kind kind, size_t n,
                                     struct error *e)
{
    const char *reason =
        kind == PICKLE_DICT
            ? "items are added to an object that is not a dict, or a key has no value"
            : "items are added to an object that is not a list";
    struct pickle_value **items =
        n ? pickle_stack_pop_n(p, n, e) : pickle_stack_pop_to_mark(p, &n, e);
    struct pickle_value *container = items ? pickle_stack_top_of_kind(p, kind, reason, e) : NULL;
    if (!container)
        return -1;
    if (kind == PICKLE_DICT && n % 2)
        return pickle_stack_set_error(p, reason, e);
    pickle_stack_append_to_container(p, container, items, n);
    return 0;
}

/* BUILD sets attributes, which are dropped. Only dicts have harmless ones, such as the `_metadata`
 * of a state dict. */
static int discard_built_attributes(struct pickle *p, struct error *e)
{
    return pickle_stack_pop(p, e) &&
                   pickle_stack_top_of_kind(p, PICKLE_DICT,
                                            "attributes are set on an object that is not a dict", e)
               ? 0
               : -1;
}

/* ---- opcodes --------------------------------------------------------------------------------- */

enum opcode {
    MARK = '(',
    EMPTY_TUPLE = ')',
    STOP = '.',
    BINFLOAT = 'G',
    BININT = 'J',
    BININT1 = 'K',
    BININT2 = 'M',
    NONE = 'N',
    BINPERSID = 'Q',
    REDUCE = 'R',
    SHORT_BINSTRING = 'U',
    BINUNICODE = 'X',
    EMPTY_LIST = ']',
    APPEND = 'a',
    BUILD = 'b',
    GLOBAL = 'c',
    APPENDS = 'e',
    BINGET = 'h',
    LONG_BINGET = 'j',
    BINPUT = 'q',
    LONG_BINPUT = 'r',
    SETITEM = 's',
    TUPLE = 't',
    SETITEMS = 'u',
    EMPTY_DICT = '}',
    PROTO = 0x80,
    NEWOBJ = 0x81,
    TUPLE1 = 0x85,
    TUPLE2 = 0x86,
    TUPLE3 = 0x87,
    NEWTRUE = 0x88,
    NEWFALSE = 0x89,
    LONG1 = 0x8a,
    EMPTY_SET = 0x8f
};

/* The bytes of the integer that follows an opcode; 0 if none does. */
static size_t get_opcode_argument_size(unsigned opcode)
{
    switch (opcode) {
    case PROTO:
    case BININT1:
    case BINPUT:
    case BINGET:
        return 1;
    case BININT2:
        return 2;
    case BININT:
    case LONG_BINPUT:
    case LONG_BINGET:
        return 4;
    default:
        return 0;
    }
}

#define NOT_EXECUTED 1 /* the opcode is none of those that the function executes */

/* Opcodes that push a value of their own; x is the argument. */
static int execute_constant_opcode(struct pickle *p, unsigned opcode, uint64_t x, struct error *e)
{
    switch (opcode) {
    case NONE:
        return pickle_stack_push_new(p, PICKLE_NONE, e) ? 0 : -1;
    case NEWTRUE:
    case NEWFALSE:
        return pickle_stack_push_integer(p, PICKLE_BOOL, opcode == NEWTRUE, e);
    case BININT1:
    case BININT2:
        return pickle_stack_push_integer(p, PICKLE_INTEGER, (int64_t)x, e);
    case BININT:
        return pickle_stack_push_integer(p, PICKLE_INTEGER, (int32_t)(uint32_t)x, e);
    case LONG1:
        return push_long_integer(p, e);
    case BINFLOAT:
        return read_bytes(p, 8, e) && pickle_stack_push_new(p, PICKLE_OTHER, e) ? 0 : -1;
    case SHORT_BINSTRING:
        return push_string(p, 1, e);
    case BINUNICODE:
        return push_string(p, 4, e);
    case GLOBAL:
        return push_global(p, e);
    case EMPTY_LIST:
        return pickle_stack_push_new(p, PICKLE_LIST, e) ? 0 : -1;
    case EMPTY_DICT:
        return pickle_stack_push_new(p, PICKLE_DICT, e) ? 0 : -1;
    case EMPTY_SET:
        return pickle_stack_push_new(p, PICKLE_OTHER, e) ? 0 : -1;
    default:
        return NOT_EXECUTED;
    }
}

/* Opcodes that put values from the stack into tuples, lists and dicts. */
static int execute_container_opcode(struct pickle *p, unsigned opcode, struct error *e)
{
    switch (opcode) {
    case MARK:
        return pickle_stack_push_mark(p, e);
    case EMPTY_TUPLE:
        return pickle_stack_make_tuple(p, 0, e);
    case TUPLE1:
    case TUPLE2:
    case TUPLE3:
        return pickle_stack_make_tuple(p, opcode - TUPLE1 + 1, e);
    case TUPLE:
        return push_marked_tuple(p, e);
    case APPEND:
        return append_items_to_container(p, PICKLE_LIST, 1, e);
    case APPENDS:
        return append_items_to_container(p, PICKLE_LIST, 0, e);
    case SETITEM:
        return append_items_to_container(p, PICKLE_DICT, 2, e);
    case SETITEMS:
        return append_items_to_container(p, PICKLE_DICT, 0, e);
    default:
        return NOT_EXECUTED;
    }
}

/* Opcodes that use the memo (x is the entry) and those that build torch's objects. */
static int execute_object_opcode(struct pickle *p, unsigned opcode, uint64_t x, struct error *e)
{
    switch (opcode) {
    case PROTO:
        return 0;
    case BINPUT:
    case LONG_BINPUT:
        return pickle_stack_store_top_in_memo(p, x, e);
    case BINGET:
    case LONG_BINGET:
        return pickle_stack_push_from_memo(p, x, e);
    case BINPERSID:
        return pickle_torch_push_storage(p, e);
    case REDUCE:
    case NEWOBJ:
        return pickle_torch_call_global(p, e);
    case BUILD:
        return discard_built_attributes(p, e);
    default:
        return NOT_EXECUTED;
    }
}

static int execute_opcode(struct pickle *p, unsigned opcode, struct error *e)
{
    uint64_t x;
    if (read_integer(p, get_opcode_argument_size(opcode), &x, e) < 0)
        return -1;
    int result = execute_constant_opcode(p, opcode, x, e);
    if (result == NOT_EXECUTED)
        result = execute_container_opcode(p, opcode, e);
    if (result == NOT_EXECUTED)
        result = execute_object_opcode(p, opcode, x, e);
    if (result == NOT_EXECUTED)
        return error_set(e, "%s: unexpected pickle opcode 0x%02x, which torch.save does not write",
                         p->file, opcode);
    return result;
}

struct pickle_value *pickle_load(struct pickle *p, struct error *e)
{
    pickle_stack_reset(p);
    for (;;) {
        const unsigned char *opcode = read_bytes(p, 1, e);
        if (!opcode)
            return NULL;
        if (*opcode == STOP)
            return pickle_stack_pop(p, e);
        if (execute_opcode(p, *opcode, e) < 0)
            return NULL;
    }
}

void pickle_free(struct pickle *p)
{
    pickle_stack_free(p);
}
