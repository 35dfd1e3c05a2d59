#include "model_weights.h"

#include "arch_config.h"
#include "hash.h"
#include "mapped_file.h"
#include "name_scheme.h"
#include "parallel_for.h"
#include "printable.h"

#include <stdlib.h>
#include <string.h>

#define TILE 65536 /* elements that a thread converts at a time */

struct model_weights {
    struct model_source *file;
    struct arch arch;
    char *config; /* the text of config.json */
    size_t config_size;
    uint64_t config_hash; /* of the file with --config */
    struct weight_source source;
    long *tensors;   /* [weight_kind_index]: index in the file; -1: none */
    size_t *offsets; /* [weight_kind_index]: the weight's first element in its tensor */
    float *layer;    /* the current layer; NULL until one is loaded */
};

const struct arch *model_weights_arch(const struct model_weights *m)
{
    return &m->arch;
}

uint64_t model_weights_config_hash(const struct model_weights *m)
{
    return m->config_hash;
}

const struct model_source *model_weights_model_source(const struct model_weights *m)
{
    return m->file;
}

const struct weight_source *model_weights_weight_source(const struct model_weights *m)
{
    return &m->source;
}

/* ---- config.json ----------------------------------------------------------------------------- */

/* The text of the model's own config.json; the caller frees it. */
static char *read_own_config_json(const struct model_weights *m, size_t *size, struct error *e)
{
    const struct ckpt *ckpt = model_source_checkpoint(m->file);
    char *text = NULL;
    int found = ckpt ? ckpt_read_auxiliary_file(ckpt, "config.json", &text, size, e) : 0;
    if (found == 0)
        error_set(e, "%s has no config.json; give one with --config", model_source_name(m->file));
    return text;
}

static char *read_text_file(const char *path, const char *spool, size_t *size, struct error *e)
{
    struct mapped_file f;
    if (mapped_file_open(&f, path, spool, NULL, e))
        return NULL;
    char *text = mem_alloc(f.size + 1, 1);
    if (f.size)
        memcpy(text, f.bytes, f.size);
    *size = f.size;
    int failed = mapped_file_check_unchanged(&f, path, e);
    mapped_file_close(&f);
    if (!failed)
        return text;
    free(text);
    return NULL;
}

/* Reads the config that the file `file` of messages contains. */
static int parse_config(struct model_weights *m, const char *file, const char *tool,
                        struct error *e)
{
    bool duplicates;
    if (arch_config_read(&m->arch, file, m->config, m->config_size, &duplicates, e))
        return -1;
    if (duplicates)
        printable_warning(tool, "%s has duplicate keys; the last one wins", file);
    return 0;
}

static int read_model_config(struct model_weights *m, const char *config, const char *spool,
                             const char *tool, struct error *e)
{
    struct arena a = {0};
    m->config = config ? read_text_file(config, spool, &m->config_size, e)
                       : read_own_config_json(m, &m->config_size, e);
    const char *file =
        config ? config : arena_printf(&a, "config.json of %s", model_source_name(m->file));
    m->config_hash = config && m->config ? XXH3_64bits(m->config, m->config_size) : 0;
    int failed = m->config ? parse_config(m, file, tool, e) : -1;
    arena_free(&a);
    return failed;
}

/* ---- finding tensors ------------------------------------------------------------------------- */

static long *tensor_index_slot(const struct model_weights *m, enum weight_kind kind, size_t layer)
{
    return &m->tensors[weight_kind_index(&m->arch, kind, layer)];
}

static int check_tensor_shape(const struct model_weights *m, const struct ckpt_tensor *t,
                              size_t rank, const uint64_t *shape, struct error *e)
{
    const char *name = model_source_name(m->file);
    if (!dtype_is_float(t->dtype))
        return error_set(e, "tensor %s of %s is %s; expected F16, BF16, F32 or F64", t->name, name,
                         dtype_name(t->dtype));
    if (t->rank == rank && memcmp(t->shape, shape, rank * sizeof *shape) == 0)
        return 0;
    struct arena a = {0};
    error_set(e, "tensor %s of %s has shape %s, but config.json says %s", t->name, name,
              tensor_format_shape(&a, t->rank, t->shape), tensor_format_shape(&a, rank, shape));
    arena_free(&a);
    return -1;
}

/* The tensor with q, k and v of a vision layer one below the other; sets the weight's offset. */
static long find_fused_qkv(const struct model_weights *m, enum weight_kind kind, size_t layer)
{
    bool matrix = kind >= WEIGHT_VISION_Q && kind <= WEIGHT_VISION_V;
    char name[WEIGHT_KIND_NAME_SIZE];
    if (!matrix && (kind < WEIGHT_VISION_Q_BIAS || kind > WEIGHT_VISION_V_BIAS))
        return -1;
    snprintf(name, sizeof name, "vision.layers.%zu.attn.qkv.%s", layer, matrix ? "weight" : "bias");
    m->offsets[weight_kind_index(&m->arch, kind, layer)] =
        (kind - (matrix ? WEIGHT_VISION_Q : WEIGHT_VISION_Q_BIAS)) *
        weight_kind_elements(&m->arch, kind);
    return name_scheme_find_tensor(m->file, name);
}

static int missing_tensor_error(const struct model_weights *m, const char *canonical,
                                struct error *e)
{
    char name[NAME_SCHEME_MAX_NAME];
    bool spelled = name_scheme_from_canonical(name_scheme_detect(m->file), canonical, name);
    return error_set(e, "%s has no tensor %s, which a %s model of %zu layers needs",
                     model_source_name(m->file), spelled ? name : canonical, m->arch.architecture,
                     m->arch.layers);
}

static int find_weight_tensor(struct model_weights *m, enum weight_kind kind, size_t layer,
                              struct error *e)
{
    uint64_t shape[WEIGHT_KIND_MAX_RANK];
    char canonical[WEIGHT_KIND_NAME_SIZE];
    long *tensor = tensor_index_slot(m, kind, layer);
    *tensor = -1;
    if (!weight_kind_elements(&m->arch, kind))
        return 0;
    size_t rank = weight_kind_file_shape(&m->arch, kind, shape);
    *tensor = name_scheme_find_tensor(m->file, weight_kind_name(kind, layer, canonical));
    if (*tensor < 0 && kind == WEIGHT_LM_HEAD && m->arch.tied_embeddings)
        *tensor = *tensor_index_slot(m, WEIGHT_EMBEDDING, 0);
    if (*tensor < 0 && (*tensor = find_fused_qkv(m, kind, layer)) >= 0)
        shape[0] *= 3;
    if (*tensor < 0)
        return missing_tensor_error(m, canonical, e);
    return check_tensor_shape(m, model_source_tensor(m->file, (size_t)*tensor), rank, shape, e);
}

static int find_weight_tensors(struct model_weights *m, enum weight_kind first,
                               enum weight_kind end, struct error *e)
{
    for (enum weight_kind kind = first; kind < end; kind++)
        for (size_t l = 0; l < weight_kind_layers(&m->arch, kind); l++)
            if (find_weight_tensor(m, kind, l, e))
                return -1;
    return 0;
}

/* Unused tensors mean that the model is not what config.json says, except RoPE's frequencies and,
 * in a text model, further tensors of the LM head. */
static bool is_unexpected_tensor(const struct model_weights *m, const char *name)
{
    static const char *const prefixes[] = {"text.", "vision.", "projector."};
    char canonical[NAME_SCHEME_MAX_NAME];
    if (strstr(name, "rotary_emb.inv_freq"))
        return false;
    if (m->arch.vision.kind != VISION_NONE || !name_scheme_to_canonical(name, canonical))
        return true;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(canonical, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

static int check_unused_tensors(const struct model_weights *m, const bool *used, struct error *e)
{
    for (size_t i = 0; i < model_source_tensor_count(m->file); i++) {
        const char *name = model_source_tensor(m->file, i)->name;
        if (!used[i] && is_unexpected_tensor(m, name))
            return error_set(e, "%s has a tensor %s, which a %s model of %zu layers does not have",
                             model_source_name(m->file), name, m->arch.architecture,
                             m->arch.layers);
    }
    return 0;
}

static int find_all_weight_tensors(struct model_weights *m, struct error *e)
{
    size_t n = weight_kind_index_count(&m->arch);
    m->tensors = mem_alloc(n, sizeof *m->tensors);
    m->offsets = mem_alloc(n, sizeof *m->offsets);
    if (find_weight_tensors(m, WEIGHT_DECODER_LAYER_END, WEIGHT_KINDS, e) ||
        find_weight_tensors(m, 0, WEIGHT_DECODER_LAYER_END, e))
        return -1;
    bool *used = mem_alloc(model_source_tensor_count(m->file), sizeof *used);
    for (size_t i = 0; i < n; i++)
        if (m->tensors[i] >= 0)
            used[m->tensors[i]] = true;
    int failed = check_unused_tensors(m, used, e);
    free(used);
    return failed;
}

long model_weights_tensor_index(const struct model_weights *m, enum weight_kind kind, size_t layer)
{
    return *tensor_index_slot(m, kind, layer);
}

size_t model_weights_tensor_offset(const struct model_weights *m, enum weight_kind kind,
                                   size_t layer)
{
    return m->offsets[weight_kind_index(&m->arch, kind, layer)];
}

/* ---- reading weights ------------------------------------------------------------------------- */

struct reading {
    const struct model_source *file;
    size_t tensor, first, n;
    float *to;
};

static void read_weight_tile(void *context, size_t tile, size_t thread)
{
    const struct reading *r = context;
    size_t done = tile * TILE;
    model_source_read_f32(r->file, r->tensor, r->first + done,
                          r->n - done < TILE ? r->n - done : TILE, DTYPE_NONE, r->to + done);
}

void model_weights_read(const struct model_weights *m, enum weight_kind kind, size_t layer,
                        size_t first, size_t n, float *to)
{
    size_t tensor = (size_t)model_weights_tensor_index(m, kind, layer);
    first += model_weights_tensor_offset(m, kind, layer);
    parallel_for((n + TILE - 1) / TILE, TILE, read_weight_tile,
                 &(struct reading){m->file, tensor, first, n, to});
}

/* A weight's elements from `first` on where they are mapped; NULL if they are not F32 or not
 * aligned. */
static const float *get_mapped_elements(const struct model_weights *m, enum weight_kind kind,
                                        size_t layer, size_t first)
{
    const struct ckpt_tensor *t =
        model_source_tensor(m->file, (size_t)model_weights_tensor_index(m, kind, layer));
    if (t->dtype != DTYPE_F32 || !t->data || (uintptr_t)t->data % sizeof(float))
        return NULL;
    return (const float *)(const void *)t->data + model_weights_tensor_offset(m, kind, layer) +
           first;
}

static int load_layer_from_file(void *context, struct weight_range range, size_t layer,
                                struct layer_weights *w, struct error *e)
{
    struct model_weights *m = context;
    size_t at = 0;
    *w = (struct layer_weights){{0}};
    for (enum weight_kind kind = range.first; kind < range.end; kind++) {
        size_t n = weight_kind_elements(&m->arch, kind);
        if (!n)
            continue;
        w->at[kind] = get_mapped_elements(m, kind, layer, 0);
        if (w->at[kind])
            continue;
        if (!m->layer)
            m->layer = mem_alloc_aligned(weight_kind_largest_range(&m->arch) * sizeof *m->layer);
        model_weights_read(m, kind, layer, 0, n, m->layer + at);
        w->at[kind] = m->layer + at;
        at += n;
    }
    return 0;
}

static const float *load_rows_from_file(void *context, enum weight_kind kind, size_t first,
                                        size_t n, float *to, struct error *e)
{
    const struct model_weights *m = context;
    size_t rows, columns;
    weight_kind_find_shape(&m->arch, kind, &rows, &columns);
    size_t width = columns ? columns : 1;
    const float *mapped = get_mapped_elements(m, kind, 0, first * width);
    if (mapped)
        return mapped;
    model_weights_read(m, kind, 0, first * width, n * width, to);
    return to;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static struct model_weights *open_file(const char *operand, const char *spool, const char *tool,
                                       struct error *e)
{
    struct model_weights *m = mem_alloc(1, sizeof *m);
    m->source = (struct weight_source){m, load_layer_from_file, load_rows_from_file};
    m->file = model_source_open(operand, spool, tool, e);
    if (m->file)
        return m;
    model_weights_close(m);
    return NULL;
}

struct model_weights *model_weights_open(const char *operand, const char *config, const char *spool,
                                         const char *tool, struct error *e)
{
    struct model_weights *m = open_file(operand, spool, tool, e);
    if (m && !read_model_config(m, config, spool, tool, e) && !find_all_weight_tensors(m, e))
        return m;
    model_weights_close(m);
    return NULL;
}

struct model_weights *model_weights_open_like(const char *operand, const struct model_weights *like,
                                              const char *spool, const char *tool, struct error *e)
{
    struct model_weights *m = open_file(operand, spool, tool, e);
    bool duplicates; /* were reported for the other model */
    if (m &&
        !arch_config_read(&m->arch, "config.json", like->config, like->config_size, &duplicates,
                          e) &&
        !find_all_weight_tensors(m, e))
        return m;
    model_weights_close(m);
    return NULL;
}

void model_weights_release_layer(struct model_weights *m)
{
    free(m->layer);
    m->layer = NULL;
}

void model_weights_close(struct model_weights *m)
{
    if (!m)
        return;
    model_source_close(m->file);
    arch_free(&m->arch);
    free(m->config);
    free(m->tensors);
    free(m->offsets);
    free(m->layer);
    free(m);
}
