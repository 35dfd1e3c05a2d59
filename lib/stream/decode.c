#include "decode.h"

#include "record_fields.h"

#include <stdlib.h>
#include <string.h>

/* ---- tensors ----------------------------------------------------------------------------- */

/* Sets *n, the number of weights, and returns them. */
static const double *decode_weights(struct record_fields *p, msgpack_object o, size_t *n)
{
    bool is_list = o.type == MSGPACK_OBJECT_ARRAY;
    *n = is_list ? o.via.array.size : 1;
    double *w = arena_alloc(p->arena, *n, sizeof *w);
    for (size_t i = 0; i < *n; i++)
        w[i] = record_fields_get_number(p, "weight", is_list ? o.via.array.ptr[i] : o);
    if (*n == 0)
        record_fields_set_invalid(p, "weight", "a number or a list of numbers");
    return w;
}

static struct joined_vector *decode_joined_vectors(struct record_fields *p, msgpack_object o,
                                                   size_t *n);

static struct joined_vector decode_joined_vector(struct record_fields *p, msgpack_object o)
{
    static const double one = 1;
    struct joined_vector v = {.n_weights = 1, .weights = &one};
    msgpack_object_map m = record_fields_get_map(p, "joined", o);
    for (size_t i = 0; i < m.size; i++) {
        msgpack_object key = m.ptr[i].key, value = m.ptr[i].val;
        if (record_fields_equals(key, "name"))
            v.name = record_fields_get_text(p, "name", value);
        else if (record_fields_equals(key, "weight"))
            v.weights = decode_weights(p, value, &v.n_weights);
        else if (record_fields_equals(key, "joined"))
            v.joined = decode_joined_vectors(p, value, &v.n_joined);
        else
            record_fields_add_unknown(p, &v.unknown_keys, &m.ptr[i]);
    }
    if (!v.name)
        record_fields_set_incomplete(p, "a joined vector", "name");
    return v;
}

/* Sets *n, the number of vectors that were joined, and returns them. */
static struct joined_vector *decode_joined_vectors(struct record_fields *p, msgpack_object o,
                                                   size_t *n)
{
    msgpack_object_array list = record_fields_get_array(p, "joined", o);
    struct joined_vector *joined = arena_alloc(p->arena, list.size, sizeof *joined);
    *n = list.size;
    for (size_t i = 0; i < list.size; i++)
        joined[i] = decode_joined_vector(p, list.ptr[i]);
    return joined;
}

static void decode_payload_attributes(struct record_fields *p, struct vector *v, msgpack_object o)
{
    msgpack_object_map m = record_fields_get_map(p, "payload", o);
    for (size_t i = 0; i < m.size; i++) {
        if (record_fields_equals(m.ptr[i].key, "l1_before"))
            v->l1_before = record_fields_get_number(p, "l1_before", m.ptr[i].val);
        else if (record_fields_equals(m.ptr[i].key, "l1"))
            v->l1 = record_fields_get_number(p, "l1", m.ptr[i].val);
        else if (record_fields_equals(m.ptr[i].key, "keep"))
            v->keep_probability = record_fields_get_number(p, "keep", m.ptr[i].val);
        else
            record_fields_add_unknown(p, &v->unknown_payload_keys, &m.ptr[i]);
    }
}

static struct vector decode_vector(struct record_fields *p, msgpack_object o, const char *tensor,
                                   size_t n_models)
{
    struct vector v = vector_with_defaults(SIZE_MAX, tensor, DTYPE_NONE, DTYPE_NONE);
    msgpack_object_map m = record_fields_get_map(p, "vectors", o);
    for (size_t i = 0; i < m.size; i++) {
        msgpack_object key = m.ptr[i].key, value = m.ptr[i].val;
        if (record_fields_equals(key, "model"))
            v.model = record_fields_get_uint(p, "model", value, SIZE_MAX - 1);
        else if (record_fields_equals(key, "dtype"))
            v.dtype = record_fields_get_dtype(p, "dtype", value);
        else if (record_fields_equals(key, "stored"))
            v.stored_dtype = record_fields_get_dtype(p, "stored", value);
        else if (record_fields_equals(key, "source"))
            v.source = value.type == MSGPACK_OBJECT_NIL
                           ? NULL
                           : record_fields_get_text(p, "source", value);
        else if (record_fields_equals(key, "weight"))
            v.weights = decode_weights(p, value, &v.n_weights);
        else if (record_fields_equals(key, "joined"))
            v.joined = decode_joined_vectors(p, value, &v.n_joined);
        else if (record_fields_equals(key, "payload"))
            decode_payload_attributes(p, &v, value);
        else
            record_fields_add_unknown(p, &v.unknown_keys, &m.ptr[i]);
    }
    if (v.model == SIZE_MAX || v.dtype == DTYPE_NONE)
        record_fields_set_incomplete(p, "a vector", "model and dtype");
    else if (v.model >= n_models)
        record_fields_set_invalid(p, "model", "an index of a model of the header");
    return v;
}

static void decode_shape(struct record_fields *p, struct tensor *t, msgpack_object o)
{
    msgpack_object_array shape = record_fields_get_array(p, "shape", o);
    uint64_t *dims = arena_alloc(p->arena, shape.size, sizeof *dims);
    for (size_t i = 0; i < shape.size; i++)
        dims[i] = record_fields_get_uint(p, "shape", shape.ptr[i], UINT64_MAX);
    t->rank = shape.size;
    t->shape = dims;
}

static void decode_layer(struct record_fields *p, struct tensor *t, msgpack_object o)
{
    msgpack_object_array layer = record_fields_get_array(p, "layer", o);
    if (layer.size != 2) {
        record_fields_set_invalid(p, "layer", "a pair");
        return;
    }
    t->layer = (long)record_fields_get_uint(p, "layer", layer.ptr[0], INT32_MAX);
    t->layers = (long)record_fields_get_uint(p, "layer", layer.ptr[1], INT32_MAX);
    if (t->layer >= t->layers)
        record_fields_set_invalid(p, "layer", "a pair i, L with i < L");
}

static void check_weight_count(struct record_fields *p, const struct tensor *t, size_t n)
{
    if (!tensor_can_split_into_chunks(t, n))
        record_fields_set_invalid(p, "weight", "a list that fits the tensor's number of elements");
}

static void check_joined_weight_counts(struct record_fields *p, const struct tensor *t, size_t n,
                                       const struct joined_vector *joined)
{
    for (size_t i = 0; i < n; i++) {
        check_weight_count(p, t, joined[i].n_weights);
        check_joined_weight_counts(p, t, joined[i].n_joined, joined[i].joined);
    }
}

static void decode_vectors(struct record_fields *p, struct tensor *t, msgpack_object_array vectors,
                           size_t n_models)
{
    t->n_vectors = vectors.size;
    t->vectors = arena_alloc(p->arena, t->n_vectors, sizeof *t->vectors);
    for (size_t k = 0; k < t->n_vectors; k++) {
        t->vectors[k] = decode_vector(p, vectors.ptr[k], t->name, n_models);
        if (k && t->vectors[k].model <= t->vectors[k - 1].model)
            record_fields_set_invalid(p, "vectors", "in increasing order of models");
        if (tensor_elements(t) * dtype_bits(t->vectors[k].dtype) % 8)
            record_fields_set_invalid(p, "shape", "one that fills whole bytes with the dtype");
        check_weight_count(p, t, t->vectors[k].n_weights);
        check_joined_weight_counts(p, t, t->vectors[k].n_joined, t->vectors[k].joined);
    }
}

/* A manifest entry, or the map of a tensor record. */
static struct tensor decode_tensor_map(struct record_fields *p, msgpack_object o, size_t n_models)
{
    struct tensor t = {.layer = -1, .layers = -1};
    msgpack_object_map m = record_fields_get_map(p, "tensors", o);
    msgpack_object_array vectors = {0};
    uint64_t block = UINT64_MAX;
    for (size_t i = 0; i < m.size; i++) {
        msgpack_object key = m.ptr[i].key, value = m.ptr[i].val;
        if (record_fields_equals(key, "name"))
            t.name = record_fields_get_text(p, "name", value);
        else if (record_fields_equals(key, "base"))
            t.base_name = record_fields_get_text(p, "base", value);
        else if (record_fields_equals(key, "shape"))
            decode_shape(p, &t, value);
        else if (record_fields_equals(key, "layer"))
            decode_layer(p, &t, value);
        else if (record_fields_equals(key, "vectors"))
            vectors = record_fields_get_array(p, "vectors", value);
        else if (record_fields_equals(key, "block"))
            block = record_fields_get_uint(p, "block", value, UINT64_MAX);
        else if (!record_fields_equals(key, "record"))
            record_fields_add_unknown(p, &t.unknown_keys, &m.ptr[i]);
    }
    if (!t.name || !t.shape || !vectors.ptr || vectors.size == 0)
        record_fields_set_incomplete(p, "a tensor", "name, shape and vectors");
    if (p->failed || tensor_check_shape(t.name, t.rank, t.shape, p->error)) {
        p->failed = true;
        return t;
    }
    decode_vectors(p, &t, vectors, n_models);
    if (block != UINT64_MAX && !p->failed && block != tensor_block_elements(&t))
        record_fields_set_invalid(p, "block", "the block size of the tensor's shape");
    return t;
}

/* ---- header ------------------------------------------------------------------------------ */

static struct history decode_history(struct record_fields *p, msgpack_object o);

static void decode_arguments(struct record_fields *p, struct history_step *s, msgpack_object o)
{
    msgpack_object_array list = record_fields_get_array(p, "arguments", o);
    s->n_arguments = list.size;
    s->arguments = arena_alloc(p->arena, list.size, sizeof *s->arguments);
    for (size_t k = 0; k < list.size; k++)
        s->arguments[k] = record_fields_get_text(p, "arguments", list.ptr[k]);
}

static void decode_fingerprints(struct record_fields *p, struct history_step *s, msgpack_object o)
{
    msgpack_object_array list = record_fields_get_array(p, "fingerprints", o);
    uint64_t *fingerprints = arena_alloc(p->arena, list.size, sizeof *fingerprints);
    for (size_t k = 0; k < list.size; k++)
        fingerprints[k] = record_fields_get_hash(p, "fingerprints", list.ptr[k]);
    s->n_fingerprints = list.size;
    s->fingerprints = fingerprints;
}

static void decode_parents(struct record_fields *p, struct history_step *s, msgpack_object o)
{
    msgpack_object_array list = record_fields_get_array(p, "parents", o);
    s->n_parents = list.size;
    s->parents = arena_alloc(p->arena, list.size, sizeof *s->parents);
    for (size_t k = 0; k < list.size; k++)
        s->parents[k] = decode_history(p, list.ptr[k]);
}

static struct history_step decode_history_step(struct record_fields *p, msgpack_object o)
{
    struct history_step s = {0};
    msgpack_object_map m = record_fields_get_map(p, "a step", o);
    for (size_t j = 0; j < m.size; j++) {
        msgpack_object key = m.ptr[j].key, value = m.ptr[j].val;
        if (record_fields_equals(key, "tool"))
            s.tool = record_fields_get_text(p, "tool", value);
        else if (record_fields_equals(key, "version"))
            s.version = record_fields_get_text(p, "version", value);
        else if (record_fields_equals(key, "arguments"))
            decode_arguments(p, &s, value);
        else if (record_fields_equals(key, "fingerprints"))
            decode_fingerprints(p, &s, value);
        else if (record_fields_equals(key, "blas"))
            s.blas = record_fields_get_text(p, "blas", value);
        else if (record_fields_equals(key, "parents"))
            decode_parents(p, &s, value);
        else
            record_fields_add_unknown(p, &s.unknown_keys, &m.ptr[j]);
    }
    if (!s.tool || !s.version || !s.arguments)
        record_fields_set_incomplete(p, "a step", "tool, version and arguments");
    return s;
}

static struct history decode_history(struct record_fields *p, msgpack_object o)
{
    msgpack_object_array steps = record_fields_get_array(p, "history", o);
    struct history history = {steps.size,
                              arena_alloc(p->arena, steps.size, sizeof(struct history_step))};
    for (size_t i = 0; i < steps.size; i++)
        history.steps[i] = decode_history_step(p, steps.ptr[i]);
    return history;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sets an error if two of the n names are equal. Sorts and frees `names`. */
static void check_names_unique(struct record_fields *p, const char *what, size_t n,
                               const char **names)
{
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 1; i < n && !p->failed; i++)
        if (strcmp(names[i], names[i - 1]) == 0) {
            p->failed = true;
            error_set(p->error, "broken stream: two %s have the name %s", what, names[i]);
        }
    free(names);
}

static struct model decode_model(struct record_fields *p, msgpack_object o)
{
    struct model model = {0};
    msgpack_object_map m = record_fields_get_map(p, "a model", o);
    for (size_t j = 0; j < m.size; j++) {
        msgpack_object key = m.ptr[j].key, value = m.ptr[j].val;
        if (record_fields_equals(key, "name")) {
            model.name = record_fields_get_text(p, "name", value);
        } else if (record_fields_equals(key, "role")) {
            model.role = record_fields_get_text(p, "role", value);
        } else if (record_fields_equals(key, "fingerprint")) {
            model.fingerprint = record_fields_get_hash(p, "fingerprint", value);
            model.has_fingerprint = true;
        } else if (record_fields_equals(key, "hub")) {
            model.hub = record_fields_get_text(p, "hub", value);
        } else if (record_fields_equals(key, "commit")) {
            model.commit = record_fields_get_text(p, "commit", value);
        } else if (record_fields_equals(key, "quantization")) {
            model.quantization = record_fields_get_text(p, "quantization", value);
        } else {
            record_fields_add_unknown(p, &model.unknown_keys, &m.ptr[j]);
        }
    }
    if (!model.name) {
        record_fields_set_incomplete(p, "a model", "name");
        model.name = "";
    }
    return model;
}

static void decode_models(struct record_fields *p, struct header *h, msgpack_object o)
{
    msgpack_object_array models = record_fields_get_array(p, "models", o);
    const char **names = mem_alloc(models.size, sizeof *names);
    h->models = arena_alloc(p->arena, models.size, sizeof *h->models);
    h->n_models = models.size;
    for (size_t i = 0; i < models.size; i++) {
        h->models[i] = decode_model(p, models.ptr[i]);
        names[i] = h->models[i].name;
    }
    check_names_unique(p, "models", models.size, names);
    if (!p->failed)
        header_index_models(h);
}

static void decode_manifest(struct record_fields *p, struct header *h, msgpack_object o)
{
    msgpack_object_array tensors = record_fields_get_array(p, "tensors", o);
    const char **names = mem_alloc(tensors.size, sizeof *names);
    h->tensors = arena_alloc(p->arena, tensors.size, sizeof *h->tensors);
    for (size_t i = 0; i < tensors.size && !p->failed; i++) {
        h->tensors[i] = decode_tensor_map(p, tensors.ptr[i], h->n_models);
        h->tensors[i].input_index = i;
        names[h->n_tensors++] = h->tensors[i].name;
    }
    if (p->failed)
        free(names);
    else
        check_names_unique(p, "tensors", h->n_tensors, names);
}

static enum stream_kind decode_stream_kind(struct record_fields *p, msgpack_object o)
{
    for (int kind = KIND_WEIGHTS; kind <= KIND_ACTIVATIONS; kind *= 2)
        if (record_fields_equals(o, stream_kind_name((enum stream_kind)kind)))
            return (enum stream_kind)kind;
    record_fields_set_invalid(p, "kind", "weights, task-vectors or activations");
    return KIND_WEIGHTS;
}

int decode_header(const unsigned char *map, size_t size, struct header *h, struct error *e)
{
    struct record_fields p = {.arena = &h->arena, .error = e, .record = "header"};
    msgpack_zone zone;
    msgpack_object_map m = record_fields_open_map(&p, map, size, &zone);
    const msgpack_object *models = NULL, *tensors = NULL;
    uint64_t version = 0;
    for (size_t i = 0; i < m.size; i++) {
        msgpack_object key = m.ptr[i].key, value = m.ptr[i].val;
        if (record_fields_equals(key, "version"))
            version = record_fields_get_uint(&p, "version", value, UINT64_MAX);
        else if (record_fields_equals(key, "kind"))
            h->kind = decode_stream_kind(&p, value);
        else if (record_fields_equals(key, "rounding"))
            h->input_rounding = record_fields_get_dtype(&p, "rounding", value);
        else if (record_fields_equals(key, "models"))
            models = &m.ptr[i].val;
        else if (record_fields_equals(key, "tensors"))
            tensors = &m.ptr[i].val;
        else if (record_fields_equals(key, "history"))
            h->history = decode_history(&p, value);
        else if (!record_fields_equals(key, "record"))
            record_fields_add_unknown(&p, &h->unknown_keys, &m.ptr[i]);
    }
    if (!p.failed && version != 1) {
        p.failed = true;
        error_set(e, "the stream has format version %llu; this program reads version 1",
                  (unsigned long long)version);
    }
    if (!p.failed && (!h->kind || !models || !tensors))
        record_fields_set_incomplete(&p, "the header", "kind, models and tensors");
    if (!p.failed)
        decode_models(&p, h, *models);
    if (!p.failed)
        decode_manifest(&p, h, *tensors);
    msgpack_zone_destroy(&zone);
    return p.failed ? -1 : 0;
}

/* ---- records ----------------------------------------------------------------------------- */

int decode_record_type(const unsigned char *map, size_t size, struct error *e)
{
    static const char *const names[] = {"header", "tensor", "trailer", "end", "error"};
    struct arena a = {0};
    struct record_fields p = {.arena = &a, .error = e, .record = "unknown"};
    msgpack_zone zone;
    msgpack_object_map m = record_fields_open_map(&p, map, size, &zone);
    int type = -1;
    const char *name = NULL;
    for (size_t i = 0; i < m.size; i++)
        if (record_fields_equals(m.ptr[i].key, "record"))
            name = record_fields_get_text(&p, "record", m.ptr[i].val);
    for (int i = 0; name && i < 5; i++)
        if (strcmp(name, names[i]) == 0)
            type = i;
    if (!p.failed && type < 0)
        error_set(e, "broken stream: unknown record type %s", name ? name : "(none)");
    msgpack_zone_destroy(&zone);
    arena_free(&a);
    return p.failed ? -1 : type;
}

int decode_tensor_record(const unsigned char *map, size_t size, const struct header *h,
                         struct arena *a, struct tensor *t, struct error *e)
{
    struct record_fields p = {.arena = a, .error = e, .record = "tensor"};
    msgpack_zone zone;
    msgpack_object_map m = record_fields_open_map(&p, map, size, &zone);
    msgpack_object o = {.type = MSGPACK_OBJECT_MAP, .via.map = m};
    if (!p.failed)
        *t = decode_tensor_map(&p, o, h->n_models);
    msgpack_zone_destroy(&zone);
    return p.failed ? -1 : 0;
}

int decode_tensor_trailer(const unsigned char *map, size_t size, struct trailer *t, struct error *e)
{
    struct arena a = {0};
    struct record_fields p = {.arena = &a, .error = e, .record = "trailer"};
    msgpack_zone zone;
    msgpack_object_map m = record_fields_open_map(&p, map, size, &zone);
    *t = (struct trailer){0};
    for (size_t i = 0; i < m.size; i++)
        if (record_fields_equals(m.ptr[i].key, "checksum")) {
            t->has_checksum = true;
            t->checksum = record_fields_get_hash(&p, "checksum", m.ptr[i].val);
        }
    msgpack_zone_destroy(&zone);
    arena_free(&a);
    return p.failed ? -1 : 0;
}

static void decode_full_hashes(struct record_fields *p, struct end_record *end, msgpack_object o)
{
    msgpack_object_map m = record_fields_get_map(p, "hashes", o);
    uint64_t *hashes = arena_alloc(p->arena, m.size, sizeof *hashes);
    end->hashed_models = arena_alloc(p->arena, m.size, sizeof *end->hashed_models);
    end->hashes = hashes;
    end->n_hashes = m.size;
    for (size_t i = 0; i < m.size; i++) {
        end->hashed_models[i] = record_fields_get_text(p, "hashes", m.ptr[i].key);
        hashes[i] = record_fields_get_hash(p, "hashes", m.ptr[i].val);
    }
}

int decode_end_record(const unsigned char *map, size_t size, struct arena *a,
                      struct end_record *end, struct error *e)
{
    struct record_fields p = {.arena = a, .error = e, .record = "end"};
    msgpack_zone zone;
    msgpack_object_map m = record_fields_open_map(&p, map, size, &zone);
    bool has_tensors = false, has_bytes = false;
    *end = (struct end_record){.has_hash = true};
    for (size_t i = 0; i < m.size; i++) {
        msgpack_object key = m.ptr[i].key, value = m.ptr[i].val;
        if (record_fields_equals(key, "tensors")) {
            end->tensors = record_fields_get_uint(&p, "tensors", value, UINT64_MAX);
            has_tensors = true;
        } else if (record_fields_equals(key, "bytes")) {
            end->payload_bytes = record_fields_get_uint(&p, "bytes", value, UINT64_MAX);
            has_bytes = true;
        } else if (record_fields_equals(key, "hash")) {
            end->has_hash = record_fields_get_bool(&p, "hash", value);
        } else if (record_fields_equals(key, "hashes")) {
            decode_full_hashes(&p, end, value);
        }
    }
    if (!has_tensors || !has_bytes)
        record_fields_set_incomplete(&p, "an end", "tensors and bytes");
    msgpack_zone_destroy(&zone);
    return p.failed ? -1 : 0;
}

int decode_error_record(const unsigned char *map, size_t size, struct arena *a, const char **stage,
                        const char **sentence, struct error *e)
{
    struct record_fields p = {.arena = a, .error = e, .record = "error"};
    msgpack_zone zone;
    msgpack_object_map m = record_fields_open_map(&p, map, size, &zone);
    *stage = *sentence = "";
    for (size_t i = 0; i < m.size; i++) {
        if (record_fields_equals(m.ptr[i].key, "stage"))
            *stage = record_fields_get_text(&p, "stage", m.ptr[i].val);
        else if (record_fields_equals(m.ptr[i].key, "sentence"))
            *sentence = record_fields_get_text(&p, "sentence", m.ptr[i].val);
    }
    msgpack_zone_destroy(&zone);
    return p.failed ? -1 : 0;
}
