#include "decode.h"

#include "encode.h"

#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

static bool is(msgpack_object key, const char *text)
{
    return key.type == MSGPACK_OBJECT_STR && key.via.str.size == strlen(text) &&
           memcmp(key.via.str.ptr, text, key.via.str.size) == 0;
}

/* Everything a decoder needs; after the first mistake the rest is skipped. */
struct decoder_defaults {
    struct arena *a;
    struct error *e;
    const char *record; /* for messages */
    bool failed;
};

static void wrong(struct decoder_defaults *d, const char *key, const char *needed)
{
    if (!d->failed)
        error_set(d->e, "broken stream: %s in a %s record is not %s", key, d->record, needed);
    d->failed = true;
}

/* Strings of a stream are terminated here, so a zero byte inside one is refused. */
static const char *get_text(struct decoder_defaults *d, const char *key, msgpack_object o)
{
    if (o.type != MSGPACK_OBJECT_STR || memchr(o.via.str.ptr, 0, o.via.str.size)) {
        wrong(d, key, "a string");
        return "";
    }
    return arena_copy_text_n(d->a, o.via.str.ptr, o.via.str.size);
}

static uint64_t get_uint(struct decoder_defaults *d, const char *key, msgpack_object o,
                         uint64_t most)
{
    if (o.type != MSGPACK_OBJECT_POSITIVE_INTEGER || o.via.u64 > most) {
        wrong(d, key, "a number in range");
        return 0;
    }
    return o.via.u64;
}

static double get_number(struct decoder_defaults *d, const char *key, msgpack_object o)
{
    double x = NAN;
    if (o.type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        x = (double)o.via.u64;
    else if (o.type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        x = (double)o.via.i64;
    else if (o.type == MSGPACK_OBJECT_FLOAT64 || o.type == MSGPACK_OBJECT_FLOAT32)
        x = o.via.f64;
    if (!isfinite(x))
        wrong(d, key, "a finite number");
    return x;
}

static uint64_t get_hash(struct decoder_defaults *d, const char *key, msgpack_object o)
{
    if (o.type != MSGPACK_OBJECT_BIN || o.via.bin.size != 8) {
        wrong(d, key, "a bin of 8 bytes");
        return 0;
    }
    return record_read_big_endian((const unsigned char *)o.via.bin.ptr, 8);
}

static msgpack_object_array get_array(struct decoder_defaults *d, const char *key, msgpack_object o)
{
    if (o.type != MSGPACK_OBJECT_ARRAY) {
        wrong(d, key, "an array");
        return (msgpack_object_array){0};
    }
    return o.via.array;
}

static msgpack_object_map get_map(struct decoder_defaults *d, const char *key, msgpack_object o)
{
    if (o.type != MSGPACK_OBJECT_MAP) {
        wrong(d, key, "a map");
        return (msgpack_object_map){0};
    }
    return o.via.map;
}

static enum dtype get_dtype(struct decoder_defaults *d, const char *key, msgpack_object o)
{
    enum dtype dtype = dtype_from_name(get_text(d, key, o));
    if (dtype == DTYPE_NONE)
        wrong(d, key, "a dtype of safetensors");
    return dtype;
}

/* Appends a pair that this version does not know to what will be passed on. */
static void keep_pair(struct decoder_defaults *d, struct unknown_keys *x,
                      const msgpack_object_kv *pair)
{
    struct bytes b = {0};
    encode_msgpack_object(&b, &pair->key);
    encode_msgpack_object(&b, &pair->val);
    unsigned char *all = arena_alloc(d->a, x->size + b.size, 1);
    if (x->size)
        memcpy(all, x->bytes, x->size);
    memcpy(all + x->size, b.data, b.size);
    *x = (struct unknown_keys){x->n + 1, x->size + b.size, all};
    bytes_free(&b);
}

static void get_weights(struct decoder_defaults *d, struct vector *v, msgpack_object o)
{
    if (o.type != MSGPACK_OBJECT_ARRAY) {
        double w = get_number(d, "weight", o);
        vector_set_weights(v, d->a, 1, &w);
        return;
    }
    size_t n = o.via.array.size;
    double *w = arena_alloc(d->a, n, sizeof *w);
    for (size_t i = 0; i < n; i++)
        w[i] = get_number(d, "weight", o.via.array.ptr[i]);
    if (n == 0)
        wrong(d, "weight", "a number or a list of numbers");
    v->n_weights = n;
    v->weights = w;
}

static void get_payload(struct decoder_defaults *d, struct vector *v, msgpack_object o)
{
    msgpack_object_map m = get_map(d, "payload", o);
    for (size_t i = 0; i < m.size; i++) {
        if (is(m.ptr[i].key, "l1_before"))
            v->l1_before = get_number(d, "l1_before", m.ptr[i].val);
        else if (is(m.ptr[i].key, "keep"))
            v->keep_probability = get_number(d, "keep", m.ptr[i].val);
        else
            keep_pair(d, &v->unknown_payload_keys, &m.ptr[i]);
    }
}

static struct vector get_vector(struct decoder_defaults *d, msgpack_object o, const char *tensor,
                                size_t n_models)
{
    struct vector v = vector_with_defaults(SIZE_MAX, tensor, DTYPE_NONE, DTYPE_NONE);
    msgpack_object_map m = get_map(d, "vectors", o);
    for (size_t i = 0; i < m.size; i++) {
        msgpack_object key = m.ptr[i].key, value = m.ptr[i].val;
        if (is(key, "model"))
            v.model = get_uint(d, "model", value, n_models ? n_models - 1 : 0);
        else if (is(key, "dtype"))
            v.dtype = get_dtype(d, "dtype", value);
        else if (is(key, "stored"))
            v.stored_dtype = get_dtype(d, "stored", value);
        else if (is(key, "source"))
            v.source = value.type == MSGPACK_OBJECT_NIL ? NULL : get_text(d, "source", value);
        else if (is(key, "weight"))
            get_weights(d, &v, value);
        else if (is(key, "payload"))
            get_payload(d, &v, value);
        else
            keep_pair(d, &v.unknown_keys, &m.ptr[i]);
    }
    if (v.model == SIZE_MAX || v.dtype == DTYPE_NONE)
        wrong(d, "a vector", "complete (model and dtype)");
    return v;
}

static void get_shape(struct decoder_defaults *d, struct tensor *t, msgpack_object o)
{
    msgpack_object_array shape = get_array(d, "shape", o);
    uint64_t *dims = arena_alloc(d->a, shape.size, sizeof *dims);
    for (size_t i = 0; i < shape.size; i++)
        dims[i] = get_uint(d, "shape", shape.ptr[i], UINT64_MAX);
    t->rank = shape.size;
    t->shape = dims;
}

static void get_layer(struct decoder_defaults *d, struct tensor *t, msgpack_object o)
{
    msgpack_object_array layer = get_array(d, "layer", o);
    if (layer.size != 2) {
        wrong(d, "layer", "a pair");
        return;
    }
    t->layer = (long)get_uint(d, "layer", layer.ptr[0], INT32_MAX);
    t->layers = (long)get_uint(d, "layer", layer.ptr[1], INT32_MAX);
    if (t->layer >= t->layers)
        wrong(d, "layer", "a pair i, L with i < L");
}

static struct tensor get_tensor(struct decoder_defaults *d, msgpack_object o, size_t n_models)
{
    struct tensor t = {.layer = -1, .layers = -1};
    msgpack_object_map m = get_map(d, "tensors", o);
    msgpack_object_array vectors = {0};
    uint64_t block = UINT64_MAX;
    for (size_t i = 0; i < m.size; i++) {
        msgpack_object key = m.ptr[i].key, value = m.ptr[i].val;
        if (is(key, "name"))
            t.name = get_text(d, "name", value);
        else if (is(key, "base"))
            t.base_name = get_text(d, "base", value);
        else if (is(key, "shape"))
            get_shape(d, &t, value);
        else if (is(key, "layer"))
            get_layer(d, &t, value);
        else if (is(key, "vectors"))
            vectors = get_array(d, "vectors", value);
        else if (is(key, "block"))
            block = get_uint(d, "block", value, UINT64_MAX);
        else if (!is(key, "record"))
            keep_pair(d, &t.unknown_keys, &m.ptr[i]);
    }
    if (!t.name || !t.shape || !vectors.ptr || vectors.size == 0)
        wrong(d, "a tensor", "complete (name, shape and vectors)");
    if (d->failed || tensor_check_shape(t.name, t.rank, t.shape, d->e)) {
        d->failed = true;
        return t;
    }
    t.n_vectors = vectors.size;
    t.vectors = arena_alloc(d->a, t.n_vectors, sizeof *t.vectors);
    for (size_t k = 0; k < t.n_vectors; k++) {
        t.vectors[k] = get_vector(d, vectors.ptr[k], t.name, n_models);
        if (k && t.vectors[k].model <= t.vectors[k - 1].model)
            wrong(d, "vectors", "in increasing order of models");
        if (!tensor_can_split(&t, t.vectors[k].n_weights))
            wrong(d, "weight", "a list that cuts the tensor into chunks");
    }
    if (block != UINT64_MAX && !d->failed && block != tensor_block_elements(&t))
        wrong(d, "block", "what the tensor's shape asks for");
    return t;
}

static struct history get_history(struct decoder_defaults *d, msgpack_object o)
{
    msgpack_object_array steps = get_array(d, "history", o);
    struct history history = {steps.size,
                              arena_alloc(d->a, steps.size, sizeof(struct history_step))};
    for (size_t i = 0; i < steps.size; i++) {
        struct history_step *s = &history.steps[i];
        s->tool = s->version = "";
        msgpack_object_map m = get_map(d, "a step", steps.ptr[i]);
        for (size_t j = 0; j < m.size; j++) {
            msgpack_object key = m.ptr[j].key, value = m.ptr[j].val;
            if (is(key, "tool")) {
                s->tool = get_text(d, "tool", value);
            } else if (is(key, "version")) {
                s->version = get_text(d, "version", value);
            } else if (is(key, "arguments")) {
                msgpack_object_array list = get_array(d, "arguments", value);
                s->n_arguments = list.size;
                s->arguments = arena_alloc(d->a, list.size, sizeof *s->arguments);
                for (size_t k = 0; k < list.size; k++)
                    s->arguments[k] = get_text(d, "arguments", list.ptr[k]);
            } else if (is(key, "parents")) {
                msgpack_object_array list = get_array(d, "parents", value);
                s->n_parents = list.size;
                s->parents = arena_alloc(d->a, list.size, sizeof *s->parents);
                for (size_t k = 0; k < list.size; k++)
                    s->parents[k] = get_history(d, list.ptr[k]);
            } else {
                keep_pair(d, &s->unknown_keys, &m.ptr[j]);
            }
        }
    }
    return history;
}

/* The map as objects, in `zone`; an empty map on failure. */
static msgpack_object_map open_map(struct decoder_defaults *d, const unsigned char *map,
                                   size_t size, msgpack_zone *zone)
{
    msgpack_object o;
    size_t offset = 0;
    msgpack_zone_init(zone, 4096);
    if (!record_is_well_formed(map, size) ||
        msgpack_unpack((const char *)map, size, &offset, zone, &o) < 0 || offset != size ||
        o.type != MSGPACK_OBJECT_MAP) {
        d->failed = true;
        error_set(d->e, "broken stream: a record is not one msgpack map of the length before it");
        return (msgpack_object_map){0};
    }
    return o.via.map;
}

int decode_record_type(const unsigned char *map, size_t size, struct error *e)
{
    static const char *const names[] = {"header", "tensor", "trailer", "end", "error"};
    struct arena a = {0};
    struct decoder_defaults d = {.a = &a, .e = e, .record = "unknown"};
    msgpack_zone zone;
    msgpack_object_map m = open_map(&d, map, size, &zone);
    int type = -1;
    const char *name = NULL;
    for (size_t i = 0; i < m.size; i++)
        if (is(m.ptr[i].key, "record"))
            name = get_text(&d, "record", m.ptr[i].val);
    for (int i = 0; name && i < 5; i++)
        if (strcmp(name, names[i]) == 0)
            type = i;
    if (!d.failed && type < 0)
        error_set(e, "broken stream: unknown record type %s", name ? name : "(none)");
    msgpack_zone_destroy(&zone);
    arena_free(&a);
    return d.failed ? -1 : type;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void check_unique(struct decoder_defaults *d, const char *what, size_t n, const char **names)
{
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 1; i < n && !d->failed; i++)
        if (strcmp(names[i], names[i - 1]) == 0) {
            d->failed = true;
            error_set(d->e, "broken stream: two %s are called %s", what, names[i]);
        }
    free(names);
}

static void get_models(struct decoder_defaults *d, struct header *h, msgpack_object o)
{
    msgpack_object_array models = get_array(d, "models", o);
    const char **names = mem_alloc(models.size, sizeof *names);
    h->models = arena_alloc(d->a, models.size, sizeof *h->models);
    h->n_models = models.size;
    for (size_t i = 0; i < models.size; i++) {
        struct model *model = &h->models[i];
        msgpack_object_map m = get_map(d, "a model", models.ptr[i]);
        model->name = "";
        for (size_t j = 0; j < m.size; j++) {
            msgpack_object key = m.ptr[j].key, value = m.ptr[j].val;
            if (is(key, "name")) {
                model->name = get_text(d, "name", value);
            } else if (is(key, "role")) {
                model->role = get_text(d, "role", value);
            } else if (is(key, "fingerprint")) {
                model->fingerprint = get_hash(d, "fingerprint", value);
                model->has_fingerprint = true;
            } else {
                keep_pair(d, &model->unknown_keys, &m.ptr[j]);
            }
        }
        names[i] = model->name;
    }
    check_unique(d, "models", models.size, names);
}

static void get_manifest(struct decoder_defaults *d, struct header *h, msgpack_object o)
{
    msgpack_object_array tensors = get_array(d, "tensors", o);
    const char **names = mem_alloc(tensors.size, sizeof *names);
    h->tensors = arena_alloc(d->a, tensors.size, sizeof *h->tensors);
    for (size_t i = 0; i < tensors.size && !d->failed; i++) {
        h->tensors[i] = get_tensor(d, tensors.ptr[i], h->n_models);
        h->tensors[i].input_index = i;
        names[h->n_tensors++] = h->tensors[i].name;
    }
    if (d->failed)
        free(names);
    else
        check_unique(d, "tensors", h->n_tensors, names);
}

static enum stream_kind get_kind(struct decoder_defaults *d, msgpack_object o)
{
    for (int kind = KIND_WEIGHTS; kind <= KIND_ACTIVATIONS; kind *= 2)
        if (is(o, stream_kind_name((enum stream_kind)kind)))
            return (enum stream_kind)kind;
    wrong(d, "kind", "weights, task-vectors or activations");
    return KIND_WEIGHTS;
}

int decode_header(const unsigned char *map, size_t size, struct header *h, struct error *e)
{
    struct decoder_defaults d = {.a = &h->arena, .e = e, .record = "header"};
    msgpack_zone zone;
    msgpack_object_map m = open_map(&d, map, size, &zone);
    const msgpack_object *models = NULL, *tensors = NULL;
    uint64_t version = 0;
    for (size_t i = 0; i < m.size; i++) {
        msgpack_object key = m.ptr[i].key, value = m.ptr[i].val;
        if (is(key, "version"))
            version = get_uint(&d, "version", value, UINT64_MAX);
        else if (is(key, "kind"))
            h->kind = get_kind(&d, value);
        else if (is(key, "rounding"))
            h->input_rounding = get_dtype(&d, "rounding", value);
        else if (is(key, "models"))
            models = &m.ptr[i].val;
        else if (is(key, "tensors"))
            tensors = &m.ptr[i].val;
        else if (is(key, "history"))
            h->history = get_history(&d, value);
        else if (!is(key, "record"))
            keep_pair(&d, &h->unknown_keys, &m.ptr[i]);
    }
    if (!d.failed && version != 1) {
        d.failed = true;
        error_set(e, "the stream has version %llu; this program reads version 1",
                  (unsigned long long)version);
    }
    if (!d.failed && (!h->kind || !models || !tensors))
        wrong(&d, "a stream header", "complete (kind, models and tensors)");
    if (!d.failed)
        get_models(&d, h, *models);
    if (!d.failed)
        get_manifest(&d, h, *tensors);
    msgpack_zone_destroy(&zone);
    return d.failed ? -1 : 0;
}

int decode_tensor(const unsigned char *map, size_t size, const struct header *h, struct arena *a,
                  struct tensor *t, struct error *e)
{
    struct decoder_defaults d = {.a = a, .e = e, .record = "tensor"};
    msgpack_zone zone;
    msgpack_object_map m = open_map(&d, map, size, &zone);
    msgpack_object o = {.type = MSGPACK_OBJECT_MAP, .via.map = m};
    if (!d.failed)
        *t = get_tensor(&d, o, h->n_models);
    msgpack_zone_destroy(&zone);
    return d.failed ? -1 : 0;
}

int decode_trailer(const unsigned char *map, size_t size, struct trailer *t, struct error *e)
{
    struct arena a = {0};
    struct decoder_defaults d = {.a = &a, .e = e, .record = "trailer"};
    msgpack_zone zone;
    msgpack_object_map m = open_map(&d, map, size, &zone);
    *t = (struct trailer){0};
    for (size_t i = 0; i < m.size; i++)
        if (is(m.ptr[i].key, "checksum")) {
            t->has_checksum = true;
            t->checksum = get_hash(&d, "checksum", m.ptr[i].val);
        }
    msgpack_zone_destroy(&zone);
    arena_free(&a);
    return d.failed ? -1 : 0;
}

static void get_hashes(struct decoder_defaults *d, struct end_record *end, msgpack_object o)
{
    msgpack_object_map m = get_map(d, "hashes", o);
    uint64_t *hashes = arena_alloc(d->a, m.size, sizeof *hashes);
    end->hashed_models = arena_alloc(d->a, m.size, sizeof *end->hashed_models);
    end->hashes = hashes;
    end->n_hashes = m.size;
    for (size_t i = 0; i < m.size; i++) {
        end->hashed_models[i] = get_text(d, "hashes", m.ptr[i].key);
        hashes[i] = get_hash(d, "hashes", m.ptr[i].val);
    }
}

int decode_end(const unsigned char *map, size_t size, struct arena *a, struct end_record *end,
               struct error *e)
{
    struct decoder_defaults d = {.a = a, .e = e, .record = "end"};
    msgpack_zone zone;
    msgpack_object_map m = open_map(&d, map, size, &zone);
    *end = (struct end_record){.has_hash = true};
    for (size_t i = 0; i < m.size; i++) {
        msgpack_object key = m.ptr[i].key, value = m.ptr[i].val;
        if (is(key, "tensors"))
            end->tensors = get_uint(&d, "tensors", value, UINT64_MAX);
        else if (is(key, "bytes"))
            end->payload_bytes = get_uint(&d, "bytes", value, UINT64_MAX);
        else if (is(key, "hash"))
            end->has_hash = value.type != MSGPACK_OBJECT_BOOLEAN || value.via.boolean;
        else if (is(key, "hashes"))
            get_hashes(&d, end, value);
    }
    msgpack_zone_destroy(&zone);
    return d.failed ? -1 : 0;
}

int decode_error(const unsigned char *map, size_t size, struct arena *a, const char **stage,
                 const char **sentence, struct error *e)
{
    struct decoder_defaults d = {.a = a, .e = e, .record = "error"};
    msgpack_zone zone;
    msgpack_object_map m = open_map(&d, map, size, &zone);
    *stage = *sentence = "";
    for (size_t i = 0; i < m.size; i++) {
        if (is(m.ptr[i].key, "stage"))
            *stage = get_text(&d, "stage", m.ptr[i].val);
        else if (is(m.ptr[i].key, "sentence"))
            *sentence = get_text(&d, "sentence", m.ptr[i].val);
    }
    msgpack_zone_destroy(&zone);
    return d.failed ? -1 : 0;
}

/* ---- as text ----------------------------------------------------------------------------- */

static void print_json_text(FILE *out, const char *text, size_t size)
{
    putc('"', out);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < ' ' || c == 127)
            fprintf(out, "\\u%04x", c);
        else
            putc(c, out);
    }
    putc('"', out);
}

static void print_json(FILE *out, msgpack_object o)
{
    switch (o.type) {
    case MSGPACK_OBJECT_NIL:
        fputs("null", out);
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        fputs(o.via.boolean ? "true" : "false", out);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        fprintf(out, "%llu", (unsigned long long)o.via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        fprintf(out, "%lld", (long long)o.via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        if (isfinite(o.via.f64))
            fprintf(out, "%.17g", o.via.f64);
        else
            fputs("null", out);
        break;
    case MSGPACK_OBJECT_STR:
        print_json_text(out, o.via.str.ptr, o.via.str.size);
        break;
    case MSGPACK_OBJECT_ARRAY:
        putc('[', out);
        for (size_t i = 0; i < o.via.array.size; i++) {
            fputs(i ? ", " : "", out);
            print_json(out, o.via.array.ptr[i]);
        }
        putc(']', out);
        break;
    case MSGPACK_OBJECT_MAP:
        putc('{', out);
        for (size_t i = 0; i < o.via.map.size; i++) {
            fputs(i ? ", " : "", out);
            print_json(out, o.via.map.ptr[i].key);
            fputs(": ", out);
            print_json(out, o.via.map.ptr[i].val);
        }
        putc('}', out);
        break;
    case MSGPACK_OBJECT_BIN:
    case MSGPACK_OBJECT_EXT:
        putc('"', out);
        for (size_t i = 0; o.type == MSGPACK_OBJECT_BIN && i < o.via.bin.size; i++)
            fprintf(out, "%02x", (unsigned char)o.via.bin.ptr[i]);
        putc('"', out);
        break;
    }
}

void record_json_print(FILE *out, const unsigned char *map, size_t size)
{
    struct error e;
    struct decoder_defaults d = {.e = &e};
    msgpack_zone zone;
    msgpack_object_map m = open_map(&d, map, size, &zone);
    print_json(out, (msgpack_object){.type = MSGPACK_OBJECT_MAP, .via.map = m});
    msgpack_zone_destroy(&zone);
}
