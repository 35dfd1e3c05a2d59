#include "pickle_torch.h"

#include "pickle_globals.h"

#include <string.h>

#define MAX_RANK 64

static bool is_global_of_kind(const struct pickle_value *v, enum pickle_global_kind kind)
{
    return v->kind == PICKLE_GLOBAL && v->global->kind == kind;
}

/* ---- storages -------------------------------------------------------------------------------- */

/* Checks ('storage', class, key, device, elements); torch before 1.6 adds None. */
static int check_storage_id(const struct pickle *p, const struct pickle_value *id, struct error *e)
{
    if (id->kind != PICKLE_TUPLE || id->n < 1 ||
        !pickle_value_equals_string(id->items[0], "storage"))
        return pickle_stack_set_error(p, "a persistent id is not a storage", e);
    if (id->n == 6 && id->items[5]->kind != PICKLE_NONE)
        return error_set(e,
                         "%s contains storage views of an old torch version, which are not "
                         "supported; load it with torch and save it as safetensors",
                         p->file);
    if ((id->n != 5 && id->n != 6) ||
        (id->items[1]->kind != PICKLE_CLASS &&
         !is_global_of_kind(id->items[1], PICKLE_STORAGE_CLASS)) ||
        id->items[2]->kind != PICKLE_STRING || id->items[2]->length > PICKLE_MAX_KEY ||
        id->items[4]->kind != PICKLE_INTEGER || id->items[4]->integer < 0)
        return pickle_stack_set_error(p, "a storage has unexpected fields", e);
    return 0;
}

int pickle_torch_push_storage(struct pickle *p, struct error *e)
{
    struct pickle_value *id = pickle_stack_pop(p, e);
    if (!id)
        return -1;
    if (id->kind == PICKLE_TUPLE && id->n >= 2 &&
        pickle_value_equals_string(id->items[0], "module"))
        return pickle_stack_push(p, id->items[1], e);
    if (check_storage_id(p, id, e) < 0)
        return -1;
    struct pickle_value *v = pickle_stack_push_new(p, PICKLE_STORAGE, e);
    if (!v)
        return -1;
    const struct pickle_value *class = id->items[1];
    enum dtype dtype = class->kind == PICKLE_GLOBAL ? class->global->dtype : DTYPE_NONE;
    v->storage = arena_alloc(&p->arena, 1, sizeof *v->storage);
    *v->storage = (struct pickle_storage){.key = id->items[2]->text,
                                          .key_length = id->items[2]->length,
                                          .class = class,
                                          .dtype = dtype,
                                          .elements = (uint64_t)id->items[4]->integer,
                                          .next = p->storages};
    if (class->kind == PICKLE_GLOBAL)
        v->storage->element_size =
            dtype == DTYPE_NONE ? class->global->element_size : dtype_bits(dtype) / 8;
    p->storages = v->storage;
    return 0;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static int push_unreadable_tensor(struct pickle *p, const char *what, struct error *e)
{
    struct pickle_value *v = pickle_stack_push_new(p, PICKLE_UNREADABLE_TENSOR, e);
    if (!v)
        return -1;
    v->text = what;
    v->length = strlen(what);
    return 0;
}

/* Why a tensor cannot be read, with the name of a class: "has the dtype torch.complex128". */
static int push_tensor_with_class(struct pickle *p, const char *what,
                                  const struct pickle_value *class, struct error *e)
{
    char name[204];
    return push_unreadable_tensor(p,
                                  arena_printf(&p->arena, "%s %s, which is not supported", what,
                                               pickle_value_class_name(class, name, sizeof name)),
                                  e);
}

/* The integers of a tuple of sizes or strides. */
static const uint64_t *read_size_tuple(struct pickle *p, const struct pickle_value *v,
                                       const char *what, struct error *e)
{
    uint64_t *sizes = arena_alloc(&p->arena, v->n, sizeof *sizes);
    for (size_t i = 0; i < v->n; i++) {
        const struct pickle_value *item = v->items[i];
        if (item->kind != PICKLE_INTEGER || item->integer < 0) {
            error_set(e, "%s: a tensor has the %s %lld; sizes and strides must not be negative",
                      p->file, what, item->kind == PICKLE_INTEGER ? (long long)item->integer : -1);
            return NULL;
        }
        sizes[i] = (uint64_t)item->integer;
    }
    return sizes;
}

/* The flags of a tensor whose elements are those of its storage after a computation that torch has
 * put off; NULL if it has none. `metadata` is {"conj": True, "neg": True}, or something else. */
static const char *find_lazy_computation(const struct pickle_value *metadata)
{
    const struct pickle_value *negated = pickle_value_dict_get(metadata, "neg");
    const struct pickle_value *conjugated = pickle_value_dict_get(metadata, "conj");
    if (negated && negated->kind == PICKLE_BOOL && negated->integer)
        return "is a lazily negated view; save x.resolve_neg()";
    if (conjugated && conjugated->kind == PICKLE_BOOL && conjugated->integer)
        return "is a lazily conjugated view; save x.resolve_conj()";
    return NULL;
}

static bool has_fields_of_tensor(const struct pickle_value *arguments)
{
    struct pickle_value **a = arguments->items;
    return arguments->kind == PICKLE_TUPLE && arguments->n >= 4 && a[0]->kind == PICKLE_STORAGE &&
           a[1]->kind == PICKLE_INTEGER && a[1]->integer >= 0 && a[2]->kind == PICKLE_TUPLE &&
           a[3]->kind == PICKLE_TUPLE && a[2]->n == a[3]->n && a[2]->n <= MAX_RANK;
}

static int push_tensor(struct pickle *p, const struct pickle_value *arguments, enum dtype dtype,
                       struct error *e)
{
    struct pickle_value **a = arguments->items;
    struct pickle_tensor *t = arena_alloc(&p->arena, 1, sizeof *t);
    *t = (struct pickle_tensor){.storage = a[0]->storage,
                                .dtype = dtype,
                                .offset = (uint64_t)a[1]->integer,
                                .rank = a[2]->n,
                                .shape = read_size_tuple(p, a[2], "size", e)};
    if (!t->shape || !(t->stride = read_size_tuple(p, a[3], "stride", e)))
        return -1;
    struct pickle_value *v = pickle_stack_push_new(p, PICKLE_TENSOR, e);
    if (!v)
        return -1;
    v->tensor = t;
    return 0;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata); v3 has a dtype
 * before the metadata. */
static int push_rebuilt_tensor(struct pickle *p, const struct pickle_value *arguments,
                               bool is_typed, struct error *e)
{
    if (!has_fields_of_tensor(arguments))
        return pickle_stack_set_error(p, "a tensor has unexpected fields", e);
    struct pickle_value **a = arguments->items;
    const struct pickle_storage *storage = a[0]->storage;
    enum dtype dtype = storage->dtype;
    const struct pickle_value *type = is_typed && arguments->n > 6 ? a[6] : NULL;
    const struct pickle_value *metadata = arguments->n > 6u + is_typed ? a[6 + is_typed] : NULL;
    const char *lazy = metadata ? find_lazy_computation(metadata) : NULL;
    if (lazy)
        return push_unreadable_tensor(p, lazy, e);
    if (type && type->kind == PICKLE_CLASS)
        return push_tensor_with_class(p, "has the dtype", type, e);
    if (type && is_global_of_kind(type, PICKLE_DTYPE))
        dtype = type->global->dtype;
    else if (dtype == DTYPE_NONE && (storage->class->kind == PICKLE_CLASS ||
                                     !strstr(storage->class->global->name, "Untyped")))
        return push_tensor_with_class(p, "has a storage of class", storage->class, e);
    if (dtype == DTYPE_NONE)
        return pickle_stack_set_error(p, "a tensor has no dtype", e);
    return push_tensor(p, arguments, dtype, e);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static int push_rebuilt_parameter(struct pickle *p, const struct pickle_value *arguments,
                                  struct error *e)
{
    bool found = arguments->kind == PICKLE_TUPLE && arguments->n > 0;
    struct pickle_value *tensor = found ? arguments->items[0] : NULL;
    if (!found || (tensor->kind != PICKLE_TENSOR && tensor->kind != PICKLE_UNREADABLE_TENSOR))
        return pickle_stack_set_error(p, "the argument of a parameter is not a tensor", e);
    return pickle_stack_push(p, tensor, e);
}

static int push_size(struct pickle *p, const struct pickle_value *arguments, struct error *e)
{
    if (arguments->n != 1 || arguments->items[0]->kind != PICKLE_TUPLE)
        return pickle_stack_set_error(p, "the argument of a size is not a tuple", e);
    return pickle_stack_push(p, arguments->items[0], e);
}

/* _rebuild_from_type_v2(function, class, arguments, attributes). torch.Tensor and Parameter are
 * written so if attributes were set; the elements of other classes may have another meaning. */
static int push_rebuilt_subclass(struct pickle *p, const struct pickle_value *arguments,
                                 struct error *e)
{
    struct pickle_value **a = arguments->items;
    if (arguments->n > 1 && a[1]->kind == PICKLE_CLASS)
        return push_tensor_with_class(p, "is of the class", a[1], e);
    if (arguments->n < 3 || a[0]->kind != PICKLE_GLOBAL || a[1]->kind != PICKLE_GLOBAL ||
        a[2]->kind != PICKLE_TUPLE)
        return pickle_stack_set_error(p, "a tensor has unexpected fields", e);
    switch (a[0]->global->kind) {
    case PICKLE_MAKE_TENSOR:
    case PICKLE_MAKE_TYPED_TENSOR:
        return push_rebuilt_tensor(p, a[2], a[0]->global->kind == PICKLE_MAKE_TYPED_TENSOR, e);
    case PICKLE_MAKE_PARAMETER:
        return push_rebuilt_parameter(p, a[2], e);
    case PICKLE_MAKE_UNREADABLE_TENSOR:
        return push_unreadable_tensor(p, a[0]->global->what, e);
    default:
        return pickle_stack_set_error(p, "a tensor has unexpected fields", e);
    }
}

/* OrderedDict(), OrderedDict([[key, value], ...]) of Python 2, or a copy of a dict. The list itself
 * becomes the dict, so that many calls with one list take no more memory: what pickles a dict
 * refers to the list nowhere else. */
static int push_dict(struct pickle *p, struct pickle_value *from, struct error *e)
{
    if (!from)
        return pickle_stack_push_new(p, PICKLE_DICT, e) ? 0 : -1;
    if (from->kind == PICKLE_DICT)
        return pickle_stack_push(p, from, e);
    if (from->kind != PICKLE_LIST)
        return pickle_stack_set_error(p, "a dict is created from an object that is not a list", e);
    struct pickle_value **items = arena_alloc(&p->arena, 2 * from->n, sizeof *items);
    for (size_t i = 0; i < from->n; i++) {
        const struct pickle_value *pair = from->items[i];
        if ((pair->kind != PICKLE_LIST && pair->kind != PICKLE_TUPLE) || pair->n != 2)
            return pickle_stack_set_error(p, "a dict is created from an item that is not a pair",
                                          e);
        items[2 * i] = pair->items[0];
        items[2 * i + 1] = pair->items[1];
    }
    from->kind = PICKLE_DICT;
    from->items = items;
    from->n = from->capacity = 2 * from->n;
    return pickle_stack_push(p, from, e);
}

static int call_known_global(struct pickle *p, const struct pickle_global *g,
                             const struct pickle_value *arguments, struct error *e)
{
    size_t first = g->kind == PICKLE_MAKE_DEFAULT_DICT;
    switch (g->kind) {
    case PICKLE_MAKE_DICT:
    case PICKLE_MAKE_DEFAULT_DICT:
        return push_dict(p, arguments->n > first ? arguments->items[first] : NULL, e);
    case PICKLE_MAKE_TENSOR:
    case PICKLE_MAKE_TYPED_TENSOR:
        return push_rebuilt_tensor(p, arguments, g->kind == PICKLE_MAKE_TYPED_TENSOR, e);
    case PICKLE_MAKE_PARAMETER:
        return push_rebuilt_parameter(p, arguments, e);
    case PICKLE_MAKE_SUBCLASS:
        return push_rebuilt_subclass(p, arguments, e);
    case PICKLE_MAKE_UNREADABLE_TENSOR:
        return push_unreadable_tensor(p, g->what, e);
    case PICKLE_MAKE_SIZE:
        return push_size(p, arguments, e);
    default:
        return error_set(e, "%s: the pickle calls %s.%s, which is not a function", p->file,
                         g->module, g->name);
    }
}

int pickle_torch_call_global(struct pickle *p, struct error *e)
{
    const struct pickle_value *arguments = pickle_stack_pop(p, e);
    const struct pickle_value *callee = arguments ? pickle_stack_pop(p, e) : NULL;
    if (!callee)
        return -1;
    if (callee->kind == PICKLE_GLOBAL && arguments->kind == PICKLE_TUPLE)
        return call_known_global(p, callee->global, arguments, e);
    if (callee->kind != PICKLE_CLASS && callee->kind != PICKLE_OBJECT)
        return pickle_stack_set_error(p, "the called object is not a function", e);
    struct pickle_value *v = pickle_stack_push_new(p, PICKLE_OBJECT, e);
    if (!v)
        return -1;
    *v = *callee;
    v->kind = PICKLE_OBJECT;
    return 0;
}
