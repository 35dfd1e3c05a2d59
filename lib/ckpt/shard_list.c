#include "shard_list.h"

#include "file_format.h"
#include "gguf_stored_tensors.h"
#include "hash.h"
#include "little_endian.h"
#include "model_input.h"
#include "npz.h"
#include "safetensors.h"
#include "torch_file.h"

#include <stdlib.h>
#include <string.h>

/* ---- headers --------------------------------------------------------------------------------- */

/* A key was given, and the file has none. */
static int set_no_dicts_error(const struct shard *s, const char *what, struct error *e)
{
    return error_set(e, "%s is %s, which has no dicts in it; leave out #%s", s->tensors.file, what,
                     s->tensors.key);
}

int shard_list_read_header(struct shard *s, struct error *e)
{
    const unsigned char *bytes = s->file->bytes;
    size_t size = s->file->size;
    enum file_format format = file_format_detect(bytes, size);
    if (file_format_check(s->tensors.file, bytes, size, e))
        return -1;
    if (format == FILE_FORMAT_UNKNOWN || format == FILE_FORMAT_STREAM ||
        format == FILE_FORMAT_ARCHIVE || format == FILE_FORMAT_COMPRESSED)
        return error_set(e,
                         "%s (%zu bytes) is not a safetensors file, a GGUF file, an .npz file or a "
                         "file of torch.save",
                         s->tensors.file, size);
    if (format == FILE_FORMAT_SAFETENSORS && s->tensors.key)
        return set_no_dicts_error(s, "a safetensors file", e);
    bool is_npz = format == FILE_FORMAT_ZIP && npz_recognize(s->tensors.file, bytes, size);
    if (is_npz && s->tensors.key)
        return set_no_dicts_error(s, "an .npz file", e);
    int failed = format == FILE_FORMAT_SAFETENSORS
                     ? safetensors_list_tensors(&s->tensors, bytes, size, e)
                 : is_npz ? npz_list_tensors(&s->tensors, bytes, size, e)
                          : torch_file_list_tensors(&s->tensors, bytes, size, e);
    model_files_release_pages(s->file, bytes, size);
    return failed;
}

/* The model in the shards, which are mapped GGUF files. NULL on error. */
static struct gguf_model *open_gguf_model(const struct shard_list *s, struct error *e)
{
    struct gguf_model_file *files = mem_alloc(s->n, sizeof *files);
    for (size_t i = 0; i < s->n; i++) {
        const struct model_file *file = s->list[i].file;
        files[i] =
            (struct gguf_model_file){file->title, file->name, file->bytes, (size_t)file->size};
    }
    struct gguf_model *m = gguf_model_open(files, s->n, e);
    free(files);
    return m;
}

static int read_gguf_headers(struct shard_list *s, struct error *e)
{
    s->gguf = open_gguf_model(s, e);
    if (!s->gguf)
        return -1;
    for (size_t i = 0; i < s->n; i++) {
        struct shard *shard = &s->list[i];
        if (gguf_stored_tensors_list(s->gguf, i, &shard->tensors, e) < 0)
            return -1;
        model_files_release_pages(shard->file, shard->file->bytes, shard->file->size);
    }
    return 0;
}

bool shard_list_is_gguf(const struct model_file *file)
{
    return file_format_detect(file->bytes, (size_t)file->size) == FILE_FORMAT_GGUF;
}

int shard_list_read(struct shard_list *s, const struct weight_files *w, const char *spool,
                    struct error *e)
{
    s->list = mem_alloc(w->n, sizeof *s->list);
    s->n = w->n;
    for (size_t i = 0; i < w->n; i++)
        s->list[i] = (struct shard){.file = w->list[i],
                                    .tensors = {.file = w->list[i]->title,
                                                .model = w->is_standard_input ? "-" : w->path,
                                                .key = w->key,
                                                .notes = w->notes}};
    for (size_t i = 0; i < w->n; i++)
        if (model_files_map_file(w->list[i], e) < 0 ||
            model_input_decompress_npz(w->list[i], spool, w->notes, e))
            return -1;
    if (shard_list_is_gguf(w->list[0]))
        return w->key ? set_no_dicts_error(&s->list[0], "a GGUF file", e) : read_gguf_headers(s, e);
    for (size_t i = 0; i < w->n; i++)
        if (shard_list_read_header(&s->list[i], e) < 0)
            return -1;
    return 0;
}

void shard_list_free(struct shard_list *s)
{
    for (size_t i = 0; i < s->n; i++)
        stored_tensors_free(&s->list[i].tensors);
    gguf_model_close(s->gguf);
    free(s->list);
    *s = (struct shard_list){0};
}

size_t shard_list_tensor_count(const struct shard_list *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += s->list[i].tensors.n;
    return n;
}

/* The texts that pack has recorded. */
static int read_gguf_metadata(const struct gguf_metadata *m, json_t **metadata)
{
    *metadata = json_object();
    for (size_t i = 0; i < m->n; i++) {
        const struct gguf_value *v = &m->values[i];
        if (v->type == GGUF_STRING && gguf_metadata_is_recorded_key(v->key))
            json_object_set_new(*metadata, v->key + strlen(GGUF_RECORDED_PREFIX),
                                json_stringn((const char *)v->data, v->data_size));
    }
    if (json_object_size(*metadata) > 0)
        return 1;
    json_decref(*metadata);
    *metadata = NULL;
    return 0;
}

int shard_list_read_metadata(const struct shard_list *s, size_t i, json_t **metadata,
                             struct error *e)
{
    *metadata = NULL;
    if (s->gguf) /* only its first file has any */
        return i == 0 ? read_gguf_metadata(gguf_model_metadata(s->gguf), metadata) : 0;
    if (s->n == 0 || file_format_detect(s->list[i].file->bytes, s->list[i].file->size) !=
                         FILE_FORMAT_SAFETENSORS)
        return 0;
    return safetensors_read_metadata(&s->list[i].tensors, metadata, e);
}

/* ---- fingerprint ----------------------------------------------------------------------------- */

#define SAMPLES     64
#define SAMPLE_SIZE 4096

static void hash_integer(XXH3_state_t *state, uint64_t x)
{
    unsigned char bytes[8];
    little_endian_write(bytes, x, sizeof bytes);
    XXH3_64bits_update(state, bytes, 8);
}

static void hash_shard_samples(XXH3_state_t *state, const struct shard *s)
{
    const struct model_file *file = s->file;
    uint64_t pages = (file->size + SAMPLE_SIZE - 1) / SAMPLE_SIZE;
    uint64_t samples = pages < SAMPLES ? pages : SAMPLES;
    hash_integer(state, file->size);
    XXH3_64bits_update(state, s->tensors.header, s->tensors.header_size);
    if (s->tensors.key)
        XXH3_64bits_update(state, s->tensors.key, strlen(s->tensors.key));
    model_files_release_pages(file, s->tensors.header, s->tensors.header_size);
    model_files_set_random_access(file, true);
    for (uint64_t i = 0; i < samples; i++) {
        uint64_t at = pages * i / samples * SAMPLE_SIZE;
        uint64_t size = file->size - at < SAMPLE_SIZE ? file->size - at : SAMPLE_SIZE;
        XXH3_64bits_update(state, file->bytes + at, size);
        model_files_release_pages(file, file->bytes + at, size);
    }
    model_files_set_random_access(file, false);
}

static uint64_t hash_shards(const struct shard *list, size_t n)
{
    XXH3_state_t *state = hash_new_state();
    for (size_t i = 0; i < n; i++)
        hash_shard_samples(state, &list[i]);
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

uint64_t shard_list_fingerprint(const struct shard_list *s)
{
    return hash_shards(s->list, s->n);
}

uint64_t shard_list_shard_fingerprint(const struct shard_list *s, size_t i)
{
    return hash_shards(&s->list[i], 1);
}
