#include "model_source.h"

#include "hash.h"
#include "model_source_fields.h"
#include "printable.h"
#include "tensor_name.h"

#include <stdlib.h>
#include <string.h>

#define TILE 2048 /* elements converted at a time */

/* ---- properties ------------------------------------------------------------------------------ */

int model_source_check_unchanged(const struct model_source *m, struct error *e)
{
    if (!m)
        return 0;
    if (m->deltas)
        return adapter_deltas_check_unchanged(m->deltas, e) ||
                       model_source_check_unchanged(m->base, e)
                   ? -1
                   : 0;
    return m->ckpt ? ckpt_check_unchanged(m->ckpt, e) : saved_stream_check_unchanged(m->saved, e);
}

const char *model_source_name(const struct model_source *m)
{
    return m->name;
}

uint64_t model_source_fingerprint_with_adapter(uint64_t base, uint64_t adapter)
{
    const uint64_t both[] = {base, adapter};
    return XXH3_64bits(both, sizeof both);
}

uint64_t model_source_fingerprint(const struct model_source *m)
{
    if (m->deltas)
        return model_source_fingerprint_with_adapter(
            model_source_fingerprint(m->base),
            ckpt_fingerprint(adapter_deltas_checkpoint(m->deltas)));
    return m->ckpt ? ckpt_fingerprint(m->ckpt) : saved_stream_fingerprint(m->saved);
}

const char *model_source_quantization(const struct model_source *m)
{
    if (m->deltas)
        return model_source_quantization(m->base);
    if (m->ckpt)
        return ckpt_quantization(m->ckpt);
    const struct header *h = saved_stream_header(m->saved);
    return h->n_tensors ? h->models[h->tensors[0].vectors[0].model].quantization : NULL;
}

void model_source_set_identity(const struct model_source *m, struct header *h, size_t model)
{
    const struct hub_model hub = m->ckpt ? ckpt_hub_model(m->ckpt) : (struct hub_model){0};
    struct model *to = &h->models[model];
    if (model_source_is_pipe(m))
        return;
    to->has_fingerprint = true;
    to->fingerprint = model_source_fingerprint(m);
    to->hub = arena_copy_text(&h->arena, hub.name);
    to->commit = arena_copy_text(&h->arena, hub.commit);
    to->quantization = arena_copy_text(&h->arena, model_source_quantization(m));
}

const struct ckpt *model_source_checkpoint(const struct model_source *m)
{
    return m->deltas ? model_source_checkpoint(m->base) : m->ckpt;
}

const struct header *model_source_stream_header(const struct model_source *m)
{
    return m->deltas  ? model_source_stream_header(m->base)
           : m->saved ? saved_stream_header(m->saved)
                      : NULL;
}

bool model_source_brings_history(const struct model_source *m)
{
    return m->saved || m->is_unlinked;
}

int model_source_fill_header(const struct model_source *m, struct header *h, struct error *e)
{
    h->kind = KIND_WEIGHTS;
    if (header_add_model(h, m->name, NULL, e) < 0)
        return -1;
    h->n_tensors = model_source_tensor_count(m);
    h->tensors = arena_alloc(&h->arena, h->n_tensors, sizeof *h->tensors);
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct ckpt_tensor *from = model_source_tensor(m, i);
        struct vector v = vector_with_defaults(0, from->name, from->dtype, from->file_dtype);
        struct tensor t = {.name = from->name,
                           .rank = from->rank,
                           .shape = from->shape,
                           .n_vectors = 1,
                           .vectors = &v,
                           .input_index = i};
        h->tensors[i] = tensor_copy(&h->arena, &t);
    }
    return 0;
}

/* ---- tensors ------------------------------------------------------------------------------ */

static int compare_listed_tensor_names(const void *a, const void *b)
{
    const struct listed_tensor *x = a, *y = b;
    return strcmp(x->tensor.name, y->tensor.name);
}

void model_source_set_tensors(struct model_source *m, struct listed_tensor *listed, size_t n)
{
    qsort(listed, n, sizeof *listed, compare_listed_tensor_names);
    free(m->tensors);
    free(m->stored_indexes);
    m->n = n;
    m->tensors = mem_alloc(n, sizeof *m->tensors);
    m->stored_indexes = mem_alloc(n, sizeof *m->stored_indexes);
    for (size_t i = 0; i < n; i++) {
        m->tensors[i] = listed[i].tensor;
        m->stored_indexes[i] = listed[i].stored_index;
    }
}

size_t model_source_tensor_count(const struct model_source *m)
{
    return m->tensors ? m->n : ckpt_tensor_count(m->ckpt);
}

const struct ckpt_tensor *model_source_tensor(const struct model_source *m, size_t i)
{
    return m->tensors ? &m->tensors[i] : ckpt_tensor(m->ckpt, i);
}

/* The index in the checkpoint, the saved stream or the base. */
static size_t stored_index(const struct model_source *m, size_t i)
{
    return m->tensors ? m->stored_indexes[i] : i;
}

/* NULL if the tensor is stored. */
static const struct computed_tensor *find_computed_tensor(const struct model_source *m, size_t i)
{
    return m->computed && i < m->n && m->computed[i].read ? &m->computed[i] : NULL;
}

static bool is_computed_tensor(const struct model_source *m, size_t i)
{
    return find_computed_tensor(m, i) != NULL;
}

const char *model_source_stored_name(const struct model_source *m, size_t i)
{
    if (find_computed_tensor(m, i))
        return m->tensors[i].name;
    if (m->deltas)
        return model_source_stored_name(m->base, stored_index(m, i));
    return m->ckpt ? ckpt_tensor(m->ckpt, stored_index(m, i))->name
                   : saved_stream_header(m->saved)->tensors[stored_index(m, i)].name;
}

static int compare_name_with_tensor(const void *name, const void *tensor)
{
    return strcmp(name, ((const struct ckpt_tensor *)tensor)->name);
}

long model_source_find_tensor(const struct model_source *m, const char *name)
{
    if (!m->tensors)
        return ckpt_find_tensor(m->ckpt, name);
    const struct ckpt_tensor *t =
        bsearch(name, m->tensors, m->n, sizeof *t, compare_name_with_tensor);
    return t ? t - m->tensors : -1;
}

/* ---- layer stacks ---------------------------------------------------------------------------- */

long model_source_count_layers(const struct model_source *m, const char *prefix, size_t length)
{
    const struct selected_layers *s = &m->selected;
    long last = -1;
    if (s->prefix && s->length == length && strncmp(s->prefix, prefix, length) == 0)
        return s->total;
    for (size_t i = 0; i < model_source_tensor_count(m); i++) {
        long layer = tensor_name_layer_in_stack(model_source_tensor(m, i)->name, prefix, length);
        last = layer > last ? layer : last;
    }
    return last + 1;
}

const char *model_source_find_text_stack(const struct model_source *m, long layers, size_t *length)
{
    const char *previous = NULL, *found = NULL;
    size_t previous_length = 0, own;
    for (size_t i = 0; i < model_source_tensor_count(m); i++) {
        const char *name = model_source_tensor(m, i)->name;
        /* In sorted order the tensors of a stack are adjacent. */
        if (tensor_name_layer(name, &own) < 0 ||
            (previous && tensor_name_layer_in_stack(name, previous, previous_length) >= 0))
            continue;
        previous = name;
        previous_length = own;
        if (layers && model_source_count_layers(m, name, own) != layers)
            continue;
        if (found && tensor_name_is_vision_or_audio(found) <= tensor_name_is_vision_or_audio(name))
            continue;
        found = name;
        *length = own;
    }
    return found;
}

/* The name with its layer number, at `length`, replaced. */
static const char *replace_layer_number(struct model_source *m, const char *name, size_t length,
                                        long layer)
{
    const char *suffix = name + length + strspn(name + length, "0123456789");
    return arena_printf(&m->arena, "%.*s%ld%s", (int)length, name, layer, suffix);
}

void model_source_select_layers(struct model_source *m, const struct selected_layers *layers)
{
    struct listed_tensor *listed = mem_alloc(model_source_tensor_count(m), sizeof *listed);
    long total = model_source_count_layers(m, layers->prefix, layers->length);
    size_t n = 0;
    for (size_t i = 0; i < model_source_tensor_count(m); i++) {
        struct ckpt_tensor t = *model_source_tensor(m, i);
        long layer = tensor_name_layer_in_stack(t.name, layers->prefix, layers->length);
        if (layer >= 0 && (layer < layers->from || layer >= layers->to))
            continue;
        if (layer >= 0 && layers->first_number != layers->from)
            t.name = replace_layer_number(m, t.name, layers->length,
                                          layer - layers->from + layers->first_number);
        listed[n++] = (struct listed_tensor){t, stored_index(m, i)};
    }
    m->selected = *layers;
    m->selected.prefix = arena_copy_text_n(&m->arena, layers->prefix, layers->length);
    m->selected.total = total;
    model_source_set_tensors(m, listed, n);
    free(listed);
}

const struct selected_layers *model_source_selected_layers(const struct model_source *m)
{
    return m->selected.prefix ? &m->selected : NULL;
}

/* ---- tensors that are computed from those of models ------------------------------------------ */

static struct ckpt_tensor describe_computed_tensor(struct model_source *m,
                                                   const struct computed_tensor *c)
{
    const struct ckpt_tensor *from = model_source_tensor(m, c->from);
    uint64_t *shape = arena_alloc(&m->arena, 2, sizeof *shape);
    shape[0] = c->rows;
    shape[1] = from->shape[1];
    return (struct ckpt_tensor){.name = c->name,
                                .dtype = c->dtype,
                                .file_dtype = from->file_dtype,
                                .rank = 2,
                                .shape = shape,
                                .elements = shape[0] * shape[1]};
}

static bool is_replaced(const char *name, size_t n, const struct computed_tensor *computed)
{
    bool replaced = false;
    for (size_t i = 0; i < n; i++)
        replaced |= strcmp(computed[i].name, name) == 0;
    return replaced;
}

/* Appends the tensors that others are computed from, which only functions on elements read. */
static void append_hidden_tensors(struct model_source *m, size_t n, const struct ckpt_tensor *from,
                                  const size_t *from_stored, size_t *stored)
{
    m->tensors = mem_resize(m->tensors, m->n + n, sizeof *m->tensors);
    m->stored_indexes = mem_resize(m->stored_indexes, m->n + n, sizeof *m->stored_indexes);
    for (size_t i = 0; i < n; i++) {
        stored[i] = m->n + i;
        m->tensors[stored[i]] = from[i];
        m->stored_indexes[stored[i]] = from_stored[i];
    }
}

void model_source_set_computed_tensors(struct model_source *m, size_t n,
                                       const struct computed_tensor *computed, size_t *stored)
{
    size_t count = model_source_tensor_count(m), listed_count = 0;
    struct listed_tensor *listed = mem_alloc(count + n, sizeof *listed);
    struct ckpt_tensor *from = mem_alloc(n, sizeof *from);
    size_t *from_stored = mem_alloc(n, sizeof *from_stored);
    for (size_t i = 0; i < count; i++)
        if (!is_replaced(model_source_tensor(m, i)->name, n, computed))
            listed[listed_count++] =
                (struct listed_tensor){*model_source_tensor(m, i), stored_index(m, i)};
    for (size_t i = 0; i < n; i++) {
        from[i] = *model_source_tensor(m, computed[i].from);
        from_stored[i] = stored_index(m, computed[i].from);
        listed[listed_count++] =
            (struct listed_tensor){describe_computed_tensor(m, &computed[i]), from_stored[i]};
    }
    model_source_set_tensors(m, listed, listed_count);
    append_hidden_tensors(m, n, from, from_stored, stored);
    m->computed = mem_alloc(m->n, sizeof *m->computed);
    for (size_t i = 0; i < n; i++)
        m->computed[model_source_find_tensor(m, computed[i].name)] = computed[i];
    free(listed);
    free(from);
    free(from_stored);
}

/* ---- models with an adapter ------------------------------------------------------------------ */

const struct ckpt *model_source_adapter_of(const struct model_source *m,
                                           const struct model_source *base)
{
    if (!m->deltas || m == base)
        return NULL;
    bool is_same = (m->base->ckpt && m->base->ckpt == base->ckpt) ||
                   (m->base->saved && m->base->saved == base->saved) ||
                   (!model_source_is_pipe(base) &&
                    model_source_fingerprint(m->base) == model_source_fingerprint(base));
    return is_same ? adapter_deltas_checkpoint(m->deltas) : NULL;
}

bool model_source_is_adapted(const struct model_source *m, size_t i)
{
    return m->deltas && !find_computed_tensor(m, i) &&
           adapter_deltas_change(m->deltas, stored_index(m, i));
}

void model_source_read_delta(const struct model_source *m, size_t i, size_t first, size_t n,
                             float *to)
{
    adapter_deltas_read(m->deltas, stored_index(m, i), first, n, to);
}

uint64_t model_source_hash_delta(const struct model_source *m, size_t i)
{
    return adapter_deltas_hash(m->deltas, stored_index(m, i));
}

/* The sum of the base and what the adapter adds, in F64. The caller frees. */
static double *read_sum(const struct model_source *m, size_t i, size_t first, size_t n)
{
    double *sum = mem_alloc_aligned(n * sizeof *sum);
    adapter_deltas_read_sum(m->deltas, stored_index(m, i), first, n, sum);
    return sum;
}

static void read_sum_as(const struct model_source *m, size_t i, size_t first, size_t n,
                        enum dtype as, void *to)
{
    double *sum = read_sum(m, i, first, n);
    dtype_from_f64(as, sum, to, n);
    free(sum);
}

/* ---- pipes ----------------------------------------------------------------------------------- */

bool model_source_is_pipe(const struct model_source *m)
{
    return m->ckpt && ckpt_is_pipe(m->ckpt);
}

int model_source_copy_pipe(struct model_source *m, const char *spool, const char *tool,
                           const char *reason, struct error *e)
{
    if (ckpt_copy_pipe(m->ckpt, spool, e))
        return -1;
    for (size_t i = 0; m->tensors && i < m->n; i++)
        m->tensors[i].data = ckpt_tensor(m->ckpt, m->stored_indexes[i])->data;
    printable_note(tool, "copied standard input to a temporary file, because %s", reason);
    return 0;
}

/* ---- elements ------------------------------------------------------------------------------ */

uint64_t model_source_pipe_offset(const struct model_source *m, size_t i)
{
    return ckpt_pipe_offset(m->ckpt, stored_index(m, i));
}

int model_source_load(const struct model_source *m, size_t i, size_t first, size_t n,
                      struct error *e)
{
    return m->ckpt ? ckpt_load_elements(m->ckpt, stored_index(m, i), first, n, e) : 0;
}

void model_source_read_stored(const struct model_source *m, size_t i, size_t first, size_t n,
                              void *to)
{
    const struct computed_tensor *c = find_computed_tensor(m, i);
    if (c)
        c->read(c->state, first, n, to);
    else if (model_source_is_adapted(m, i))
        read_sum_as(m, i, first, n, model_source_tensor(m, i)->dtype, to);
    else if (m->deltas)
        model_source_read_stored(m->base, stored_index(m, i), first, n, to);
    else if (m->ckpt)
        ckpt_read_elements(m->ckpt, stored_index(m, i), first, n, to);
    else
        saved_stream_read_elements(m->saved, stored_index(m, i), 0, first, n, to);
}

/* n stored elements: mapped bytes where there are any, else a copy in `buffer`. */
static const void *get_mapped_or_read_elements(const struct model_source *m, size_t i, size_t first,
                                               size_t n, void *buffer)
{
    const struct ckpt_tensor *t = model_source_tensor(m, i);
    if (t->data)
        return t->data + first * dtype_bits(t->dtype) / 8;
    model_source_read_stored(m, i, first, n, buffer);
    return buffer;
}

void model_source_read_f32(const struct model_source *m, size_t i, size_t first, size_t n,
                           enum dtype rounding, float *to)
{
    enum dtype d = model_source_tensor(m, i)->dtype;
    double buffer[TILE];
    float rounded[TILE];
    if (model_source_is_adapted(m, i)) {
        double *sum = read_sum(m, i, first, n);
        enum dtype as = rounding == DTYPE_NONE ? DTYPE_F32 : rounding;
        for (size_t done = 0; done < n; done += TILE) {
            size_t count = n - done < TILE ? n - done : TILE;
            dtype_from_f64(as, sum + done, buffer, count);
            dtype_to_f32(as, buffer, to + done, count);
        }
        free(sum);
        return;
    }
    if (d == DTYPE_F32) {
        model_source_read_stored(m, i, first, n, to);
        if (rounding != DTYPE_NONE)
            dtype_round_f32_to_precision(rounding, to, n);
        return;
    }
    for (size_t done = 0; done < n; done += TILE) {
        size_t count = n - done < TILE ? n - done : TILE;
        const void *from = get_mapped_or_read_elements(m, i, first + done, count, buffer);
        if (d == DTYPE_F64 && rounding != DTYPE_NONE) { /* rounded once, not by way of F32 */
            dtype_to_f64(d, from, buffer, count);
            dtype_from_f64(rounding, buffer, rounded, count);
            dtype_to_f32(rounding, rounded, to + done, count);
            continue;
        }
        dtype_to_f32(d, from, to + done, count);
        if (rounding != DTYPE_NONE && rounding != d)
            dtype_round_f32_to_precision(rounding, to + done, count);
    }
}

void model_source_read_f64(const struct model_source *m, size_t i, size_t first, size_t n,
                           enum dtype rounding, double *to)
{
    enum dtype d = model_source_tensor(m, i)->dtype;
    double buffer[TILE];
    bool is_adapted = model_source_is_adapted(m, i);
    if (is_adapted)
        adapter_deltas_read_sum(m->deltas, stored_index(m, i), first, n, to);
    for (size_t done = 0; done < n; done += TILE) {
        size_t count = n - done < TILE ? n - done : TILE;
        if (!is_adapted)
            dtype_to_f64(d, get_mapped_or_read_elements(m, i, first + done, count, buffer),
                         to + done, count);
        if (rounding != DTYPE_NONE && (is_adapted || rounding != d)) {
            dtype_from_f64(rounding, to + done, buffer, count);
            dtype_to_f64(rounding, buffer, to + done, count);
        }
    }
}

uint64_t model_source_hash_elements(const struct model_source *m, size_t i, size_t first, size_t n)
{
    size_t size = dtype_bytes(model_source_tensor(m, i)->dtype, n);
    bool is_computed = is_computed_tensor(m, i);
    if (m->deltas && !is_computed) {
        uint64_t both[] = {model_source_hash_elements(m->base, stored_index(m, i), first, n),
                           model_source_is_adapted(m, i) ? model_source_hash_delta(m, i) : 0};
        return both[1] ? XXH3_64bits(both, sizeof both) : both[0];
    }
    if (m->ckpt && !is_computed)
        return ckpt_hash_elements(m->ckpt, stored_index(m, i), first, n);
    void *bytes = mem_alloc(size, 1);
    model_source_read_stored(m, i, first, n, bytes);
    uint64_t hash = XXH3_64bits(bytes, size);
    free(bytes);
    return hash;
}

void model_source_release_pages(const struct model_source *m, size_t i, size_t first, size_t n)
{
    if (is_computed_tensor(m, i))
        return;
    if (m->deltas)
        model_source_release_pages(m->base, stored_index(m, i), first, n);
    else if (m->ckpt)
        ckpt_release_pages(m->ckpt, stored_index(m, i), first, n);
}
