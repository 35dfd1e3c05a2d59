#include "pickle.h"

#include "stored_tensors.h"

#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 8388608 /* 400,000 tensors have fewer */
#define MAX_STACK  1048576
#define MAX_TEXT   1048576
#define MAX_RANK   64

/* ---- globals -------------------------------------------------------------------------------- */

enum meaning { MAKE_DICT, MAKE_TENSOR, MAKE_PARAMETER, MAKE_SIZE, MAKE_DEVICE, STORAGE, DTYPE };

struct pickle_global {
    const char *module, *name;
    enum meaning meaning;
    enum dtype dtype;
};

static const struct pickle_global globals[] = {
    {"collections", "OrderedDict", MAKE_DICT, 0},
    {"torch._utils", "_rebuild_tensor", MAKE_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v2", MAKE_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v3", MAKE_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", MAKE_PARAMETER, 0},
    {"torch._utils", "_rebuild_parameter_with_state", MAKE_PARAMETER, 0},
    {"torch.nn.parameter", "Parameter", MAKE_PARAMETER, 0},
    {"torch", "Size", MAKE_SIZE, 0},
    {"torch", "device", MAKE_DEVICE, 0},
    {"torch", "FloatStorage", STORAGE, DTYPE_F32},
    {"torch", "DoubleStorage", STORAGE, DTYPE_F64},
    {"torch", "HalfStorage", STORAGE, DTYPE_F16},
    {"torch", "BFloat16Storage", STORAGE, DTYPE_BF16},
    {"torch", "LongStorage", STORAGE, DTYPE_I64},
    {"torch", "IntStorage", STORAGE, DTYPE_I32},
    {"torch", "ShortStorage", STORAGE, DTYPE_I16},
    {"torch", "CharStorage", STORAGE, DTYPE_I8},
    {"torch", "ByteStorage", STORAGE, DTYPE_U8},
    {"torch", "BoolStorage", STORAGE, DTYPE_BOOL},
    {"torch", "ComplexFloatStorage", STORAGE, DTYPE_C64},
    {"torch", "UntypedStorage", STORAGE, DTYPE_NONE},
    {"torch.storage", "UntypedStorage", STORAGE, DTYPE_NONE},
    {"torch", "float32", DTYPE, DTYPE_F32},
    {"torch", "float64", DTYPE, DTYPE_F64},
    {"torch", "float16", DTYPE, DTYPE_F16},
    {"torch", "bfloat16", DTYPE, DTYPE_BF16},
    {"torch", "int64", DTYPE, DTYPE_I64},
    {"torch", "int32", DTYPE, DTYPE_I32},
    {"torch", "int16", DTYPE, DTYPE_I16},
    {"torch", "int8", DTYPE, DTYPE_I8},
    {"torch", "uint8", DTYPE, DTYPE_U8},
    {"torch", "uint16", DTYPE, DTYPE_U16},
    {"torch", "uint32", DTYPE, DTYPE_U32},
    {"torch", "uint64", DTYPE, DTYPE_U64},
    {"torch", "bool", DTYPE, DTYPE_BOOL},
    {"torch", "complex64", DTYPE, DTYPE_C64},
    {"torch", "float8_e4m3fn", DTYPE, DTYPE_F8_E4M3},
    {"torch", "float8_e5m2", DTYPE, DTYPE_F8_E5M2},
    {"torch", "float8_e8m0fnu", DTYPE, DTYPE_F8_E8M0},
    {"torch", "float8_e4m3fnuz", DTYPE, DTYPE_F8_E4M3FNUZ},
    {"torch", "float8_e5m2fnuz", DTYPE, DTYPE_F8_E5M2FNUZ},
};

static bool is_text(const char *text, const char *with, size_t length)
{
    return strlen(text) == length && memcmp(text, with, length) == 0;
}

static const struct pickle_global *find_global(const char *module, size_t module_length,
                                               const char *name, size_t name_length)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
        const struct pickle_global *g = &globals[i];
        bool same = is_text(g->module, module, module_length) ||
                    (g->meaning == STORAGE && is_text("torch.cuda", module, module_length));
        if (same && is_text(g->name, name, name_length))
            return g;
    }
    return NULL;
}

/* ---- values, stack and memo ------------------------------------------------------------------ */

static int broken(const struct pickle *p, const char *why, struct error *e)
{
    return error_set(e, "%s: its pickle is broken at byte %zu: %s", p->file, p->at, why);
}

static int push(struct pickle *p, struct pickle_value *v, struct error *e)
{
    if (p->n_stack == MAX_STACK)
        return broken(p, "its stack grows too long", e);
    if (p->n_stack == p->stack_room) {
        p->stack_room *= 2;
        p->stack = mem_resize(p->stack, p->stack_room, sizeof *p->stack);
    }
    p->stack[p->n_stack++] = v;
    return 0;
}

/* A new value on the stack; NULL on error. */
static struct pickle_value *push_new(struct pickle *p, enum pickle_kind kind, struct error *e)
{
    if (p->n_values == MAX_VALUES) {
        broken(p, "it has more values than a model needs", e);
        return NULL;
    }
    p->n_values++;
    struct pickle_value *v = arena_alloc(&p->arena, 1, sizeof *v);
    v->kind = kind;
    return push(p, v, e) < 0 ? NULL : v;
}

static int push_integer(struct pickle *p, enum pickle_kind kind, int64_t x, struct error *e)
{
    struct pickle_value *v = push_new(p, kind, e);
    if (!v)
        return -1;
    v->integer = x;
    return 0;
}

/* Values above the last mark. */
static size_t above_mark(const struct pickle *p)
{
    return p->n_stack - (p->n_marks ? p->marks[p->n_marks - 1] : 0);
}

static struct pickle_value *pop(struct pickle *p, struct error *e)
{
    if (above_mark(p) == 0) {
        broken(p, "its stack is empty", e);
        return NULL;
    }
    return p->stack[--p->n_stack];
}

/* The value on top; NULL on error, or if it is of another kind. */
static struct pickle_value *top(struct pickle *p, enum pickle_kind kind, const char *why,
                                struct error *e)
{
    struct pickle_value *v = above_mark(p) ? p->stack[p->n_stack - 1] : NULL;
    if (v && v->kind == kind)
        return v;
    broken(p, why, e);
    return NULL;
}

static int push_mark(struct pickle *p, struct error *e)
{
    if (p->n_marks == MAX_STACK)
        return broken(p, "it has too many marks", e);
    if (p->n_marks == p->marks_room) {
        p->marks_room = p->marks_room ? 2 * p->marks_room : 64;
        p->marks = mem_resize(p->marks, p->marks_room, sizeof *p->marks);
    }
    p->marks[p->n_marks++] = p->n_stack;
    return 0;
}

/* Takes away what lies above the last mark, and the mark: `*n` values, which stay readable until
 * the next push. NULL on error. */
static struct pickle_value **pop_mark(struct pickle *p, size_t *n, struct error *e)
{
    if (p->n_marks == 0) {
        broken(p, "a mark is missing", e);
        return NULL;
    }
    *n = above_mark(p);
    p->n_stack = p->marks[--p->n_marks];
    return p->stack + p->n_stack;
}

/* Adds values to a list or dict. What is left behind when it grows stays in the arena: no more
 * than what is in use. */
static void append(struct pickle *p, struct pickle_value *to, struct pickle_value **items, size_t n)
{
    if (n > to->room - to->n) {
        size_t room = to->n + n > 2 * to->room ? to->n + n : 2 * to->room;
        struct pickle_value **grown = arena_alloc(&p->arena, room, sizeof *grown);
        if (to->n)
            memcpy(grown, to->items, to->n * sizeof *grown);
        to->items = grown;
        to->room = room;
    }
    if (n)
        memcpy(to->items + to->n, items, n * sizeof *items);
    to->n += n;
}

/* A tuple of the n values on top takes their place. */
static int make_tuple(struct pickle *p, size_t n, struct error *e)
{
    if (above_mark(p) < n)
        return broken(p, "its stack is empty", e);
    struct pickle_value **items =
        arena_copy(&p->arena, p->stack + p->n_stack - n, n * sizeof *items);
    p->n_stack -= n;
    struct pickle_value *v = push_new(p, PICKLE_TUPLE, e);
    if (!v)
        return -1;
    v->items = items;
    v->n = v->room = n;
    return 0;
}

static int put_memo(struct pickle *p, uint64_t i, struct error *e)
{
    if (above_mark(p) == 0)
        return broken(p, "its stack is empty", e);
    if (i > ++p->n_memo) /* from 0 or, by Python 2, from 1, without gaps */
        return broken(p, "it remembers values out of order", e);
    if (i >= p->memo_room) {
        size_t room = 2 * i + 256;
        p->memo = mem_resize(p->memo, room, sizeof *p->memo);
        memset(p->memo + p->memo_room, 0, (room - p->memo_room) * sizeof *p->memo);
        p->memo_room = room;
    }
    p->memo[i] = p->stack[p->n_stack - 1];
    return 0;
}

static int get_memo(struct pickle *p, uint64_t i, struct error *e)
{
    if (i >= p->memo_room || !p->memo[i])
        return broken(p, "it asks for a value that it did not remember", e);
    return push(p, p->memo[i], e);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* The next n bytes; NULL on error. */
static const unsigned char *take(struct pickle *p, uint64_t n, struct error *e)
{
    if (n > p->size - p->at) {
        error_set(e, "%s: its pickle is cut short", p->file);
        return NULL;
    }
    p->at += n;
    return p->bytes + p->at - n;
}

static int take_integer(struct pickle *p, size_t n, uint64_t *x, struct error *e)
{
    const unsigned char *b = take(p, n, e);
    if (!b)
        return -1;
    *x = little_endian_read(b, n);
    return 0;
}

/* Up to the next newline, which is skipped. */
static const char *take_line(struct pickle *p, size_t *length, struct error *e)
{
    const unsigned char *from = p->bytes + p->at;
    const unsigned char *newline = memchr(from, '\n', p->size - p->at);
    if (!newline) {
        error_set(e, "%s: its pickle is cut short", p->file);
        return NULL;
    }
    *length = (size_t)(newline - from);
    p->at += *length + 1;
    return (const char *)from;
}

/* A text with its length in n bytes before it. */
static int push_text(struct pickle *p, size_t n, struct error *e)
{
    uint64_t length;
    if (take_integer(p, n, &length, e) < 0)
        return -1;
    if (length > MAX_TEXT)
        return broken(p, "a text is longer than 1 MiB", e);
    const unsigned char *text = take(p, length, e);
    struct pickle_value *v = text ? push_new(p, PICKLE_TEXT, e) : NULL;
    if (!v)
        return -1;
    v->text = (const char *)text;
    v->length = length;
    return 0;
}

/* LONG1: n, then n bytes of two's complement. */
static int push_long(struct pickle *p, struct error *e)
{
    uint64_t n, x = 0;
    if (take_integer(p, 1, &n, e) < 0)
        return -1;
    const unsigned char *b = take(p, n, e);
    if (!b)
        return -1;
    if (n > 8)
        return push_new(p, PICKLE_OTHER, e) ? 0 : -1;
    if (n > 0) {
        x = little_endian_read(b, n);
        if (n < 8 && b[n - 1] & 0x80)
            x |= UINT64_MAX << 8 * n;
    }
    return push_integer(p, PICKLE_INTEGER, (int64_t)x, e);
}

static int push_global(struct pickle *p, struct error *e)
{
    size_t module_length, name_length;
    const char *module = take_line(p, &module_length, e);
    const char *name = module ? take_line(p, &name_length, e) : NULL;
    if (!name)
        return -1;
    const struct pickle_global *g = find_global(module, module_length, name, name_length);
    if (!g)
        return error_set(
            e,
            "%s: its pickle asks for %.*s.%.*s, which a dict of tensors does not need; "
            "it is refused",
            p->file, module_length < 100 ? (int)module_length : 100, module,
            name_length < 100 ? (int)name_length : 100, name);
    struct pickle_value *v = push_new(p, PICKLE_GLOBAL, e);
    if (!v)
        return -1;
    v->global = g;
    return 0;
}

/* ---- what torch builds ----------------------------------------------------------------------- */

static bool has_text(const struct pickle_value *v, const char *text)
{
    return v->kind == PICKLE_TEXT && is_text(text, v->text, v->length);
}

/* ('storage', FloatStorage, '0', 'cpu', 6), in files older than torch 1.6 with None behind it */
static int push_storage(struct pickle *p, struct error *e)
{
    struct pickle_value *id = pop(p, e);
    if (!id)
        return -1;
    if (id->kind != PICKLE_TUPLE || id->n < 1 || !has_text(id->items[0], "storage"))
        return broken(p, "it refers to something that is no storage", e);
    if (id->n == 6 && id->items[5]->kind != PICKLE_NONE)
        return error_set(e,
                         "%s holds views of storages as old versions of torch wrote them; load "
                         "it in torch and save it as safetensors",
                         p->file);
    if ((id->n != 5 && id->n != 6) || id->items[1]->kind != PICKLE_GLOBAL ||
        id->items[1]->global->meaning != STORAGE || id->items[2]->kind != PICKLE_TEXT ||
        id->items[2]->length > PICKLE_MAX_KEY || id->items[4]->kind != PICKLE_INTEGER ||
        id->items[4]->integer < 0)
        return broken(p, "a storage is not described as torch does it", e);
    struct pickle_value *v = push_new(p, PICKLE_STORAGE, e);
    if (!v)
        return -1;
    v->storage = arena_alloc(&p->arena, 1, sizeof *v->storage);
    *v->storage = (struct pickle_storage){.key = id->items[2]->text,
                                          .key_length = id->items[2]->length,
                                          .dtype = id->items[1]->global->dtype,
                                          .elements = (uint64_t)id->items[4]->integer,
                                          .next = p->storages};
    p->storages = v->storage;
    return 0;
}

/* Sizes or strides. */
static const uint64_t *read_sizes(struct pickle *p, const struct pickle_value *v, const char *what,
                                  struct error *e)
{
    uint64_t *sizes = arena_alloc(&p->arena, v->n, sizeof *sizes);
    for (size_t i = 0; i < v->n; i++) {
        const struct pickle_value *item = v->items[i];
        if (item->kind != PICKLE_INTEGER || item->integer < 0) {
            error_set(e, "%s: a tensor has the %s %lld; negative ones are refused", p->file, what,
                      item->kind == PICKLE_INTEGER ? (long long)item->integer : -1);
            return NULL;
        }
        sizes[i] = (uint64_t)item->integer;
    }
    return sizes;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks); v3 adds the dtype */
static int make_tensor(struct pickle *p, const struct pickle_value *arguments, struct error *e)
{
    struct pickle_value **a = arguments->items;
    if (arguments->n < 4 || a[0]->kind != PICKLE_STORAGE || a[1]->kind != PICKLE_INTEGER ||
        a[1]->integer < 0 || a[2]->kind != PICKLE_TUPLE || a[3]->kind != PICKLE_TUPLE ||
        a[2]->n != a[3]->n || a[2]->n > MAX_RANK)
        return broken(p, "a tensor is not described as torch does it", e);
    struct pickle_tensor *t = arena_alloc(&p->arena, 1, sizeof *t);
    *t = (struct pickle_tensor){.storage = a[0]->storage,
                                .dtype = a[0]->storage->dtype,
                                .offset = (uint64_t)a[1]->integer,
                                .rank = a[2]->n,
                                .shape = read_sizes(p, a[2], "size", e)};
    if (!t->shape || !(t->stride = read_sizes(p, a[3], "stride", e)))
        return -1;
    if (t->dtype == DTYPE_NONE && arguments->n >= 7 && a[6]->kind == PICKLE_GLOBAL)
        t->dtype = a[6]->global->dtype;
    if (t->dtype == DTYPE_NONE)
        return broken(p, "a tensor has no dtype", e);
    struct pickle_value *v = push_new(p, PICKLE_TENSOR, e);
    if (!v)
        return -1;
    v->tensor = t;
    return 0;
}

/* REDUCE and NEWOBJ: the global below, applied to the tuple on top. */
static int apply(struct pickle *p, struct error *e)
{
    const struct pickle_value *arguments = pop(p, e);
    const struct pickle_value *what = arguments ? pop(p, e) : NULL;
    if (!what)
        return -1;
    if (what->kind != PICKLE_GLOBAL || arguments->kind != PICKLE_TUPLE)
        return broken(p, "it calls what is no function", e);
    switch (what->global->meaning) {
    case MAKE_DICT:
        if (arguments->n == 0)
            return push_new(p, PICKLE_DICT, e) ? 0 : -1;
        return broken(p, "it makes a dict from arguments", e);
    case MAKE_TENSOR:
        return make_tensor(p, arguments, e);
    case MAKE_PARAMETER:
        if (arguments->n > 0 && arguments->items[0]->kind == PICKLE_TENSOR)
            return push(p, arguments->items[0], e);
        return broken(p, "it makes a parameter from what is no tensor", e);
    case MAKE_SIZE:
        if (arguments->n == 1 && arguments->items[0]->kind == PICKLE_TUPLE)
            return push(p, arguments->items[0], e);
        return broken(p, "it makes a size from what is no tuple", e);
    case MAKE_DEVICE:
        return push_new(p, PICKLE_OTHER, e) ? 0 : -1;
    default:
        return error_set(e, "%s: its pickle calls %s.%s, which is no function", p->file,
                         what->global->module, what->global->name);
    }
}

/* Attributes are dropped; only a dict has harmless ones (`_metadata` of a state dict). */
static int build(struct pickle *p, struct error *e)
{
    return pop(p, e) && top(p, PICKLE_DICT, "it sets attributes of what is no dict", e) ? 0 : -1;
}

/* The n values on top, without or with a mark below them, go into the list or dict below. */
static int add_items(struct pickle *p, enum pickle_kind kind, size_t n, struct error *e)
{
    const char *why = kind == PICKLE_DICT ? "it adds keys to what is no dict, or a key alone"
                                          : "it adds items to what is no list";
    struct pickle_value **items = NULL;
    if (n == 0) {
        items = pop_mark(p, &n, e);
        if (!items)
            return -1;
    } else if (above_mark(p) > n) {
        p->n_stack -= n;
        items = p->stack + p->n_stack;
    }
    struct pickle_value *to = items ? top(p, kind, why, e) : NULL;
    if (!to)
        return items ? -1 : broken(p, "its stack is empty", e);
    if (kind == PICKLE_DICT && n % 2)
        return broken(p, why, e);
    append(p, to, items, n);
    return 0;
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

/* The integer behind an opcode that has one: its size. */
static size_t argument_size(unsigned opcode)
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

/* The tuple of what lies above the last mark. */
static int make_marked_tuple(struct pickle *p, struct error *e)
{
    size_t n;
    if (!pop_mark(p, &n, e))
        return -1;
    p->n_stack += n;
    return make_tuple(p, n, e);
}

static int step(struct pickle *p, unsigned opcode, struct error *e)
{
    uint64_t x;
    if (take_integer(p, argument_size(opcode), &x, e) < 0)
        return -1;
    switch (opcode) {
    case PROTO:
        return 0;
    case MARK:
        return push_mark(p, e);
    case NONE:
        return push_new(p, PICKLE_NONE, e) ? 0 : -1;
    case NEWTRUE:
    case NEWFALSE:
        return push_integer(p, PICKLE_BOOL, opcode == NEWTRUE, e);
    case BININT1:
    case BININT2:
        return push_integer(p, PICKLE_INTEGER, (int64_t)x, e);
    case BININT:
        return push_integer(p, PICKLE_INTEGER, (int32_t)(uint32_t)x, e);
    case LONG1:
        return push_long(p, e);
    case BINFLOAT:
        return take(p, 8, e) && push_new(p, PICKLE_OTHER, e) ? 0 : -1;
    case SHORT_BINSTRING:
        return push_text(p, 1, e);
    case BINUNICODE:
        return push_text(p, 4, e);
    case EMPTY_TUPLE:
        return make_tuple(p, 0, e);
    case TUPLE1:
    case TUPLE2:
    case TUPLE3:
        return make_tuple(p, opcode - TUPLE1 + 1, e);
    case TUPLE:
        return make_marked_tuple(p, e);
    case EMPTY_LIST:
        return push_new(p, PICKLE_LIST, e) ? 0 : -1;
    case EMPTY_DICT:
        return push_new(p, PICKLE_DICT, e) ? 0 : -1;
    case EMPTY_SET:
        return push_new(p, PICKLE_OTHER, e) ? 0 : -1;
    case APPEND:
        return add_items(p, PICKLE_LIST, 1, e);
    case APPENDS:
        return add_items(p, PICKLE_LIST, 0, e);
    case SETITEM:
        return add_items(p, PICKLE_DICT, 2, e);
    case SETITEMS:
        return add_items(p, PICKLE_DICT, 0, e);
    case BINPUT:
    case LONG_BINPUT:
        return put_memo(p, x, e);
    case BINGET:
    case LONG_BINGET:
        return get_memo(p, x, e);
    case GLOBAL:
        return push_global(p, e);
    case BINPERSID:
        return push_storage(p, e);
    case REDUCE:
    case NEWOBJ:
        return apply(p, e);
    case BUILD:
        return build(p, e);
    default:
        return error_set(e, "%s: its pickle has the opcode 0x%02x, which torch.save does not write",
                         p->file, opcode);
    }
}

struct pickle_value *pickle_load(struct pickle *p, struct error *e)
{
    p->n_stack = p->n_marks = p->n_memo = 0;
    if (!p->stack)
        p->stack = mem_alloc(p->stack_room = 256, sizeof *p->stack);
    if (p->memo_room)
        memset(p->memo, 0, p->memo_room * sizeof *p->memo);
    for (;;) {
        const unsigned char *opcode = take(p, 1, e);
        if (!opcode)
            return NULL;
        if (*opcode == STOP)
            return pop(p, e);
        if (step(p, *opcode, e) < 0)
            return NULL;
    }
}

void pickle_free(struct pickle *p)
{
    free(p->stack);
    free(p->memo);
    free(p->marks);
    arena_free(&p->arena);
}

const struct pickle_value *pickle_dict_get(const struct pickle_value *v, const char *key)
{
    for (size_t i = 0; v->kind == PICKLE_DICT && i + 1 < v->n; i += 2)
        if (has_text(v->items[i], key))
            return v->items[i + 1];
    return NULL;
}
