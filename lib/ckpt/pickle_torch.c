#include "pickle_torch.h"

#include "pickle_globals.h"

#define MAX_RANK 64

/* ---- storages -------------------------------------------------------------------------------- */

static bool is_global_of_kind(const struct pickle_value *v, enum pickle_global_kind kind)
{
    return v->kind == PICKLE_GLOBAL && v->global->kind == kind;
}

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
    if ((id->n != 5 && id->n != 6) || !is_global_of_kind(id->items[1], PICKLE_STORAGE_CLASS) ||
        id->items[2]->kind != PICKLE_STRING || id->items[2]->length > PICKLE_MAX_KEY ||
        id->items[4]->kind != PICKLE_INTEGER || id->items[4]->integer < 0)
        return pickle_stack_set_error(p, "a storage has unexpected fields", e);
    return 0;
}

int pickle_torch_push_storage(struct pickle *p, struct error *e)
{
    struct pickle_value *id = pickle_stack_pop(p, e);
    if (!id || check_storage_id(p, id, e) < 0)
        return -1;
    struct pickle_value *v = pickle_stack_push_new(p, PICKLE_STORAGE, e);
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

/* ---- tensors --------------------------------------------------------------------------------- */

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

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks); v3 adds the dtype. */
static int push_rebuilt_tensor(struct pickle *p, const struct pickle_value *arguments,
                               struct error *e)
{
    struct pickle_value **a = arguments->items;
    if (arguments->n < 4 || a[0]->kind != PICKLE_STORAGE || a[1]->kind != PICKLE_INTEGER ||
        a[1]->integer < 0 || a[2]->kind != PICKLE_TUPLE || a[3]->kind != PICKLE_TUPLE ||
        a[2]->n != a[3]->n || a[2]->n > MAX_RANK)
        return pickle_stack_set_error(p, "a tensor has unexpected fields", e);
    struct pickle_tensor *t = arena_alloc(&p->arena, 1, sizeof *t);
    *t = (struct pickle_tensor){.storage = a[0]->storage,
                                .dtype = a[0]->storage->dtype,
                                .offset = (uint64_t)a[1]->integer,
                                .rank = a[2]->n,
                                .shape = read_size_tuple(p, a[2], "size", e)};
    if (!t->shape || !(t->stride = read_size_tuple(p, a[3], "stride", e)))
        return -1;
    if (t->dtype == DTYPE_NONE && arguments->n >= 7 && a[6]->kind == PICKLE_GLOBAL)
        t->dtype = a[6]->global->dtype;
    if (t->dtype == DTYPE_NONE)
        return pickle_stack_set_error(p, "a tensor has no dtype", e);
    struct pickle_value *v = pickle_stack_push_new(p, PICKLE_TENSOR, e);
    if (!v)
        return -1;
    v->tensor = t;
    return 0;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* Pushes the first argument, which must be of this kind. */
static int push_first_argument(struct pickle *p, const struct pickle_value *arguments,
                               enum pickle_kind kind, const char *reason, struct error *e)
{
    if (arguments->n > 0 && arguments->items[0]->kind == kind)
        return pickle_stack_push(p, arguments->items[0], e);
    return pickle_stack_set_error(p, reason, e);
}

int pickle_torch_call_global(struct pickle *p, struct error *e)
{
    const struct pickle_value *arguments = pickle_stack_pop(p, e);
    const struct pickle_value *callee = arguments ? pickle_stack_pop(p, e) : NULL;
    if (!callee)
        return -1;
    if (callee->kind != PICKLE_GLOBAL || arguments->kind != PICKLE_TUPLE)
        return pickle_stack_set_error(p, "the called object is not a function", e);
    switch (callee->global->kind) {
    case PICKLE_MAKE_DICT:
        if (arguments->n == 0)
            return pickle_stack_push_new(p, PICKLE_DICT, e) ? 0 : -1;
        return pickle_stack_set_error(p, "a dict is created with arguments", e);
    case PICKLE_MAKE_TENSOR:
        return push_rebuilt_tensor(p, arguments, e);
    case PICKLE_MAKE_PARAMETER:
        return push_first_argument(p, arguments, PICKLE_TENSOR,
                                   "the argument of a parameter is not a tensor", e);
    case PICKLE_MAKE_SIZE:
        if (arguments->n != 1)
            return pickle_stack_set_error(p, "a size does not have one argument", e);
        return push_first_argument(p, arguments, PICKLE_TUPLE,
                                   "the argument of a size is not a tuple", e);
    case PICKLE_MAKE_DEVICE:
        return pickle_stack_push_new(p, PICKLE_OTHER, e) ? 0 : -1;
    default:
        return error_set(e, "%s: the pickle calls %s.%s, which is not a function", p->file,
                         callee->global->module, callee->global->name);
    }
}
