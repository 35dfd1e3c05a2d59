#include "ckpt.h"

#include "auxiliary_list.h"
#include "checkpoint_files.h"
#include "file_format.h"
#include "foreign_format.h"
#include "hash.h"
#include "model_input.h"
#include "model_path.h"
#include "notes.h"
#include "safetensors_pipe.h"
#include "shard_list.h"
#include "spool.h"
#include "tensor_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ckpt {
    struct model_files files;
    struct shard_list shards;
    struct tensor_table tensors;
    struct auxiliary_list auxiliary;
    struct hub_model hub;
    struct safetensors_pipe *pipe; /* the only file is read from a pipe; NULL: all are mapped */
    const char *spool;             /* folder of temporary files; while it is opened */
    const struct model_file *adapter_config; /* of an adapter, mapped; NULL: it is none */
    bool is_copied; /* the pipe has been copied to a file, which is mapped */
    struct arena arena;
};

/* ---- recognition ----------------------------------------------------------------------------- */

/* Does its name say so? */
static bool may_be_weights(const char *path)
{
    return model_files_kind_of(path) == MODEL_FILE_WEIGHTS || foreign_format_of_name(path);
}

int ckpt_is_checkpoint(const char *path, struct error *e)
{
    struct stat st;
    enum file_format format;
    char *found;
    bool is_compressed;
    const char *key;
    if (model_path_adapter(path))
        return 1;
    if (model_path_resolve(path, &found, &key, e) <= 0)
        return -1;
    int fd = -1, result = stat(found, &st) < 0 ? -1 : S_ISDIR(st.st_mode);
    if (result == 0 && S_ISREG(st.st_mode)) /* reading from a pipe would consume its bytes */
        result = fd = open(found, O_RDONLY | O_CLOEXEC);
    if (result < 0)
        error_set(e, "cannot open %s: %s", found, strerror(errno));
    else if (result == 0 && key)
        result = error_set(e, "%s is not a file of torch.save, so #%s selects nothing in it", found,
                           key);
    if (fd >= 0) {
        result = model_input_detect(fd, found, &format, &is_compressed, e);
        if (result == 0)
            result = format == FILE_FORMAT_UNKNOWN ? may_be_weights(found)
                                                   : format != FILE_FORMAT_STREAM;
        close(fd);
    }
    free(found);
    return result;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int read_tensors(struct ckpt *c, const struct weight_files *w, struct error *e)
{
    struct tensor_table *t = &c->tensors;
    return shard_list_read(&c->shards, w, c->spool, e) < 0 ||
           tensor_table_list(t, &c->shards, e) < 0 ||
           (w->index && tensor_table_check_index(t, w, e) < 0) ||
           tensor_table_resolve_quantized(t, &c->files, w, e);
}

/* Whose config.json comes from the weight file. A file that cannot be read has none. */
static bool has_gguf_weights(const struct weight_files *w)
{
    struct error ignored;
    return w->n > 0 && model_files_map_file(w->list[0], &ignored) == 0 &&
           shard_list_is_gguf(w->list[0]);
}

/* The config determines the values, so it is read once, and must not change. */
static int map_adapter_config(struct ckpt *c, const struct weight_files *w, struct error *e)
{
    struct model_file *config =
        w->is_adapter ? model_files_find(&c->files, "adapter_config.json") : NULL;
    c->adapter_config = config;
    return config ? model_files_map_file(config, e) : 0;
}

/* Without `tensors` only the auxiliary files are listed. */
static struct ckpt *open_checkpoint(const char *path, const char *spool, FILE *notes, bool tensors,
                                    struct error *e)
{
    char *found;
    const char *key;
    if (model_path_resolve(path, &found, &key, e) <= 0)
        return NULL;
    struct ckpt *c = mem_alloc(1, sizeof *c);
    c->spool = spool;
    struct weight_files w = {.files = &c->files, .notes = notes, .tokenizer_is_enough = !tensors};
    w.path = key ? arena_copy_text_n(&c->arena, path, (size_t)(key - path) - 1) : path;
    w.key = arena_copy_text(&c->arena, key);
    int failed = checkpoint_files_list(&c->files, &w, found, spool, e) < 0 ||
                 map_adapter_config(c, &w, e) ||
                 ((tensors || has_gguf_weights(&w)) && read_tensors(c, &w, e));
    auxiliary_list_init(&c->auxiliary, &c->files, &w, c->shards.gguf);
    c->hub = hf_cache_identify_model(found, &c->files.arena);
    weight_files_free(&w);
    free(found);
    if (!failed)
        return c;
    ckpt_close(c);
    return NULL;
}

struct ckpt *ckpt_open(const char *path, const char *spool, FILE *notes, struct error *e)
{
    return open_checkpoint(path, spool, notes, true, e);
}

struct ckpt *ckpt_open_auxiliary_files(const char *path, const char *spool, struct error *e)
{
    char *base = model_path_copy_base(path, model_path_adapter(path));
    struct ckpt *c = open_checkpoint(base, spool, NULL, false, e);
    free(base);
    return c;
}

/* Copies the pipe to a temporary file, which is mapped then. */
static int copy_and_map_pipe(struct ckpt *c, const char *spool, struct error *e)
{
    int fd = spool_open_temporary_file(spool, e);
    if (fd < 0)
        return -1;
    int failed = safetensors_pipe_copy_to_file(c->pipe, fd, e) ||
                 model_files_map_fd(c->shards.list->file, fd, e) < 0;
    close(fd);
    c->is_copied = !failed;
    return failed;
}

/* Scales and weights of a quantized file are not read in the order of the file. */
static bool has_quantized_tensors(const struct stored_tensors *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (dtype_is_quantized(s->list[i].dtype))
            return true;
    return false;
}

static int copy_quantized_pipe(struct ckpt *c, const char *spool, FILE *notes, struct error *e)
{
    struct shard *s = c->shards.list;
    if (copy_and_map_pipe(c, spool, e))
        return -1;
    notes_print(notes, "copied %s to a temporary file, because it has quantized tensors",
                s->tensors.file);
    stored_tensors_free(&s->tensors);
    return shard_list_read_header(s, e);
}

/* Reads the header of a safetensors file; its data stay in the pipe. */
static int open_safetensors_pipe(struct ckpt *c, struct byte_input *in, const char *title,
                                 const char *spool, FILE *notes, struct error *e)
{
    struct shard *s = c->shards.list = mem_alloc(1, sizeof *s);
    s->file = model_files_add(&c->files, "model.safetensors", title, 0);
    s->tensors = (struct stored_tensors){.file = s->file->title, .notes = notes};
    c->shards.n = 1;
    c->pipe = safetensors_pipe_open(in, &s->tensors, e);
    if (!c->pipe || (has_quantized_tensors(&s->tensors) && copy_quantized_pipe(c, spool, notes, e)))
        return -1;
    return tensor_table_list(&c->tensors, &c->shards, e);
}

static int open_copied_pipe(struct ckpt *c, struct byte_input *in, const char *title,
                            const char *key, const char *spool, FILE *notes, struct error *e)
{
    struct weight_files w = {.files = &c->files, .path = title, .is_standard_input = true};
    w.key = arena_copy_text(&c->arena, key);
    w.notes = notes;
    int failed = model_input_add_pipe(&c->files, &w, in, spool, e) < 0 ||
                         map_adapter_config(c, &w, e) || read_tensors(c, &w, e)
                     ? -1
                     : 0;
    auxiliary_list_init(&c->auxiliary, &c->files, &w, c->shards.gguf);
    weight_files_free(&w);
    byte_input_close(in);
    return failed;
}

struct ckpt *ckpt_open_pipe(struct byte_input *in, const char *title, const char *key,
                            const char *spool, FILE *notes, struct error *e)
{
    size_t n;
    const unsigned char *bytes = byte_input_peek(in, &n);
    struct ckpt *c = mem_alloc(1, sizeof *c);
    c->spool = spool;
    int failed = file_format_detect(bytes, n) == FILE_FORMAT_SAFETENSORS && !key
                     ? open_safetensors_pipe(c, in, title, spool, notes, e)
                     : open_copied_pipe(c, in, title, key, spool, notes, e);
    if (!failed)
        return c;
    ckpt_close(c);
    return NULL;
}

int ckpt_copy_pipe(struct ckpt *c, const char *spool, struct error *e)
{
    struct shard *s = c->shards.list;
    if (copy_and_map_pipe(c, spool, e))
        return -1;
    for (size_t i = 0; i < s->tensors.n; i++)
        s->tensors.list[i].data =
            s->file->bytes + 8 + s->tensors.header_size + s->tensors.list[i].offset;
    for (size_t i = 0; i < c->tensors.n; i++)
        c->tensors.rows[i].tensor.data = c->tensors.rows[i].stored->data;
    return 0;
}

bool ckpt_is_pipe(const struct ckpt *c)
{
    return c->pipe && !c->is_copied;
}

void ckpt_close(struct ckpt *c)
{
    if (!c)
        return;
    safetensors_pipe_close(c->pipe);
    auxiliary_list_free(&c->auxiliary);
    tensor_table_free(&c->tensors);
    shard_list_free(&c->shards);
    model_files_free(&c->files);
    arena_free(&c->arena);
    free(c);
}

int ckpt_check_unchanged(const struct ckpt *c, struct error *e)
{
    if (ckpt_is_pipe(c))
        return safetensors_pipe_finish(c->pipe, e);
    return model_files_check_unchanged(&c->files, e);
}

/* ---- tensors --------------------------------------------------------------------------------- */

size_t ckpt_tensor_count(const struct ckpt *c)
{
    return c->tensors.n;
}

const struct ckpt_tensor *ckpt_tensor(const struct ckpt *c, size_t i)
{
    return &c->tensors.rows[i].tensor;
}

long ckpt_find_tensor(const struct ckpt *c, const char *name)
{
    return tensor_table_find(&c->tensors, name);
}

uint64_t ckpt_pipe_offset(const struct ckpt *c, size_t i)
{
    return c->tensors.rows[i].stored->offset;
}

int ckpt_load_elements(const struct ckpt *c, size_t i, size_t first, size_t n, struct error *e)
{
    if (!ckpt_is_pipe(c))
        return 0;
    const struct stored_tensor *t = c->tensors.rows[i].stored;
    return safetensors_pipe_load(c->pipe, t->offset + dtype_bytes(t->dtype, first),
                                 dtype_bytes(t->dtype, n), e);
}

static const unsigned char *bytes_in_pipe(const struct ckpt *c, const struct stored_tensor *t,
                                          size_t first)
{
    return safetensors_pipe_bytes(c->pipe, t->offset + dtype_bytes(t->dtype, first));
}

void ckpt_read_elements(const struct ckpt *c, size_t i, size_t first, size_t n, void *to)
{
    const struct stored_tensor *t = c->tensors.rows[i].stored;
    if (!ckpt_is_pipe(c))
        stored_tensors_copy_elements(t, first, n, to);
    else if (n > 0)
        memcpy(to, bytes_in_pipe(c, t, first), dtype_bytes(t->dtype, n));
}

uint64_t ckpt_hash_elements(const struct ckpt *c, size_t i, size_t first, size_t n)
{
    const struct stored_tensor *t = c->tensors.rows[i].stored;
    size_t size = dtype_bytes(t->dtype, n);
    if (ckpt_is_pipe(c))
        return XXH3_64bits(size ? bytes_in_pipe(c, t, first) : NULL, size);
    if (t->encoding || !t->stride) {
        const unsigned char *bytes = stored_tensors_byte_range(t, first, n, &size);
        return XXH3_64bits_withSeed(bytes, size, t->encoding ? t->encoding->hash : 0);
    }
    void *gathered = mem_alloc(size, 1);
    stored_tensors_copy_elements(t, first, n, gathered);
    uint64_t hash = XXH3_64bits(gathered, size);
    free(gathered);
    return hash;
}

void ckpt_release_pages(const struct ckpt *c, size_t i, size_t first, size_t n)
{
    size_t size;
    const struct tensor_table_row *row = &c->tensors.rows[i];
    if (ckpt_is_pipe(c))
        return;
    const unsigned char *from = stored_tensors_byte_range(row->stored, first, n, &size);
    model_files_release_pages_sequentially(row->shard->file, from, size,
                                           first + n == row->tensor.elements);
}

/* ---- properties ------------------------------------------------------------------------------ */

uint64_t ckpt_fingerprint(const struct ckpt *c)
{
    uint64_t weights = shard_list_fingerprint(&c->shards);
    const struct model_file *config = c->adapter_config;
    return config ? XXH3_64bits_withSeed(config->bytes, config->size, weights) : weights;
}

uint64_t ckpt_shard_fingerprint(const struct ckpt *c, size_t shard)
{
    return shard_list_shard_fingerprint(&c->shards, shard);
}

const char *ckpt_quantization(const struct ckpt *c)
{
    return c->tensors.quantization;
}

bool ckpt_is_adapter(const struct ckpt *c)
{
    return c->adapter_config != NULL;
}

const struct gguf_model *ckpt_gguf_model(const struct ckpt *c)
{
    return c->shards.gguf;
}

struct hub_model ckpt_hub_model(const struct ckpt *c)
{
    return c->hub;
}

size_t ckpt_shard_count(const struct ckpt *c)
{
    return c->shards.n;
}

const char *ckpt_shard_file(const struct ckpt *c, size_t shard)
{
    return c->shards.list[shard].file->title;
}

int ckpt_read_metadata(const struct ckpt *c, size_t shard, json_t **metadata, struct error *e)
{
    return shard_list_read_metadata(&c->shards, shard, metadata, e);
}

/* ---- auxiliary files ------------------------------------------------------------------------- */

size_t ckpt_auxiliary_file_count(const struct ckpt *c)
{
    return c->auxiliary.n;
}

const char *ckpt_auxiliary_file_name(const struct ckpt *c, size_t i)
{
    return c->auxiliary.files[i]->name;
}

const char *ckpt_omitted_files(const struct ckpt *c)
{
    return c->auxiliary.omitted;
}

int ckpt_read_auxiliary_file(const struct ckpt *c, const char *name, char **text, size_t *size,
                             struct error *e)
{
    return auxiliary_list_read(&c->auxiliary, name, text, size, e);
}

int ckpt_read_model_file(const char *path, const char *name, char **text, size_t *size,
                         struct error *e)
{
    char *found;
    const char *key;
    *text = NULL;
    char *base = model_path_copy_base(path, model_path_adapter(path));
    int result = model_path_resolve(base, &found, &key, e);
    free(found);
    if (result > 0)
        result = ckpt_is_checkpoint(base, e);
    free(base);
    if (result <= 0)
        return result;
    struct ckpt *c = ckpt_open_auxiliary_files(path, NULL, e);
    result = c ? ckpt_read_auxiliary_file(c, name, text, size, e) : -1;
    ckpt_close(c);
    return result;
}
