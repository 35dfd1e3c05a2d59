#include "model_weights.h"

#include "name_scheme.h"
#include "mapped_file.h"
#include "parallel_for.h"

#include <stdlib.h>
#include <string.h>

#define PIECE 65536 /* elements that a thread widens at a time */

struct model_weights {
    struct model_source *input;
    struct arch arch;
    struct weight_source weights;
    long *tensors;   /* [weight_kind_index]; -1: none */
    size_t *offsets; /* [weight_kind_index]: the element at which the part begins in its tensor */
    float *layer;    /* the one that is held, NULL until one is asked for */
};

const struct arch *model_weights_arch(const struct model_weights *b)
{
    return &b->arch;
}

const struct model_source *model_weights_model_source(const struct model_weights *b)
{
    return b->input;
}

const struct weight_source *model_weights_weight_source(const struct model_weights *b)
{
    return &b->weights;
}

/* ---- config.json ----------------------------------------------------------------------------- */

/* The text of the config; the caller frees. */
static char *config_text(const struct model_weights *b, const char *config, const char *spool,
                         size_t *size, struct error *e)
{
    const struct ckpt *ckpt = model_source_checkpoint(b->input);
    struct mapped_file m;
    if (!config) {
        char *text = ckpt ? ckpt_read_auxiliary_file(ckpt, "config.json", size) : NULL;
        if (!text)
            error_set(e,
                      "%s has no config.json, which says how to compute with it (--config names "
                      "one)",
                      model_source_name(b->input));
        return text;
    }
    if (mapped_file_open(&m, config, spool, NULL, e))
        return NULL;
    char *text = mem_alloc(m.size + 1, 1);
    if (m.size)
        memcpy(text, m.bytes, m.size);
    *size = m.size;
    mapped_file_close(&m);
    return text;
}

static int read_config(struct model_weights *b, const char *config, const char *spool,
                       const char *tool, struct error *e)
{
    size_t size;
    bool twice;
    struct arena a = {0};
    char *text = config_text(b, config, spool, &size, e);
    const char *file =
        config ? config : arena_printf(&a, "config.json of %s", model_source_name(b->input));
    int failed = !text || arch_config_read(&b->arch, file, text, size, &twice, e);
    if (!failed && twice)
        fprintf(stderr, "%s: warning: %s has a key twice; the last one counts\n", tool, file);
    free(text);
    arena_free(&a);
    return failed ? -1 : 0;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static long *slot(const struct model_weights *b, enum weight_kind part, size_t layer)
{
    return &b->tensors[weight_kind_index(&b->arch, part, layer)];
}

static int check_tensor(const struct model_weights *b, const struct ckpt_tensor *t, size_t rank,
                        const uint64_t *shape, struct error *e)
{
    if (!dtype_is_float(t->dtype))
        return error_set(e, "tensor %s of %s is %s; F16, BF16, F32 and F64 can be computed with",
                         t->name, model_source_name(b->input), dtype_name(t->dtype));
    if (t->rank == rank && memcmp(t->shape, shape, rank * sizeof *shape) == 0)
        return 0;
    struct arena a = {0};
    error_set(e, "tensor %s of %s is %s, but by config.json it is %s", t->name,
              model_source_name(b->input), tensor_format_shape(&a, t->rank, t->shape),
              tensor_format_shape(&a, rank, shape));
    arena_free(&a);
    return -1;
}

/* Towers have q, k and v apart, or one below the other in a tensor. */
static long find_fused(const struct model_weights *b, enum weight_kind part, size_t layer)
{
    bool weight = part >= WEIGHT_VISION_Q && part <= WEIGHT_VISION_V;
    char name[96];
    if (!weight && (part < WEIGHT_VISION_Q_BIAS || part > WEIGHT_VISION_V_BIAS))
        return -1;
    snprintf(name, sizeof name, "vision.layers.%zu.attn.qkv.%s", layer, weight ? "weight" : "bias");
    b->offsets[weight_kind_index(&b->arch, part, layer)] =
        (part - (weight ? WEIGHT_VISION_Q : WEIGHT_VISION_Q_BIAS)) *
        weight_kind_elements(&b->arch, part);
    return name_scheme_find_tensor(b->input, name);
}

static int find_part(struct model_weights *b, enum weight_kind part, size_t layer, struct error *e)
{
    uint64_t shape[WEIGHT_KIND_MAX_RANK];
    char plain[96], name[NAME_SCHEME_MAX_NAME];
    long *at = slot(b, part, layer);
    *at = -1;
    if (!weight_kind_elements(&b->arch, part))
        return 0;
    size_t rank = weight_kind_file_shape(&b->arch, part, shape);
    *at = name_scheme_find_tensor(b->input, weight_kind_name(part, layer, plain));
    if (*at < 0 && part == WEIGHT_LM_HEAD && b->arch.tied_embeddings)
        *at = *slot(b, WEIGHT_EMBEDDING, 0);
    if (*at < 0 && (*at = find_fused(b, part, layer)) >= 0)
        shape[0] *= 3;
    if (*at < 0) {
        bool spelled = name_scheme_from_canonical(name_scheme_detect(b->input), plain, name);
        return error_set(e, "%s has no tensor %s, which a %s model of %zu layers needs",
                         model_source_name(b->input), spelled ? name : plain, b->arch.architecture,
                         b->arch.layers);
    }
    return check_tensor(b, model_source_tensor(b->input, (size_t)*at), rank, shape, e);
}

/* Does a tensor that nobody computes with make another model than the file's? */
static bool is_missed(const struct model_weights *b, const char *name)
{
    static const char *const rooms[] = {"text.", "vision.", "projector."};
    char plain[NAME_SCHEME_MAX_NAME];
    if (strstr(name, "rotary_emb.inv_freq"))
        return false;
    if (b->arch.vision.kind != VISION_NONE || !name_scheme_to_canonical(name, plain))
        return true;
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        if (strncmp(plain, rooms[i], strlen(rooms[i])) == 0)
            return true;
    return false;
}

static int check_rest(const struct model_weights *b, const bool *used, struct error *e)
{
    for (size_t i = 0; i < model_source_tensor_count(b->input); i++) {
        const char *name = model_source_tensor(b->input, i)->name;
        if (!used[i] && is_missed(b, name))
            return error_set(e, "%s has a tensor %s, which a %s model of %zu layers does not",
                             model_source_name(b->input), name, b->arch.architecture,
                             b->arch.layers);
    }
    return 0;
}

static int find_parts(struct model_weights *b, enum weight_kind first, enum weight_kind end,
                      struct error *e)
{
    for (enum weight_kind part = first; part < end; part++)
        for (size_t l = 0; l < weight_kind_layers(&b->arch, part); l++)
            if (find_part(b, part, l, e))
                return -1;
    return 0;
}

static int find_all(struct model_weights *b, struct error *e)
{
    size_t n = weight_kind_index_count(&b->arch);
    b->tensors = mem_alloc(n, sizeof *b->tensors);
    b->offsets = mem_alloc(n, sizeof *b->offsets);
    if (find_parts(b, WEIGHT_DECODER_LAYER_END, WEIGHT_KINDS, e) ||
        find_parts(b, 0, WEIGHT_DECODER_LAYER_END, e))
        return -1;
    bool *used = mem_alloc(model_source_tensor_count(b->input), sizeof *used);
    for (size_t i = 0; i < n; i++)
        if (b->tensors[i] >= 0)
            used[b->tensors[i]] = true;
    int failed = check_rest(b, used, e);
    free(used);
    return failed;
}

long model_weights_tensor_index(const struct model_weights *b, enum weight_kind part, size_t layer)
{
    return *slot(b, part, layer);
}

size_t model_weights_tensor_offset(const struct model_weights *b, enum weight_kind part,
                                   size_t layer)
{
    return b->offsets[weight_kind_index(&b->arch, part, layer)];
}

/* ---- weights --------------------------------------------------------------------------------- */

struct reading {
    const struct model_source *input;
    size_t tensor, first, n;
    float *to;
};

static void read_piece(void *context, size_t piece, size_t member)
{
    const struct reading *r = context;
    size_t done = piece * PIECE;
    model_source_read_f32(r->input, r->tensor, r->first + done,
                          r->n - done < PIECE ? r->n - done : PIECE, DTYPE_NONE, r->to + done);
}

void model_weights_read(const struct model_weights *b, enum weight_kind part, size_t layer,
                        size_t first, size_t n, float *to)
{
    size_t i = (size_t)model_weights_tensor_index(b, part, layer);
    first += model_weights_tensor_offset(b, part, layer);
    parallel_for((n + PIECE - 1) / PIECE, PIECE, read_piece,
                 &(struct reading){b->input, i, first, n, to});
}

/* Elements where they are mapped; NULL if they are not F32, or not aligned. */
static const float *in_place(const struct model_weights *b, enum weight_kind part, size_t layer,
                             size_t first)
{
    const struct ckpt_tensor *t =
        model_source_tensor(b->input, (size_t)model_weights_tensor_index(b, part, layer));
    if (t->dtype != DTYPE_F32 || !t->data || (uintptr_t)t->data % sizeof(float))
        return NULL;
    return (const float *)(const void *)t->data + model_weights_tensor_offset(b, part, layer) +
           first;
}

static int give_layer(void *context, struct weight_range parts, size_t layer,
                      struct layer_weights *w, struct error *e)
{
    struct model_weights *b = context;
    size_t at = 0;
    *w = (struct layer_weights){{0}};
    for (enum weight_kind part = parts.first; part < parts.end; part++) {
        size_t n = weight_kind_elements(&b->arch, part);
        if (!n)
            continue;
        w->at[part] = in_place(b, part, layer, 0);
        if (w->at[part])
            continue;
        if (!b->layer)
            b->layer = mem_alloc_aligned(weight_kind_largest_range(&b->arch) * sizeof *b->layer);
        model_weights_read(b, part, layer, 0, n, b->layer + at);
        w->at[part] = b->layer + at;
        at += n;
    }
    return 0;
}

static const float *give_rows(void *context, enum weight_kind part, size_t first, size_t n,
                              float *to, struct error *e)
{
    const struct model_weights *b = context;
    size_t rows, columns;
    weight_kind_shape(&b->arch, part, &rows, &columns);
    size_t width = columns ? columns : 1;
    const float *mapped = in_place(b, part, 0, first * width);
    if (mapped)
        return mapped;
    model_weights_read(b, part, 0, first * width, n * width, to);
    return to;
}

/* ---- opening --------------------------------------------------------------------------------- */

struct model_weights *model_weights_open(const char *operand, const char *config, const char *spool,
                                         const char *tool, struct error *e)
{
    struct model_weights *b = mem_alloc(1, sizeof *b);
    b->weights = (struct weight_source){b, give_layer, give_rows};
    b->input = model_source_open(operand, spool, tool, e);
    if (b->input && !read_config(b, config, spool, tool, e) && !find_all(b, e))
        return b;
    model_weights_close(b);
    return NULL;
}

void model_weights_release_layer(struct model_weights *b)
{
    free(b->layer);
    b->layer = NULL;
}

void model_weights_close(struct model_weights *b)
{
    if (!b)
        return;
    model_source_close(b->input);
    arch_free(&b->arch);
    free(b->tensors);
    free(b->offsets);
    free(b->layer);
    free(b);
}
