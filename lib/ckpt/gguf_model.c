#include "gguf_model.h"

#include "gguf_names.h"
#include "little_endian.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LISTED 5 /* names in a message */

static const struct gguf *first_file(const struct gguf_model *m)
{
    return &m->files[0];
}

const struct gguf_metadata *gguf_model_metadata(const struct gguf_model *m)
{
    return &first_file(m)->metadata;
}

/* ---- splits ---------------------------------------------------------------------------------- */

/* Checks split.no and split.count of file i. */
static int check_split_numbers(const struct gguf_model *m, size_t i, struct error *e)
{
    const struct gguf *g = &m->files[i];
    uint64_t no = 0, count = 0;
    int has_no = gguf_metadata_find_count(&g->metadata, "split.no", &no, e);
    int has_count = gguf_metadata_find_count(&g->metadata, "split.count", &count, e);
    if (has_no < 0 || has_count < 0)
        return -1;
    if (m->n_files == 1 && count <= 1)
        return 0;
    if (m->n_files == 1)
        return error_set(e,
                         "%s is file %llu of a model in %llu files, which are not named "
                         "NAME-00001-of-%05llu.gguf",
                         g->file, (unsigned long long)no + 1, (unsigned long long)count,
                         (unsigned long long)count);
    if (!has_no || !has_count || no != i || count != m->n_files)
        return error_set(e,
                         "%s: split.no is %llu and split.count %llu, but by its name it is file "
                         "%zu of %zu",
                         g->file, (unsigned long long)no, (unsigned long long)count, i + 1,
                         m->n_files);
    return 0;
}

static int check_splits(const struct gguf_model *m, struct error *e)
{
    uint64_t total, sum = 0;
    for (size_t i = 0; i < m->n_files; i++) {
        if (check_split_numbers(m, i, e) < 0)
            return -1;
        sum += m->files[i].n;
    }
    int found = gguf_metadata_find_count(gguf_model_metadata(m), "split.tensors.count", &total, e);
    if (found < 0)
        return -1;
    if (m->n_files > 1 && (!found || total != sum))
        return error_set(e, "%s: split.tensors.count is %llu, but the files have %llu tensors",
                         first_file(m)->file, found ? (unsigned long long)total : 0,
                         (unsigned long long)sum);
    return 0;
}

/* ---- settings -------------------------------------------------------------------------------- */

/* Files that contain something other than a model. */
static int check_general_type(struct gguf_model *m, struct error *e)
{
    const char *type;
    int found =
        gguf_metadata_find_text(gguf_model_metadata(m), "general.type", &type, &m->arena, e);
    if (found <= 0 || strcmp(type, "model") == 0)
        return found < 0 ? -1 : 0;
    return error_set(
        e, "%s contains no model: its general.type is %.40s%s", first_file(m)->file, type,
        strcmp(type, "adapter") == 0 ? "; merge the LoRA adapter into its model first" : "");
}

int gguf_model_find_setting(const struct gguf_model *m, const char *key, uint64_t *x,
                            struct error *e)
{
    char *full = mem_printf("%s.%s", m->architecture, key);
    int found = gguf_metadata_find_constant(gguf_model_metadata(m), full, x, e);
    free(full);
    return found;
}

static int read_settings(struct gguf_model *m, struct error *e)
{
    int found = gguf_metadata_find_text(gguf_model_metadata(m), "general.architecture",
                                        &m->architecture, &m->arena, e);
    if (found < 0)
        return -1;
    if (!found)
        return error_set(e, "%s has no general.architecture", first_file(m)->file);
    if (check_general_type(m, e) < 0)
        return -1;
    m->is_known = strcmp(m->architecture, "llama") == 0 || strcmp(m->architecture, "qwen2") == 0;
    if (!m->is_known)
        return 0;
    if (gguf_model_find_setting(m, "attention.head_count", &m->heads, e) < 0)
        return -1;
    m->kv_heads = m->heads;
    return gguf_model_find_setting(m, "attention.head_count_kv", &m->kv_heads, e) < 0 ? -1 : 0;
}

int gguf_model_find_interleaved_rows(const struct gguf_model *m, const struct gguf_tensor *t,
                                     size_t *rows, struct error *e)
{
    int part = gguf_names_find_q_or_k(t->name);
    uint64_t heads = part == 1 ? m->heads : m->kv_heads;
    *rows = 0;
    if (!part || strcmp(m->architecture, "llama") != 0)
        return 0;
    if (heads == 0)
        return error_set(e, "%s: metadata llama.attention.head_count is missing or 0",
                         first_file(m)->file);
    if (t->shape[0] % heads != 0 || t->shape[0] / heads % 2 != 0)
        return error_set(e,
                         "%s: tensor %s has %llu rows, which are not an even number for each of "
                         "%llu heads",
                         first_file(m)->file, t->name, (unsigned long long)t->shape[0],
                         (unsigned long long)heads);
    *rows = (size_t)(t->shape[0] / heads);
    return 0;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Does the name have no place in a model of this architecture? Integers are not weights, and may
 * have any name. */
static bool is_unknown_weight(const struct gguf_tensor *t, struct arena *a)
{
    const char *name;
    enum dtype d = ggml_type_find(t->type)->dtype;
    return gguf_names_to_hf(t->name, a, &name) == GGUF_NAME_UNKNOWN &&
           (d == DTYPE_NONE || dtype_is_float(d));
}

/* Lists the tensors with unknown names in the message. */
static int reject_unknown_names(struct gguf_model *m, struct error *e)
{
    const char *list = "";
    size_t n = 0;
    for (size_t f = 0; f < m->n_files; f++)
        for (size_t i = 0; i < m->files[f].n; i++) {
            const struct gguf_tensor *t = &m->files[f].tensors[i];
            if (is_unknown_weight(t, &m->arena) && n++ < MAX_LISTED)
                list = arena_printf(&m->arena, "%s%s%s", list, *list ? ", " : "", t->name);
        }
    if (n == 0)
        return 0;
    return error_set(e,
                     "%s: a model of the architecture %s has no tensors named %s%s; it cannot "
                     "be converted",
                     first_file(m)->file, m->architecture, list, n > MAX_LISTED ? ", ..." : "");
}

static int check_names(struct gguf_model *m, struct error *e)
{
    const char *name;
    for (size_t f = 0; f < m->n_files; f++)
        for (size_t i = 0; i < m->files[f].n; i++) {
            const struct gguf_tensor *t = &m->files[f].tensors[i];
            enum gguf_name_kind kind = gguf_names_to_hf(t->name, &m->arena, &name);
            if (kind == GGUF_NAME_LONGROPE)
                return error_set(e, "%s: tensor %s belongs to longrope, which is not supported",
                                 m->files[f].file, t->name);
            if (kind == GGUF_NAME_ROPE && (t->type != GGML_TYPE_F32 || t->rank != 1))
                return error_set(e, "%s: tensor %s is not a vector of F32", m->files[f].file,
                                 t->name);
            if (kind == GGUF_NAME_ROPE)
                m->rope_freqs = t;
        }
    return reject_unknown_names(m, e);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int read_files(struct gguf_model *m, const struct gguf_model_file *files, struct error *e)
{
    for (size_t i = 0; i < m->n_files; i++) {
        m->files[i].file = files[i].title;
        if (gguf_read(&m->files[i], files[i].bytes, files[i].size, e) < 0)
            return -1;
    }
    return 0;
}

struct gguf_model *gguf_model_open(const struct gguf_model_file *files, size_t n, struct error *e)
{
    struct gguf_model *m = mem_alloc(1, sizeof *m);
    m->files = mem_alloc(n, sizeof *m->files);
    m->n_files = n;
    if (read_files(m, files, e) == 0 && check_splits(m, e) == 0 && read_settings(m, e) == 0 &&
        (!m->is_known || check_names(m, e) == 0))
        return m;
    gguf_model_close(m);
    return NULL;
}

void gguf_model_close(struct gguf_model *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_files; i++)
        gguf_free(&m->files[i]);
    free(m->files);
    arena_free(&m->arena);
    free(m);
}

/* ---- tensors --------------------------------------------------------------------------------- */

const struct gguf_tensor *gguf_model_find_tensor(const struct gguf_model *m, const char *gguf_name)
{
    for (size_t f = 0; f < m->n_files; f++)
        for (size_t i = 0; i < m->files[f].n; i++)
            if (strcmp(m->files[f].tensors[i].name, gguf_name) == 0)
                return &m->files[f].tensors[i];
    return NULL;
}

/* ---- two models ------------------------------------------------------------------------------ */

static bool same_values(const struct gguf_value *a, const struct gguf_value *b)
{
    return a->type == b->type && a->element_type == b->element_type &&
           a->data_size == b->data_size && memcmp(a->data, b->data, a->data_size) == 0;
}

/* The number of strings at the beginning of two arrays that are the same. */
static uint64_t count_equal_strings(const struct gguf_value *a, const struct gguf_value *b)
{
    const unsigned char *x = a->data, *y = b->data;
    uint64_t i = 0;
    for (; i < a->count && i < b->count; i++) {
        size_t n = 8 + (size_t)little_endian_read(x, 8);
        if (n != 8 + (size_t)little_endian_read(y, 8) || memcmp(x, y, n) != 0)
            break;
        x += n;
        y += n;
    }
    return i;
}

static int check_token_lists(const struct gguf_model *a, const struct gguf_model *b,
                             struct error *e)
{
    const char *key = "tokenizer.ggml.tokens";
    const struct gguf_value *x = gguf_metadata_find(gguf_model_metadata(a), key);
    const struct gguf_value *y = gguf_metadata_find(gguf_model_metadata(b), key);
    if (!x || !y || same_values(x, y))
        return 0;
    if (x->type != GGUF_ARRAY || y->type != GGUF_ARRAY || x->element_type != GGUF_STRING ||
        y->element_type != GGUF_STRING)
        return error_set(e, "the %s of %s and %s are not both arrays of strings", key,
                         first_file(a)->file, first_file(b)->file);
    return error_set(e,
                     "%s and %s have different token lists: %llu and %llu tokens, of which the "
                     "first %llu are the same; models with different tokenizers cannot be merged",
                     first_file(a)->file, first_file(b)->file, (unsigned long long)x->count,
                     (unsigned long long)y->count, (unsigned long long)count_equal_strings(x, y));
}

int gguf_model_check_compatible(const struct gguf_model *a, const struct gguf_model *b,
                                struct error *e)
{
    const struct gguf_tensor *x = a->rope_freqs, *y = b->rope_freqs;
    if (check_token_lists(a, b, e) < 0)
        return -1;
    if ((!x && !y) || (x && y && x->size == y->size && memcmp(x->data, y->data, x->size) == 0))
        return 0;
    return error_set(e,
                     "rope_freqs.weight differs between %s and %s; models with different rotary "
                     "embeddings cannot be merged",
                     first_file(a)->file, first_file(b)->file);
}
