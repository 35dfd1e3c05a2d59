#include "pickle.h"

#include "little_endian.h"
#include "pickle_globals.h"
#include "pickle_torch.h"

#include <string.h>

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

/* A string or bytes after their length, which takes n bytes. */
static int push_string(struct pickle *p, enum pickle_kind kind, size_t n, struct error *e)
{
    uint64_t length;
    if (read_integer(p, n, &length, e) < 0)
        return -1;
    const unsigned char *text = read_bytes(p, length, e);
    struct pickle_value *v = text ? pickle_stack_push_new(p, kind, e) : NULL;
    if (!v)
        return -1;
    v->text = (const char *)text;
    v->length = length;
    return 0;
}

/* LONG1 and LONG4: n, in `size` bytes, then n bytes of two's complement. */
static int push_long_integer(struct pickle *p, size_t size, struct error *e)
{
    uint64_t n, x = 0;
    if (read_integer(p, size, &n, e) < 0)
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

static int push_class(struct pickle *p, const char *module, size_t module_length, const char *name,
                      size_t name_length, struct error *e)
{
    const struct pickle_global *g = pickle_globals_find(module, module_length, name, name_length);
    struct pickle_value *v = pickle_stack_push_new(p, g ? PICKLE_GLOBAL : PICKLE_CLASS, e);
    if (!v)
        return -1;
    if (g) {
        v->global = g;
        return 0;
    }
    v->module = module;
    v->module_length = (uint32_t)module_length;
    v->name = name;
    v->name_length = (uint32_t)name_length;
    return 0;
}

/* GLOBAL: two lines, module and name. */
static int push_global(struct pickle *p, struct error *e)
{
    size_t module_length, name_length;
    const char *module = read_line(p, &module_length, e);
    const char *name = module ? read_line(p, &name_length, e) : NULL;
    return name ? push_class(p, module, module_length, name, name_length, e) : -1;
}

/* STACK_GLOBAL: module and name are on the stack. */
static int push_global_from_stack(struct pickle *p, struct error *e)
{
    struct pickle_value **v = pickle_stack_pop_n(p, 2, e);
    if (!v)
        return -1;
    if (v[0]->kind != PICKLE_STRING || v[1]->kind != PICKLE_STRING)
        return pickle_stack_set_error(p, "the name of a class is not a string", e);
    return push_class(p, v[0]->text, v[0]->length, v[1]->text, v[1]->length, e);
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

/* Moves n values from the top (0: those above the last mark) to the list or dict below them. An
 * opaque object drops them. */
static int append_items_to_container(struct pickle *p, enum pickle_kind kind, size_t n,
                                     struct error *e)
{
    const char *reason =
        kind == PICKLE_DICT
            ? "items are added to an object that is not a dict, or a key has no value"
            : "items are added to an object that is not a list";
    struct pickle_value **items =
        n ? pickle_stack_pop_n(p, n, e) : pickle_stack_pop_to_mark(p, &n, e);
    if (items && pickle_stack_top(p) && pickle_stack_top(p)->kind == PICKLE_OBJECT)
        return 0;
    struct pickle_value *container = items ? pickle_stack_top_of_kind(p, kind, reason, e) : NULL;
    if (!container)
        return -1;
    if (kind == PICKLE_DICT && n % 2)
        return pickle_stack_set_error(p, reason, e);
    pickle_stack_append_to_container(p, container, items, n);
    return 0;
}

/* ADDITEMS: adds the values above the last mark to a set, which keeps none of them. */
static int discard_set_items(struct pickle *p, struct error *e)
{
    size_t n;
    const struct pickle_value *set =
        pickle_stack_pop_to_mark(p, &n, e) ? pickle_stack_top(p) : NULL;
    if (set && (set->kind == PICKLE_OTHER || set->kind == PICKLE_OBJECT))
        return 0;
    return pickle_stack_set_error(p, "items are added to an object that is not a set", e);
}

/* FROZENSET: replaces the values above the last mark by a set of them. */
static int push_frozen_set(struct pickle *p, struct error *e)
{
    size_t n;
    return pickle_stack_pop_to_mark(p, &n, e) && pickle_stack_push_new(p, PICKLE_OTHER, e) ? 0 : -1;
}

/* BUILD sets attributes, which are dropped. Those of dicts, such as the `_metadata` of a state
 * dict, and of opaque objects are harmless; those of a tensor could change its elements. */
static int discard_built_attributes(struct pickle *p, struct error *e)
{
    const struct pickle_value *object = pickle_stack_pop(p, e) ? pickle_stack_top(p) : NULL;
    if (object && (object->kind == PICKLE_DICT || object->kind == PICKLE_OBJECT))
        return 0;
    return pickle_stack_set_error(
        p, "attributes are set on an object that is neither a dict nor an instance of a class", e);
}

/* NEWOBJ_EX: like NEWOBJ, with arguments by name, which only opaque objects have. */
static int call_with_named_arguments(struct pickle *p, struct error *e)
{
    return pickle_stack_pop(p, e) ? pickle_torch_call_global(p, e) : -1;
}

/* ---- opcodes --------------------------------------------------------------------------------- */

enum opcode {
    MARK = '(',
    EMPTY_TUPLE = ')',
    STOP = '.',
    POP = '0',
    POP_MARK = '1',
    BINBYTES = 'B',
    SHORT_BINBYTES = 'C',
    BINFLOAT = 'G',
    BININT = 'J',
    BININT1 = 'K',
    BININT2 = 'M',
    NONE = 'N',
    BINPERSID = 'Q',
    REDUCE = 'R',
    BINSTRING = 'T',
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
    EXT1 = 0x82,
    EXT2 = 0x83,
    EXT4 = 0x84,
    TUPLE1 = 0x85,
    TUPLE2 = 0x86,
    TUPLE3 = 0x87,
    NEWTRUE = 0x88,
    NEWFALSE = 0x89,
    LONG1 = 0x8a,
    LONG4 = 0x8b,
    SHORT_BINUNICODE = 0x8c,
    BINUNICODE8 = 0x8d,
    BINBYTES8 = 0x8e,
    EMPTY_SET = 0x8f,
    ADDITEMS = 0x90,
    FROZENSET = 0x91,
    NEWOBJ_EX = 0x92,
    STACK_GLOBAL = 0x93,
    MEMOIZE = 0x94,
    FRAME = 0x95,
    BYTEARRAY8 = 0x96,
    NEXT_BUFFER = 0x97,
    READONLY_BUFFER = 0x98
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
    case FRAME:
        return 8;
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
        return push_long_integer(p, 1, e);
    case LONG4:
        return push_long_integer(p, 4, e);
    case BINFLOAT:
        return read_bytes(p, 8, e) && pickle_stack_push_new(p, PICKLE_OTHER, e) ? 0 : -1;
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

/* Opcodes that push strings and names of classes, which follow them. */
static int execute_string_opcode(struct pickle *p, unsigned opcode, struct error *e)
{
    switch (opcode) {
    case SHORT_BINSTRING:
    case SHORT_BINUNICODE:
        return push_string(p, PICKLE_STRING, 1, e);
    case BINSTRING:
    case BINUNICODE:
        return push_string(p, PICKLE_STRING, 4, e);
    case BINUNICODE8:
        return push_string(p, PICKLE_STRING, 8, e);
    case SHORT_BINBYTES:
        return push_string(p, PICKLE_BYTES, 1, e);
    case BINBYTES:
        return push_string(p, PICKLE_BYTES, 4, e);
    case BINBYTES8:
    case BYTEARRAY8:
        return push_string(p, PICKLE_BYTES, 8, e);
    case GLOBAL:
        return push_global(p, e);
    case STACK_GLOBAL:
        return push_global_from_stack(p, e);
    default:
        return NOT_EXECUTED;
    }
}

/* Opcodes that put values from the stack into tuples, lists and dicts. */
static int execute_container_opcode(struct pickle *p, unsigned opcode, struct error *e)
{
    size_t n;
    switch (opcode) {
    case MARK:
        return pickle_stack_push_mark(p, e);
    case POP:
        return pickle_stack_pop(p, e) ? 0 : -1;
    case POP_MARK:
        return pickle_stack_pop_to_mark(p, &n, e) ? 0 : -1;
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
    case ADDITEMS:
        return discard_set_items(p, e);
    case FROZENSET:
        return push_frozen_set(p, e);
    default:
        return NOT_EXECUTED;
    }
}

/* Opcodes that use the memo (x is the entry) and those that build torch's objects. */
static int execute_object_opcode(struct pickle *p, unsigned opcode, uint64_t x, struct error *e)
{
    switch (opcode) {
    case PROTO:
    case FRAME: /* only says how much to read ahead */
        return 0;
    case MEMOIZE:
        return pickle_stack_store_top_in_next_memo(p, e);
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
    case NEWOBJ_EX:
        return call_with_named_arguments(p, e);
    case BUILD:
        return discard_built_attributes(p, e);
    default:
        return NOT_EXECUTED;
    }
}

static int set_opcode_error(const struct pickle *p, unsigned opcode, struct error *e)
{
    if (opcode == NEXT_BUFFER || opcode == READONLY_BUFFER)
        return error_set(e, "%s: the pickle has out-of-band buffers, which are not in the file",
                         p->file);
    if (opcode == EXT1 || opcode == EXT2 || opcode == EXT4)
        return error_set(e,
                         "%s: the pickle has classes of copyreg's extension registry, whose "
                         "names are not in the file",
                         p->file);
    return error_set(e,
                     "%s: unexpected pickle opcode 0x%02x; only protocols 2 to 5 are supported, "
                     "which torch.save writes",
                     p->file, opcode);
}

static int execute_opcode(struct pickle *p, unsigned opcode, struct error *e)
{
    uint64_t x;
    if (read_integer(p, get_opcode_argument_size(opcode), &x, e) < 0)
        return -1;
    int result = execute_constant_opcode(p, opcode, x, e);
    if (result == NOT_EXECUTED)
        result = execute_string_opcode(p, opcode, e);
    if (result == NOT_EXECUTED)
        result = execute_container_opcode(p, opcode, e);
    if (result == NOT_EXECUTED)
        result = execute_object_opcode(p, opcode, x, e);
    return result == NOT_EXECUTED ? set_opcode_error(p, opcode, e) : result;
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
