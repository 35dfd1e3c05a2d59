#include "state_dict.h"

#include "notes.h"
#include "printable.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LISTED 8 /* dicts or keys in a message */
#define MAX_TEXT   100

static int limit_length(size_t length)
{
    return length < MAX_TEXT ? (int)length : MAX_TEXT;
}

const char *state_dict_describe(const struct pickle_value *v, char *to, size_t size)
{
    static const char *const names[] = {[PICKLE_NONE] = "None",
                                        [PICKLE_BOOL] = "a truth value",
                                        [PICKLE_INTEGER] = "a number",
                                        [PICKLE_STRING] = "a string",
                                        [PICKLE_BYTES] = "bytes",
                                        [PICKLE_TUPLE] = "a tuple",
                                        [PICKLE_LIST] = "a list",
                                        [PICKLE_DICT] = "a dict",
                                        [PICKLE_GLOBAL] = "a class",
                                        [PICKLE_CLASS] = "a class",
                                        [PICKLE_STORAGE] = "a storage",
                                        [PICKLE_TENSOR] = "a tensor",
                                        [PICKLE_OTHER] = "a number or a set",
                                        [PICKLE_UNREADABLE_TENSOR] = "a tensor"};
    char class[204];
    if (v->kind == PICKLE_OBJECT)
        snprintf(to, size, "an object made by %s", pickle_value_class_name(v, class, sizeof class));
    else
        snprintf(to, size, "%s", names[v->kind]);
    return to;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static bool is_container(const struct pickle_value *v)
{
    return v->kind == PICKLE_DICT || v->kind == PICKLE_LIST || v->kind == PICKLE_TUPLE;
}

static size_t child_count(const struct pickle_value *v)
{
    return v->kind == PICKLE_DICT ? v->n / 2 : is_container(v) ? v->n : 0;
}

static struct pickle_value *child(const struct pickle_value *v, size_t i)
{
    return v->kind == PICKLE_DICT ? v->items[2 * i + 1] : v->items[i];
}

/* The key of child i as text, which is not terminated: a string, or a number in decimal digits. An
 * empty text for other keys. */
struct key_text {
    char number[24];
    const char *text;
    size_t length;
};

static void format_key(const struct pickle_value *v, size_t i, struct key_text *k)
{
    const struct pickle_value *key = v->kind == PICKLE_DICT ? v->items[2 * i] : NULL;
    k->text = k->number;
    k->length = 0;
    if (!key)
        k->length = (size_t)snprintf(k->number, sizeof k->number, "%zu", i);
    else if (key->kind == PICKLE_INTEGER)
        k->length = (size_t)snprintf(k->number, sizeof k->number, "%" PRId64, key->integer);
    else if (key->kind == PICKLE_STRING) {
        k->text = key->text;
        k->length = key->length;
    }
}

/* ---- the dict that was asked for ---------------------------------------------------------------
 */

/* The child whose key is the longest one that `rest` starts with; *length is that of the key. The
 * last one of equal keys, as in Python. NULL if there is none. */
static struct pickle_value *find_child(const struct pickle_value *v, const char *rest,
                                       size_t *length)
{
    struct pickle_value *found = NULL;
    size_t n = strlen(rest);
    *length = 0;
    for (size_t i = 0; i < child_count(v); i++) {
        struct key_text k;
        format_key(v, i, &k);
        if (k.length == 0 || k.length > n || memcmp(k.text, rest, k.length) != 0 ||
            (k.length < n && rest[k.length] != '.') || k.length < *length)
            continue;
        found = child(v, i);
        *length = k.length;
    }
    return found;
}

/* "a, b, c, ..." */
static const char *list_keys(struct stored_tensors *s, const struct pickle_value *v)
{
    const char *text = NULL;
    size_t n = child_count(v);
    for (size_t i = 0; i < n && i < MAX_LISTED; i++) {
        struct key_text k;
        format_key(v, i, &k);
        text = arena_printf(&s->arena, "%s%s%.*s", text ? text : "", text ? ", " : "",
                            limit_length(k.length), k.text);
    }
    return n > MAX_LISTED ? arena_printf(&s->arena, "%s, ...", text) : text ? text : "none";
}

static const struct pickle_value *find_by_key(struct stored_tensors *s, struct pickle_value *whole,
                                              struct error *e)
{
    const char *rest = s->key;
    struct pickle_value *v = whole;
    char what[240];
    while (*rest) {
        size_t length;
        struct pickle_value *next = find_child(v, rest, &length);
        if (!next) {
            error_set(e, "%s has no key %.200s; the keys of %.*s are: %s", s->file, s->key,
                      rest == s->key ? 8 : (int)(rest - s->key) - 1,
                      rest == s->key ? "its dict" : s->key, list_keys(s, v));
            return NULL;
        }
        v = next;
        rest += length;
        rest += *rest == '.';
    }
    if (v->kind == PICKLE_DICT)
        return v;
    error_set(e, "%s: %.200s is %s; expected a dict of tensors", s->file,
              *s->key ? s->key : "the whole", state_dict_describe(v, what, sizeof what));
    return NULL;
}

/* ---- the search ------------------------------------------------------------------------------ */

struct node {
    struct pickle_value *v;
    size_t parent, index; /* v is child `index` of that node; the whole is its own parent */
    size_t tensors, named, floats;    /* direct ones: all, with a string key, and floating-point */
    const struct pickle_value *first; /* the key of the first one; NULL: in a list */
};

struct search {
    struct node *nodes; /* breadth first */
    size_t n, capacity;
    bool found_optimizer;
    const struct pickle_value *object; /* an opaque object */
};

static bool is_tensor(const struct pickle_value *v)
{
    return v->kind == PICKLE_TENSOR || v->kind == PICKLE_UNREADABLE_TENSOR;
}

/* A tensor that may be a weight: scalars are measurements, such as a loss. */
static bool is_weight(const struct pickle_value *v)
{
    return v->kind == PICKLE_UNREADABLE_TENSOR ||
           (v->kind == PICKLE_TENSOR && v->tensor->rank > 0 &&
            (dtype_is_float(v->tensor->dtype) || dtype_is_quantized(v->tensor->dtype)));
}

static bool is_optimizer_state(const struct pickle_value *v)
{
    return pickle_value_dict_get(v, "state") && pickle_value_dict_get(v, "param_groups");
}

/* Does the key say that the value belongs to an optimizer: "optimizer_states", "optim_state"? */
static bool is_optimizer_key(const struct key_text *k)
{
    return memmem(k->text, k->length, "optimizer", 9) ||
           memmem(k->text, k->length, "optimiser", 9) ||
           (k->length == 5 && memcmp(k->text, "optim", 5) == 0) ||
           (k->length > 5 && memcmp(k->text, "optim_", 6) == 0);
}

static void add_node(struct search *s, struct pickle_value *v, size_t parent, size_t index)
{
    if (v->visited)
        return;
    v->visited = true;
    if (is_optimizer_state(v)) {
        s->found_optimizer = true;
        return;
    }
    if (s->n == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 64;
        s->nodes = mem_resize(s->nodes, s->capacity, sizeof *s->nodes);
    }
    s->nodes[s->n++] = (struct node){.v = v, .parent = parent, .index = index};
}

/* Counts the tensors of node i, and adds its containers. */
static void visit_node(struct search *s, size_t i)
{
    const struct pickle_value *v = s->nodes[i].v;
    struct node counted = s->nodes[i];
    for (size_t c = 0; c < child_count(v); c++) {
        struct pickle_value *value = child(v, c);
        const struct pickle_value *key = v->kind == PICKLE_DICT ? v->items[2 * c] : NULL;
        bool is_named = key && key->kind == PICKLE_STRING;
        if (is_tensor(value)) {
            counted.first = counted.tensors++ ? counted.first : key;
            counted.named += is_named;
            counted.floats += is_named && is_weight(value);
        } else if (is_container(value)) {
            struct key_text k;
            format_key(v, c, &k);
            if (is_optimizer_key(&k))
                s->found_optimizer = true;
            else
                add_node(s, value, i, c);
        } else if (value->kind == PICKLE_OBJECT && !s->object) {
            s->object = value;
        }
    }
    s->nodes[i] = counted;
}

/* ---- what was found -------------------------------------------------------------------------- */

/* The keys from the whole to node i, joined by dots. */
static const char *format_path(struct stored_tensors *s, const struct search *search, size_t i)
{
    size_t depth = 0, at = i;
    for (; at > 0; at = search->nodes[at].parent)
        depth++;
    const size_t total = depth;
    size_t *path = mem_alloc(total ? total : 1, sizeof *path);
    for (at = i; at > 0; at = search->nodes[at].parent)
        path[--depth] = at;
    struct bytes text = {0};
    for (size_t d = 0; d < total; d++) {
        const struct node *node = &search->nodes[path[d]];
        struct key_text k;
        format_key(search->nodes[node->parent].v, node->index, &k);
        bytes_append(&text, ".", d > 0);
        bytes_append(&text, k.text, k.length);
    }
    const char *result =
        arena_copy_text_n(&s->arena, text.size ? (char *)text.data : "", text.size);
    bytes_free(&text);
    free(path);
    return result;
}

/* Is node i one of the dicts to choose from? With `weights`, it has named floating-point tensors,
 * else any named ones. */
static bool is_candidate(const struct node *node, bool weights)
{
    return weights ? node->floats > 0 : node->named > 0;
}

static size_t count_candidates(const struct search *search, bool weights, size_t *last)
{
    size_t n = 0;
    for (size_t i = 0; i < search->n; i++)
        if (is_candidate(&search->nodes[i], weights)) {
            *last = i;
            n++;
        }
    return n;
}

/* MODEL#KEY as a word of a command line. */
static const char *format_operand(struct stored_tensors *s, const char *key)
{
    struct bytes printed = {0};
    FILE *f = bytes_open_stream(&printed);
    printable_print_shell_word(f, arena_printf(&s->arena, "%s#%s", s->model, key));
    fclose(f);
    char *text = bytes_take_text(&printed);
    const char *result = arena_copy_text(&s->arena, text);
    free(text);
    return result;
}

/* MODEL#model.state_dict (2 tensors: w, ...) */
static const char *format_choice(struct stored_tensors *s, const struct search *search, size_t i)
{
    const struct node *node = &search->nodes[i];
    const struct pickle_value *first = node->first;
    bool is_named = first && first->kind == PICKLE_STRING;
    return arena_printf(&s->arena, "%.300s (%zu tensor%s: %.*s%s)",
                        format_operand(s, format_path(s, search, i)), node->tensors,
                        node->tensors == 1 ? "" : "s", is_named ? limit_length(first->length) : 0,
                        is_named ? first->text : "", node->tensors == 1 ? "" : ", ...");
}

/* Lists the candidates, and the nodes with tensors above the only one. */
static int set_several_error(struct stored_tensors *s, const struct search *search, bool weights,
                             size_t beside, struct error *e)
{
    const char *text = NULL;
    size_t listed = 0;
    for (size_t i = 0; i < search->n; i++) {
        if (!is_candidate(&search->nodes[i], weights) && i != beside)
            continue;
        if (listed++ == MAX_LISTED) {
            text = arena_printf(&s->arena, "%s, ...", text);
            break;
        }
        text = arena_printf(&s->arena, "%s%s%s", text ? text : "", text ? ", " : "",
                            format_choice(s, search, i));
    }
    return error_set(e, "%s contains several dicts of tensors; choose one of %s", s->file, text);
}

/* There is no dict of named tensors. */
static int set_none_error(const struct stored_tensors *s, const struct search *search,
                          const struct pickle_value *whole, struct error *e)
{
    char what[240];
    for (size_t i = 0; i < search->n; i++) {
        const struct node *node = &search->nodes[i];
        if (node->tensors && !node->first)
            return error_set(e, "%s: the tensors are in a list, without names; save them in a dict",
                             s->file);
        if (node->tensors)
            return error_set(e,
                             "%s: the keys of the tensors are %s, not names; save them under "
                             "strings",
                             s->file,
                             node->first->kind == PICKLE_INTEGER ? "numbers"
                             : node->first->kind == PICKLE_BYTES ? "bytes"
                                                                 : "neither strings nor numbers");
    }
    if (!is_container(whole) && whole->kind != PICKLE_OBJECT)
        return error_set(e, "%s contains %s; expected a dict of tensors", s->file,
                         state_dict_describe(whole, what, sizeof what));
    if (search->found_optimizer)
        return error_set(
            e,
            "%s contains the state of an optimizer and no tensors of a model; give the file "
            "with the weights",
            s->file);
    if (search->object)
        return error_set(e,
                         "%s contains %s, which is never called, and no dict of tensors; save the "
                         "state_dict() of the model with torch",
                         s->file, state_dict_describe(search->object, what, sizeof what));
    return error_set(e, "%s contains %s without tensors; expected a dict of named tensors", s->file,
                     state_dict_describe(whole, what, sizeof what));
}

/* The node above i that has tensors itself; i if there is none. */
static size_t find_tensors_above(const struct search *search, size_t i)
{
    for (size_t at = i; at > 0;) {
        at = search->nodes[at].parent;
        if (search->nodes[at].tensors > 0)
            return at;
    }
    return i;
}

static const struct pickle_value *choose(struct stored_tensors *s, const struct search *search,
                                         const struct pickle_value *whole, struct error *e)
{
    size_t found = 0;
    bool weights = count_candidates(search, true, &found) > 0;
    size_t n = count_candidates(search, weights, &found);
    if (n == 0 && whole->kind == PICKLE_DICT && whole->n == 0) {
        s->key = "";
        return whole;
    }
    if (n == 0) {
        set_none_error(s, search, whole, e);
        return NULL;
    }
    size_t beside = find_tensors_above(search, found);
    if (n > 1 || beside != found) {
        set_several_error(s, search, weights, n > 1 ? found : beside, e);
        return NULL;
    }
    s->key = format_path(s, search, found);
    if (*s->key)
        notes_print(s->notes, "%s: reading the dict %.200s, the only one with weights", s->file,
                    s->key);
    return search->nodes[found].v;
}

const struct pickle_value *state_dict_find(struct stored_tensors *s, struct pickle_value *whole,
                                           struct error *e)
{
    struct search search = {0};
    if (s->key)
        return find_by_key(s, whole, e);
    search.object = whole->kind == PICKLE_OBJECT ? whole : NULL;
    add_node(&search, whole, 0, 0);
    for (size_t i = 0; i < search.n; i++)
        visit_node(&search, i);
    const struct pickle_value *found = choose(s, &search, whole, e);
    free(search.nodes);
    return found;
}
