#include "gguf_output.h"

#include "gguf_header.h"
#include "gguf_names.h"
#include "gguf_sizes.h"
#include "name_index.h"
#include "tensor_encoding.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LISTED 5 /* names in a message */

/* A tensor of the file. */
struct output_tensor {
    const struct gguf_tensor *like;
    size_t index;                /* in the layout */
    const struct tensor *result; /* NULL: it is carried from the other file */
    enum ggml_type type;
    size_t interleaved_rows;
    uint64_t size, offset; /* bytes of data, and where */
};

struct gguf_output {
    const struct gguf_model *like;
    const struct header *result;
    struct gguf_encoding encoding;
    struct output_tensor *tensors; /* in the order of the file */
    size_t n;
    struct output_tensor **of_result; /* [tensor of the result] */
    size_t n_metadata;
    const char *const (*metadata)[2];
    struct arena arena;
};

static const char *like_name(const struct gguf_output *o)
{
    return o->like->files[0].file;
}

/* ---- types ----------------------------------------------------------------------------------- */

static int choose_type(struct gguf_output *o, enum dtype dtype, struct error *e)
{
    o->encoding = gguf_encoding_choose(o->like, dtype);
    if (dtype == DTYPE_F64)
        return error_set(e, "a GGUF file cannot be written as float64; use --dtype=float32");
    if (gguf_encoding_is_written(o->encoding.type))
        return 0;
    return error_set(e,
                     "%s is %s, which cannot be written; use --dtype=float16 or --dtype=q8_0, and "
                     "llama-quantize for other types",
                     like_name(o), ggml_type_find(o->encoding.like)->name);
}

/* ---- matching the tensors -------------------------------------------------------------------- */

static int check_tensor(const struct gguf_output *o, const struct output_tensor *t, struct error *e)
{
    const struct tensor *r = t->result;
    enum dtype like = ggml_type_find(t->like->type)->dtype, own = r->vectors[0].dtype;
    struct arena a = {0};
    int failed = 0;
    if (r->rank != t->like->rank ||
        memcmp(r->shape, t->like->shape, r->rank * sizeof *r->shape) != 0)
        failed = error_set(e, "tensor %s is %s in the stream but %s in %s", r->name,
                           tensor_format_shape(&a, r->rank, r->shape),
                           tensor_format_shape(&a, t->like->rank, t->like->shape), like_name(o));
    else if (own != (like == DTYPE_NONE || dtype_is_float(like) ? DTYPE_F32 : like))
        failed = error_set(e, "tensor %s is %s in the stream but %s in %s", r->name,
                           dtype_name(own), ggml_type_find(t->like->type)->name, like_name(o));
    arena_free(&a);
    return failed;
}

/* The name of the result's tensor for a tensor of the file. NULL: it is carried. */
static const char *find_result_name(struct gguf_output *o, const struct gguf_tensor *t, bool *drop)
{
    const char *name;
    *drop = false;
    if (!o->like->is_known)
        return t->name;
    enum gguf_name_kind kind = gguf_names_to_hf(t->name, &o->arena, &name);
    *drop = kind == GGUF_NAME_DROPPED;
    return kind == GGUF_NAME_WEIGHT ? name : kind == GGUF_NAME_ROPE ? NULL : t->name;
}

/* Adds a tensor of the other file to the new one. A missing one is added to the list of names. */
static int match_tensor(struct gguf_output *o, const struct name_index *names,
                        const struct gguf_tensor *like, const char **missing, struct error *e)
{
    bool drop;
    const char *name = find_result_name(o, like, &drop);
    long found = name ? name_index_find(names, name) : -1;
    if (drop)
        return 0;
    if (name && found < 0) {
        *missing = *missing ? arena_printf(&o->arena, "%.400s, %s", *missing, name) : name;
        return 0;
    }
    struct output_tensor *t = &o->tensors[o->n++];
    *t = (struct output_tensor){.like = like, .type = like->type};
    if (!name)
        return 0;
    t->index = (size_t)found;
    t->result = &o->result->tensors[found];
    t->type = gguf_encoding_tensor_type(&o->encoding, like);
    o->of_result[found] = t;
    return check_tensor(o, t, e) < 0 ||
                   (o->like->is_known &&
                    gguf_model_find_interleaved_rows(o->like, like, &t->interleaved_rows, e) < 0)
               ? -1
               : 0;
}

/* An error if the result has tensors that the other file has not. */
static int check_all_are_used(struct gguf_output *o, struct error *e)
{
    const char *list = NULL;
    size_t n = 0;
    for (size_t i = 0; i < o->result->n_tensors; i++)
        if (!o->of_result[i] && n++ < MAX_LISTED)
            list = arena_printf(&o->arena, "%s%s%s", list ? list : "", list ? ", " : "",
                                o->result->tensors[i].name);
    return n == 0 ? 0
                  : error_set(e, "%s has no tensors for %s%s of the stream", like_name(o), list,
                              n > MAX_LISTED ? ", ..." : "");
}

static int match_all_tensors(struct gguf_output *o, struct error *e)
{
    const struct gguf_model *m = o->like;
    struct name_index names = {0};
    const char *missing = NULL;
    size_t n = 0;
    for (size_t f = 0; f < m->n_files; f++)
        n += m->files[f].n;
    o->tensors = mem_alloc(n, sizeof *o->tensors);
    o->of_result = mem_alloc(o->result->n_tensors, sizeof *o->of_result);
    for (size_t i = 0; i < o->result->n_tensors; i++)
        name_index_add(&names, o->result->tensors[i].name, i, &o->arena);
    for (size_t f = 0; f < m->n_files; f++)
        for (size_t i = 0; i < m->files[f].n; i++)
            if (match_tensor(o, &names, &m->files[f].tensors[i], &missing, e) < 0)
                return -1;
    if (missing)
        return error_set(e, "the stream lacks tensors of %s: %.400s", like_name(o), missing);
    return check_all_are_used(o, e);
}

/* ---- the layout ------------------------------------------------------------------------------ */

static void set_offsets(struct gguf_output *o)
{
    uint64_t offset = 0;
    size_t carried = o->result->n_tensors;
    for (size_t i = 0; i < o->n; i++) {
        struct output_tensor *t = &o->tensors[i];
        t->size = gguf_encoding_bytes(t->type, gguf_tensor_elements(t->like));
        t->offset = offset;
        offset = gguf_align(offset + t->size, o->like->files[0].alignment);
        if (!t->result)
            t->index = carried++;
    }
}

int gguf_output_check_like(const struct gguf_model *like, struct error *e)
{
    return like ? 0
                : error_set(e, "a .gguf file has the metadata and tokenizer of another one; use "
                               "--like=MODEL.gguf (for task vectors, after add-base), or a --base "
                               "that is one");
}

struct gguf_output *gguf_output_new(const struct gguf_output_spec *spec, struct error *e)
{
    struct gguf_output *o = mem_alloc(1, sizeof *o);
    *o = (struct gguf_output){.like = spec->like,
                              .result = spec->result,
                              .n_metadata = spec->n_metadata,
                              .metadata = spec->metadata};
    struct gguf_sizes sizes;
    if ((o->like->is_known && gguf_sizes_read(&sizes, o->like, e) < 0) ||
        choose_type(o, spec->dtype, e) < 0 || match_all_tensors(o, e) < 0) {
        gguf_output_free(o);
        return NULL;
    }
    set_offsets(o);
    return o;
}

void gguf_output_free(struct gguf_output *o)
{
    if (!o)
        return;
    free(o->tensors);
    free(o->of_result);
    arena_free(&o->arena);
    free(o);
}

static struct bytes encode_header(const struct gguf_output *o, struct encoded_header *encoded)
{
    struct gguf_header h = {.metadata = gguf_model_metadata(o->like),
                            .alignment = o->like->files[0].alignment,
                            .file_type = gguf_encoding_file_type(o->encoding.type),
                            .is_quantized = o->encoding.type == GGML_TYPE_Q8_0,
                            .n_texts = o->n_metadata,
                            .texts = o->metadata,
                            .n = o->n};
    struct gguf_header_tensor *tensors = mem_alloc(o->n, sizeof *tensors);
    for (size_t i = 0; i < o->n; i++) {
        const struct output_tensor *t = &o->tensors[i];
        tensors[i] = (struct gguf_header_tensor){t->like->name, t->like->rank, t->like->shape,
                                                 t->type, t->offset};
    }
    h.tensors = tensors;
    struct bytes header = gguf_header_encode(&h, &encoded->used, &encoded->text_offsets);
    encoded->alignment = h.alignment;
    free(tensors);
    return header;
}

struct shard_layout *gguf_output_layout(const struct gguf_output *o)
{
    struct encoded_header encoded;
    struct bytes header = encode_header(o, &encoded);
    struct shard_layout *l =
        shard_layout_new_encoded("model.gguf", o->n, o->n_metadata, o->metadata, &encoded);
    uint64_t end = 0, used = 0;
    for (size_t i = 0; i < o->n; i++) {
        const struct output_tensor *t = &o->tensors[i];
        struct placed_tensor *placed = &l->tensors[t->index];
        placed->name = arena_copy_text(&l->arena, t->like->name);
        placed->size = t->size;
        placed->offset = placed->total_offset = t->offset;
        used += t->size;
        end = gguf_align(t->offset + t->size, o->like->files[0].alignment);
    }
    l->shards[0].header = header.data;
    l->shards[0].header_size = header.size;
    l->shards[0].data_size = end;
    l->shards[0].padding = end - used;
    free(encoded.text_offsets);
    return l;
}

/* ---- elements -------------------------------------------------------------------------------- */

/* Writes n elements that are adjacent in the file, where `place` is the index of the first. */
static int encode_and_write(const struct output_tensor *t, size_t first, size_t place, size_t n,
                            const float *x, bool allow_nonfinite, gguf_output_writer *write,
                            void *to, struct error *e)
{
    const struct gguf_elements from = {t->result->name, t->type, first, n, x};
    size_t size = gguf_encoding_bytes(t->type, n);
    unsigned char *bytes = mem_alloc_aligned(size);
    int failed = gguf_encoding_encode(&from, allow_nonfinite, bytes, e);
    if (!failed)
        failed = write(to, t->index, gguf_encoding_bytes(t->type, place), bytes, size, e);
    free(bytes);
    return failed;
}

int gguf_output_write_elements(const struct gguf_output *o, size_t i, size_t first, size_t n,
                               const void *x, bool allow_nonfinite, gguf_output_writer *write,
                               void *to, struct error *e)
{
    const struct output_tensor *t = o->of_result[i];
    enum dtype d = t->result->vectors[0].dtype;
    const float *values = x;
    if (!dtype_is_float(d))
        return write(to, t->index, dtype_bytes(d, first), x, dtype_bytes(d, n), e);
    if (!t->interleaved_rows)
        return encode_and_write(t, first, first, n, x, allow_nonfinite, write, to, e);
    for (size_t row = tensor_elements(t->result) / t->result->shape[0]; n > 0;) {
        size_t run = row - first % row < n ? row - first % row : n;
        size_t place =
            tensor_encoding_interleaved_row(first / row, t->interleaved_rows) * row + first % row;
        if (encode_and_write(t, first, place, run, values, allow_nonfinite, write, to, e))
            return -1;
        values += run;
        first += run;
        n -= run;
    }
    return 0;
}

int gguf_output_write_carried_tensors(const struct gguf_output *o, gguf_output_writer *write,
                                      void *to, struct error *e)
{
    for (size_t i = 0; i < o->n; i++) {
        const struct output_tensor *t = &o->tensors[i];
        if (!t->result && write(to, t->index, 0, t->like->data, t->like->size, e))
            return -1;
    }
    return 0;
}
