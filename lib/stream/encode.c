#include "encode.h"

#include <msgpack.h>
#include <string.h>

static int append_packed_bytes(void *bytes, const char *data, size_t size)
{
    bytes_append(bytes, data, size);
    return 0;
}

static msgpack_packer new_packer(struct bytes *b)
{
    msgpack_packer p;
    msgpack_packer_init(&p, b, append_packed_bytes);
    return p;
}

static void pack_text(msgpack_packer *p, const char *text)
{
    msgpack_pack_str_with_body(p, text, strlen(text));
}

static void pack_key_text(msgpack_packer *p, const char *key, const char *text)
{
    pack_text(p, key);
    pack_text(p, text);
}

static void pack_key_uint(msgpack_packer *p, const char *key, uint64_t value)
{
    pack_text(p, key);
    msgpack_pack_uint64(p, value);
}

static void pack_key_number(msgpack_packer *p, const char *key, double value)
{
    pack_text(p, key);
    msgpack_pack_double(p, value);
}

/* Hashes are bins of 8 bytes, big-endian. */
static void pack_hash(msgpack_packer *p, uint64_t hash)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(hash >> (56 - 8 * i));
    msgpack_pack_bin_with_body(p, bytes, 8);
}

static void pack_unknown_keys(struct bytes *b, struct unknown_keys unknown)
{
    bytes_append(b, unknown.bytes, unknown.size);
}

static void pack_payload_attributes(msgpack_packer *p, struct bytes *b, const struct vector *v)
{
    bool before = !isnan(v->l1_before), l1 = !isnan(v->l1), keep = !isnan(v->keep_probability);
    pack_text(p, "payload");
    msgpack_pack_map(p, v->unknown_payload_keys.n + before + l1 + keep);
    if (before)
        pack_key_number(p, "l1_before", v->l1_before);
    if (l1)
        pack_key_number(p, "l1", v->l1);
    if (keep)
        pack_key_number(p, "keep", v->keep_probability);
    pack_unknown_keys(b, v->unknown_payload_keys);
}

static void pack_weights(msgpack_packer *p, size_t n, const double *weights)
{
    pack_text(p, "weight");
    if (n != 1)
        msgpack_pack_array(p, n);
    for (size_t i = 0; i < n; i++)
        msgpack_pack_double(p, weights[i]);
}

static void pack_joined_vectors(msgpack_packer *p, struct bytes *b, size_t n,
                                const struct joined_vector *joined)
{
    pack_text(p, "joined");
    msgpack_pack_array(p, n);
    for (size_t i = 0; i < n; i++) {
        const struct joined_vector *v = &joined[i];
        bool weight = v->n_weights != 1 || v->weights[0] != 1;
        msgpack_pack_map(p, 1 + weight + (v->n_joined > 0) + v->unknown_keys.n);
        pack_key_text(p, "name", v->name);
        if (weight)
            pack_weights(p, v->n_weights, v->weights);
        if (v->n_joined)
            pack_joined_vectors(p, b, v->n_joined, v->joined);
        pack_unknown_keys(b, v->unknown_keys);
    }
}

static void pack_vector(msgpack_packer *p, struct bytes *b, const struct tensor *t,
                        const struct vector *v, bool in_manifest)
{
    bool source = !v->source || strcmp(v->source, t->name) != 0;
    bool weight = !in_manifest && (v->n_weights != 1 || v->weights[0] != 1);
    bool payload = !in_manifest && (!isnan(v->l1_before) || !isnan(v->l1) ||
                                    !isnan(v->keep_probability) || v->unknown_payload_keys.n);
    bool joined = !in_manifest && v->n_joined;
    msgpack_pack_map(p, 2 + source + (v->stored_dtype != DTYPE_NONE) + weight + joined + payload +
                            v->unknown_keys.n);
    pack_key_uint(p, "model", v->model);
    pack_key_text(p, "dtype", dtype_name(v->dtype));
    if (source) {
        pack_text(p, "source");
        if (v->source)
            pack_text(p, v->source);
        else
            msgpack_pack_nil(p);
    }
    if (v->stored_dtype != DTYPE_NONE)
        pack_key_text(p, "stored", dtype_name(v->stored_dtype));
    if (weight)
        pack_weights(p, v->n_weights, v->weights);
    if (joined)
        pack_joined_vectors(p, b, v->n_joined, v->joined);
    if (payload)
        pack_payload_attributes(p, b, v);
    pack_unknown_keys(b, v->unknown_keys);
}

static void pack_tensor(msgpack_packer *p, struct bytes *b, const struct tensor *t,
                        bool in_manifest)
{
    bool layer = t->layer >= 0;
    msgpack_pack_map(p, 3 + 2 * !in_manifest + (t->base_name != NULL) + layer + t->unknown_keys.n);
    if (!in_manifest) {
        pack_key_text(p, "record", "tensor");
        pack_key_uint(p, "block", tensor_block_elements(t));
    }
    pack_key_text(p, "name", t->name);
    if (t->base_name)
        pack_key_text(p, "base", t->base_name);
    pack_text(p, "shape");
    msgpack_pack_array(p, t->rank);
    for (size_t i = 0; i < t->rank; i++)
        msgpack_pack_uint64(p, t->shape[i]);
    if (layer) {
        pack_text(p, "layer");
        msgpack_pack_array(p, 2);
        msgpack_pack_long(p, t->layer);
        msgpack_pack_long(p, t->layers);
    }
    pack_text(p, "vectors");
    msgpack_pack_array(p, t->n_vectors);
    for (size_t k = 0; k < t->n_vectors; k++)
        pack_vector(p, b, t, &t->vectors[k], in_manifest);
    pack_unknown_keys(b, t->unknown_keys);
}

static void pack_fingerprints(msgpack_packer *p, const struct history_step *s)
{
    pack_text(p, "fingerprints");
    msgpack_pack_array(p, s->n_fingerprints);
    for (size_t i = 0; i < s->n_fingerprints; i++)
        pack_hash(p, s->fingerprints[i]);
}

static void pack_history(msgpack_packer *p, struct bytes *b, const struct history *history)
{
    msgpack_pack_array(p, history->n);
    for (size_t i = 0; i < history->n; i++) {
        const struct history_step *s = &history->steps[i];
        msgpack_pack_map(p, 3 + (s->n_fingerprints > 0) + (s->blas != NULL) + (s->n_parents > 0) +
                                s->unknown_keys.n);
        pack_key_text(p, "tool", s->tool);
        pack_key_text(p, "version", s->version);
        pack_text(p, "arguments");
        msgpack_pack_array(p, s->n_arguments);
        for (size_t j = 0; j < s->n_arguments; j++)
            pack_text(p, s->arguments[j]);
        if (s->n_fingerprints)
            pack_fingerprints(p, s);
        if (s->blas)
            pack_key_text(p, "blas", s->blas);
        if (s->n_parents) {
            pack_text(p, "parents");
            msgpack_pack_array(p, s->n_parents);
            for (size_t j = 0; j < s->n_parents; j++)
                pack_history(p, b, &s->parents[j]);
        }
        pack_unknown_keys(b, s->unknown_keys);
    }
}

static void pack_model(msgpack_packer *p, struct bytes *b, const struct model *m)
{
    msgpack_pack_map(p, 1 + (m->role != NULL) + m->has_fingerprint + (m->hub != NULL) +
                            (m->commit != NULL) + (m->quantization != NULL) + m->unknown_keys.n);
    pack_key_text(p, "name", m->name);
    if (m->role)
        pack_key_text(p, "role", m->role);
    if (m->has_fingerprint) {
        pack_text(p, "fingerprint");
        pack_hash(p, m->fingerprint);
    }
    if (m->hub)
        pack_key_text(p, "hub", m->hub);
    if (m->commit)
        pack_key_text(p, "commit", m->commit);
    if (m->quantization)
        pack_key_text(p, "quantization", m->quantization);
    pack_unknown_keys(b, m->unknown_keys);
}

void encode_header(struct bytes *b, const struct header *h)
{
    msgpack_packer p = new_packer(b);
    msgpack_pack_map(&p, 6 + (h->input_rounding != DTYPE_NONE) + h->unknown_keys.n);
    pack_key_text(&p, "record", "header");
    pack_key_uint(&p, "version", 1);
    pack_key_text(&p, "kind", stream_kind_name(h->kind));
    if (h->input_rounding != DTYPE_NONE)
        pack_key_text(&p, "rounding", dtype_name(h->input_rounding));
    pack_text(&p, "models");
    msgpack_pack_array(&p, h->n_models);
    for (size_t i = 0; i < h->n_models; i++)
        pack_model(&p, b, &h->models[i]);
    pack_text(&p, "tensors");
    msgpack_pack_array(&p, h->n_tensors);
    for (size_t i = 0; i < h->n_tensors; i++)
        pack_tensor(&p, b, &h->tensors[i], true);
    pack_text(&p, "history");
    pack_history(&p, b, &h->history);
    pack_unknown_keys(b, h->unknown_keys);
}

void encode_tensor_record(struct bytes *b, const struct tensor *t)
{
    msgpack_packer p = new_packer(b);
    pack_tensor(&p, b, t, false);
}

void encode_tensor_trailer(struct bytes *b, const struct trailer *t)
{
    msgpack_packer p = new_packer(b);
    msgpack_pack_map(&p, 1 + t->has_checksum);
    pack_key_text(&p, "record", "trailer");
    if (t->has_checksum) {
        pack_text(&p, "checksum");
        pack_hash(&p, t->checksum);
    }
}

void encode_end_record(struct bytes *b, const struct end_record *end)
{
    msgpack_packer p = new_packer(b);
    msgpack_pack_map(&p, 3 + (end->n_hashes > 0) + !end->has_hash);
    pack_key_text(&p, "record", "end");
    pack_key_uint(&p, "tensors", end->tensors);
    pack_key_uint(&p, "bytes", end->payload_bytes);
    if (end->n_hashes) {
        pack_text(&p, "hashes");
        msgpack_pack_map(&p, end->n_hashes);
        for (size_t i = 0; i < end->n_hashes; i++) {
            pack_text(&p, end->hashed_models[i]);
            pack_hash(&p, end->hashes[i]);
        }
    }
    if (!end->has_hash) {
        pack_text(&p, "hash");
        msgpack_pack_false(&p);
    }
}

void encode_error_record(struct bytes *b, const char *stage, const char *sentence)
{
    msgpack_packer p = new_packer(b);
    msgpack_pack_map(&p, 3);
    pack_key_text(&p, "record", "error");
    pack_key_text(&p, "stage", stage);
    pack_key_text(&p, "sentence", sentence);
}

void encode_magic(struct bytes *b)
{
    msgpack_packer p = new_packer(b);
    pack_text(&p, RECORD_MAGIC);
}

void encode_uint(struct bytes *b, uint64_t value)
{
    msgpack_packer p = new_packer(b);
    msgpack_pack_uint64(&p, value);
}

void encode_bin_header(struct bytes *b, uint32_t size)
{
    msgpack_packer p = new_packer(b);
    msgpack_pack_bin(&p, size);
}

void encode_hash(struct bytes *b, uint64_t hash)
{
    msgpack_packer p = new_packer(b);
    pack_hash(&p, hash);
}

void encode_msgpack_object(struct bytes *b, const struct msgpack_object *object)
{
    msgpack_packer p = new_packer(b);
    msgpack_pack_object(&p, *object);
}
