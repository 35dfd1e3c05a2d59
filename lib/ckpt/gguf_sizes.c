#include "gguf_sizes.h"

#include <stdio.h>
#include <string.h>

/* ---- sizes ----------------------------------------------------------------------------------- */

static const char *file_name(const struct gguf_model *m)
{
    return m->files[0].file;
}

/* A setting that must be there and above 0. */
static int read_size(const struct gguf_model *m, const char *key, uint64_t *x, struct error *e)
{
    int found = gguf_model_find_setting(m, key, x, e);
    if (found < 0)
        return -1;
    if (found && *x > 0 && *x <= INT32_MAX)
        return 0;
    return error_set(e, "%s: metadata %s.%s is %s", file_name(m), m->architecture, key,
                     !found ? "missing"
                     : *x   ? "above 2^31 - 1"
                            : "0");
}

/* head_dim has a setting of its own; of two, the first that is there. */
static int read_head_dim(const struct gguf_model *m, struct gguf_sizes *s, struct error *e)
{
    int found = gguf_model_find_setting(m, "attention.key_length", &s->head_dim, e);
    if (found == 0)
        found = gguf_model_find_setting(m, "rope.dimension_count", &s->head_dim, e);
    if (found < 0)
        return -1;
    if (!found && s->hidden % s->heads != 0)
        return error_set(e, "%s: %llu heads do not divide the embedding length %llu", file_name(m),
                         (unsigned long long)s->heads, (unsigned long long)s->hidden);
    if (!found)
        s->head_dim = s->hidden / s->heads;
    if (s->head_dim == 0 || s->head_dim > INT32_MAX)
        return error_set(e, "%s: the length of an attention head is %llu", file_name(m),
                         (unsigned long long)s->head_dim);
    return 0;
}

static int read_sizes(const struct gguf_model *m, struct gguf_sizes *s, struct error *e)
{
    if (read_size(m, "embedding_length", &s->hidden, e) < 0 ||
        read_size(m, "feed_forward_length", &s->intermediate, e) < 0 ||
        read_size(m, "block_count", &s->layers, e) < 0 ||
        read_size(m, "attention.head_count", &s->heads, e) < 0 ||
        read_size(m, "context_length", &s->context, e) < 0)
        return -1;
    s->kv_heads = m->kv_heads;
    if (s->kv_heads == 0 || s->heads % s->kv_heads != 0)
        return error_set(e, "%s: %llu heads of k and v do not divide %llu heads", file_name(m),
                         (unsigned long long)s->kv_heads, (unsigned long long)s->heads);
    const struct gguf_tensor *embedding = gguf_model_find_tensor(m, "token_embd.weight");
    if (!embedding)
        return error_set(e, "%s has no tensor token_embd.weight", file_name(m));
    s->vocabulary = embedding->shape[0];
    return read_head_dim(m, s, e);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static int check_tensor(const struct gguf_model *m, const struct gguf_tensor *t, const char *name,
                        uint64_t rows, uint64_t columns, struct error *e)
{
    size_t rank = columns ? 2 : 1;
    if (!t)
        return error_set(e, "%s has no tensor %s", file_name(m), name);
    if (t->rank == rank && t->shape[0] == rows && (rank == 1 || t->shape[1] == columns))
        return 0;
    return error_set(e,
                     "%s: tensor %s has %llu rows of %llu elements and rank %zu, but its metadata "
                     "imply %llu, %llu and %zu",
                     file_name(m), name, (unsigned long long)t->shape[0],
                     (unsigned long long)(t->rank > 1 ? t->shape[t->rank - 1] : 0), t->rank,
                     (unsigned long long)rows, (unsigned long long)columns, rank);
}

/* The tensors of the model by their names in the file. */
struct tensor_index {
    const struct gguf_model *model;
    struct name_index names;
    const struct gguf_tensor **tensors;
    struct arena arena;
};

static void index_tensors(struct tensor_index *x)
{
    const struct gguf_model *m = x->model;
    size_t n = 0;
    for (size_t f = 0; f < m->n_files; f++)
        n += m->files[f].n;
    x->tensors = arena_alloc(&x->arena, n, sizeof *x->tensors);
    n = 0;
    for (size_t f = 0; f < m->n_files; f++)
        for (size_t i = 0; i < m->files[f].n; i++, n++) {
            x->tensors[n] = &m->files[f].tensors[i];
            name_index_add(&x->names, x->tensors[n]->name, n, &x->arena);
        }
}

static const struct gguf_tensor *find_tensor(const struct tensor_index *x, const char *name)
{
    long i = name_index_find(&x->names, name);
    return i < 0 ? NULL : x->tensors[i];
}

/* Checks the tensors of a layer. */
static int check_layer(const struct tensor_index *x, const struct gguf_sizes *s, uint64_t layer,
                       struct error *e)
{
    uint64_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const struct {
        const char *name;
        uint64_t rows, columns;
    } tensors[] = {{"attn_norm", s->hidden, 0},
                   {"attn_q", q, s->hidden},
                   {"attn_k", kv, s->hidden},
                   {"attn_v", kv, s->hidden},
                   {"attn_output", s->hidden, q},
                   {"ffn_norm", s->hidden, 0},
                   {"ffn_gate", s->intermediate, s->hidden},
                   {"ffn_up", s->intermediate, s->hidden},
                   {"ffn_down", s->hidden, s->intermediate}};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)layer,
                 tensors[i].name);
        if (check_tensor(x->model, find_tensor(x, name), name, tensors[i].rows, tensors[i].columns,
                         e) < 0)
            return -1;
    }
    return 0;
}

static int check_tensors(const struct tensor_index *x, const struct gguf_sizes *s, struct error *e)
{
    const struct gguf_model *m = x->model;
    const struct gguf_tensor *head = find_tensor(x, "output.weight");
    char name[64];
    for (uint64_t i = 0; i < s->layers; i++)
        if (check_layer(x, s, i, e) < 0)
            return -1;
    snprintf(name, sizeof name, "blk.%llu.attn_norm.weight", (unsigned long long)s->layers);
    if (find_tensor(x, name))
        return error_set(e, "%s has a tensor %s, but its block_count is %llu", file_name(m), name,
                         (unsigned long long)s->layers);
    if (check_tensor(m, find_tensor(x, "token_embd.weight"), "token_embd.weight", s->vocabulary,
                     s->hidden, e) < 0 ||
        check_tensor(m, find_tensor(x, "output_norm.weight"), "output_norm.weight", s->hidden, 0,
                     e) < 0 ||
        (head && check_tensor(m, head, "output.weight", s->vocabulary, s->hidden, e) < 0))
        return -1;
    return m->rope_freqs
               ? check_tensor(m, m->rope_freqs, "rope_freqs.weight", s->head_dim / 2, 0, e)
               : 0;
}

int gguf_sizes_read(struct gguf_sizes *s, const struct gguf_model *m, struct error *e)
{
    struct tensor_index x = {.model = m};
    if (read_sizes(m, s, e) < 0)
        return -1;
    index_tensors(&x);
    int failed = check_tensors(&x, s, e);
    arena_free(&x.arena);
    return failed;
}
