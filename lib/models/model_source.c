#include "model_source.h"

#include "hash.h"
#include "model_name.h"
#include "tensor_name.h"
#include "saved_stream.h"

#include <stdlib.h>
#include <string.h>

#define TILE 2048 /* elements converted at a time where a detour over a buffer is needed */

struct model_source {
    char *name;
    struct ckpt *ckpt;
    struct saved_stream *saved;
    size_t n;
    struct ckpt_tensor *tensors; /* sorted; NULL: those of the whole checkpoint */
    size_t *places;              /* their positions in checkpoint or saved stream */
    struct model_source_select_layers cut;
    struct arena arena; /* of the names after a cut */
};

/* ---- opening ------------------------------------------------------------------------------ */

struct named {
    struct ckpt_tensor tensor;
    size_t place;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->tensor.name, ((const struct named *)b)->tensor.name);
}

/* Makes these the input's tensors. */
static void set_tensors(struct model_source *in, struct named *named, size_t n)
{
    qsort(named, n, sizeof *named, by_name);
    free(in->tensors);
    free(in->places);
    in->n = n;
    in->tensors = mem_alloc(n, sizeof *in->tensors);
    in->places = mem_alloc(n, sizeof *in->places);
    for (size_t i = 0; i < n; i++) {
        in->tensors[i] = named[i].tensor;
        in->places[i] = named[i].place;
    }
}

static void list_saved(struct model_source *in)
{
    const struct header *h = saved_stream_header(in->saved);
    struct named *named = mem_alloc(h->n_tensors, sizeof *named);
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        named[i] = (struct named){{.name = t->name,
                                   .dtype = t->vectors[0].dtype,
                                   .rank = t->rank,
                                   .shape = t->shape,
                                   .elements = tensor_elements(t)},
                                  i};
    }
    set_tensors(in, named, h->n_tensors);
    free(named);
}

const char *model_source_path_of_operand(const char *operand)
{
    const char *equals = strchr(operand, '=');
    const char *slash = strchr(operand, '/');
    return equals && equals > operand && (!slash || slash > equals) ? equals + 1 : operand;
}

struct model_source *model_source_open(const char *operand, const char *spool, const char *tool,
                                       struct error *e)
{
    const char *path = model_source_path_of_operand(operand);
    int is_checkpoint = ckpt_is_checkpoint(path, e);
    if (is_checkpoint < 0)
        return NULL;
    struct model_source *in = mem_alloc(1, sizeof *in);
    if (is_checkpoint) {
        char *notes = NULL;
        size_t size;
        FILE *f = open_memstream(&notes, &size);
        in->ckpt = ckpt_open(path, spool, f, e);
        fclose(f);
        for (char *line = strtok(notes, "\n"); line; line = strtok(NULL, "\n"))
            fprintf(stderr, "%s: note: %s\n", tool, line);
        free(notes);
    } else if ((in->saved = saved_stream_open(path, spool, true, e))) {
        list_saved(in);
    }
    in->name = path == operand ? model_name_from_path(path)
                               : strndup(operand, (size_t)(path - operand) - 1);
    if (in->ckpt || in->saved)
        return in;
    model_source_close(in);
    return NULL;
}

void model_source_close(struct model_source *in)
{
    if (!in)
        return;
    ckpt_close(in->ckpt);
    saved_stream_close(in->saved);
    free(in->tensors);
    free(in->places);
    free(in->name);
    arena_free(&in->arena);
    free(in);
}

const char *model_source_name(const struct model_source *in)
{
    return in->name;
}

uint64_t model_source_fingerprint(const struct model_source *in)
{
    return in->ckpt ? ckpt_fingerprint(in->ckpt) : saved_stream_fingerprint(in->saved);
}

const struct ckpt *model_source_checkpoint(const struct model_source *in)
{
    return in->ckpt;
}

/* ---- tensors ------------------------------------------------------------------------------ */

size_t model_source_tensor_count(const struct model_source *in)
{
    return in->tensors ? in->n : ckpt_tensor_count(in->ckpt);
}

const struct ckpt_tensor *model_source_tensor(const struct model_source *in, size_t i)
{
    return in->tensors ? &in->tensors[i] : ckpt_tensor(in->ckpt, i);
}

/* Its position in the checkpoint or saved stream. */
static size_t place(const struct model_source *in, size_t i)
{
    return in->tensors ? in->places[i] : i;
}

const char *model_source_stored_name(const struct model_source *in, size_t i)
{
    return in->ckpt ? ckpt_tensor(in->ckpt, place(in, i))->name
                    : saved_stream_header(in->saved)->tensors[place(in, i)].name;
}

static int compare_name(const void *name, const void *tensor)
{
    return strcmp(name, ((const struct ckpt_tensor *)tensor)->name);
}

long model_source_find_tensor(const struct model_source *in, const char *name)
{
    if (!in->tensors)
        return ckpt_find_tensor(in->ckpt, name);
    const struct ckpt_tensor *t = bsearch(name, in->tensors, in->n, sizeof *t, compare_name);
    return t ? t - in->tensors : -1;
}

/* ---- stacks of layers ------------------------------------------------------------------------ */

long model_source_count_layers(const struct model_source *in, const char *stack, size_t length)
{
    const struct model_source_select_layers *cut = &in->cut;
    long last = -1;
    if (cut->stack && cut->length == length && strncmp(cut->stack, stack, length) == 0)
        return cut->whole;
    for (size_t i = 0; i < model_source_tensor_count(in); i++) {
        long layer = tensor_name_layer_in_stack(model_source_tensor(in, i)->name, stack, length);
        last = layer > last ? layer : last;
    }
    return last + 1;
}

const char *model_source_find_text_stack(const struct model_source *in, long layers, size_t *length)
{
    const char *previous = NULL, *found = NULL;
    size_t previous_length = 0, own;
    for (size_t i = 0; i < model_source_tensor_count(in); i++) {
        const char *name = model_source_tensor(in, i)->name;
        /* Sorted names keep a stack's tensors together. */
        if (tensor_name_layer(name, &own) < 0 ||
            (previous && tensor_name_layer_in_stack(name, previous, previous_length) >= 0))
            continue;
        previous = name;
        previous_length = own;
        if (layers && model_source_count_layers(in, name, own) != layers)
            continue;
        if (found && tensor_name_is_vision_or_audio(found) <= tensor_name_is_vision_or_audio(name))
            continue;
        found = name;
        *length = own;
    }
    return found;
}

void model_source_select_layers(struct model_source *in, const char *stack, size_t length,
                                long from, long to, long first)
{
    struct named *named = mem_alloc(model_source_tensor_count(in), sizeof *named);
    long whole = model_source_count_layers(in, stack, length);
    size_t n = 0;
    for (size_t i = 0; i < model_source_tensor_count(in); i++) {
        struct ckpt_tensor t = *model_source_tensor(in, i);
        long layer = tensor_name_layer_in_stack(t.name, stack, length);
        if (layer >= 0 && (layer < from || layer >= to))
            continue;
        if (layer >= 0 && first != from) {
            const char *rest = t.name + length + strspn(t.name + length, "0123456789");
            t.name = arena_printf(&in->arena, "%.*s%ld%s", (int)length, t.name,
                                  layer - from + first, rest);
        }
        named[n++] = (struct named){t, place(in, i)};
    }
    in->cut =
        (struct model_source_select_layers){.stack = arena_copy_text_n(&in->arena, stack, length),
                                            .length = length,
                                            .whole = whole,
                                            .from = from,
                                            .to = to,
                                            .first = first};
    set_tensors(in, named, n);
    free(named);
}

const struct model_source_select_layers *model_source_selected_layers(const struct model_source *in)
{
    return in->cut.stack ? &in->cut : NULL;
}

/* ---- elements ------------------------------------------------------------------------------ */

void model_source_read_stored(const struct model_source *in, size_t i, size_t first, size_t n,
                              void *to)
{
    if (in->ckpt)
        ckpt_read_elements(in->ckpt, place(in, i), first, n, to);
    else
        saved_stream_read(in->saved, place(in, i), 0, first, n, to);
}

/* n stored elements: in place where they are mapped, else through `buffer`. */
static const void *stored(const struct model_source *in, size_t i, size_t first, size_t n,
                          void *buffer)
{
    const struct ckpt_tensor *t = model_source_tensor(in, i);
    if (t->data)
        return t->data + first * dtype_bits(t->dtype) / 8;
    model_source_read_stored(in, i, first, n, buffer);
    return buffer;
}

void model_source_read_f32(const struct model_source *in, size_t i, size_t first, size_t n,
                           enum dtype rounding, float *to)
{
    enum dtype d = model_source_tensor(in, i)->dtype;
    double buffer[TILE];
    float rounded[TILE];
    for (size_t done = 0; done < n; done += TILE) {
        size_t m = n - done < TILE ? n - done : TILE;
        const void *from = stored(in, i, first + done, m, buffer);
        if (d == DTYPE_F64 && rounding != DTYPE_NONE) { /* rounded once, not over F32 */
            dtype_to_f64(d, from, buffer, m);
            dtype_from_f64(rounding, buffer, rounded, m);
            dtype_to_f32(rounding, rounded, to + done, m);
            continue;
        }
        dtype_to_f32(d, from, to + done, m);
        if (rounding != DTYPE_NONE && rounding != d)
            dtype_round_f32(rounding, to + done, m);
    }
}

void model_source_read_f64(const struct model_source *in, size_t i, size_t first, size_t n,
                           enum dtype rounding, double *to)
{
    enum dtype d = model_source_tensor(in, i)->dtype;
    double buffer[TILE];
    for (size_t done = 0; done < n; done += TILE) {
        size_t m = n - done < TILE ? n - done : TILE;
        dtype_to_f64(d, stored(in, i, first + done, m, buffer), to + done, m);
        if (rounding != DTYPE_NONE && rounding != d) {
            dtype_from_f64(rounding, to + done, buffer, m);
            dtype_to_f64(rounding, buffer, to + done, m);
        }
    }
}

uint64_t model_source_hash_elements(const struct model_source *in, size_t i, size_t first, size_t n)
{
    const struct ckpt_tensor *t = model_source_tensor(in, i);
    size_t size = dtype_bytes(t->dtype, n);
    if (t->data)
        return XXH3_64bits(t->data + first * dtype_bits(t->dtype) / 8, size);
    void *bytes = mem_alloc(size, 1);
    model_source_read_stored(in, i, first, n, bytes);
    uint64_t hash = XXH3_64bits(bytes, size);
    free(bytes);
    return hash;
}

void model_source_release_pages(const struct model_source *in, size_t i, size_t first, size_t n)
{
    if (in->ckpt)
        ckpt_release_pages(in->ckpt, place(in, i), first, n);
}
