#include "ckpt.h"

#include "file_format.h"
#include "foreign_format.h"
#include "gguf_config.h"
#include "glob_pattern.h"
#include "hash.h"
#include "model_input.h"
#include "model_path.h"
#include "notes.h"
#include "npz.h"
#include "quantized_weights.h"
#include "read_files.h"
#include "safetensors.h"
#include "safetensors_pipe.h"
#include "shard_index.h"
#include "spool.h"
#include "torch_file.h"
#include "unarchive.h"
#include "weight_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A weight file and its tensors. */
struct shard {
    struct model_file *file;
    struct stored_tensors tensors;
};

/* A tensor and where it is stored. */
struct entry {
    struct ckpt_tensor tensor;
    struct stored_tensor *stored;
    const struct shard *shard;
};

struct ckpt {
    struct model_files files;
    struct shard *shards; /* sorted by name */
    size_t n_shards;
    struct entry *entries; /* sorted by name */
    size_t n;
    struct model_file **auxiliary;
    size_t n_auxiliary;
    const char *omitted; /* ckpt_omitted_files */
    struct hub_model hub;
    struct gguf_model *gguf;       /* NULL: the weights are not in GGUF files */
    struct safetensors_pipe *pipe; /* the only file is read from a pipe; NULL: all are mapped */
    const char *spool;             /* folder of temporary files; while it is opened */
    bool is_copied;                /* the pipe has been copied to a file, which is mapped */
    struct arena arena;
    const char *quantization; /* ckpt_quantization */
};

/* ---- recognition ----------------------------------------------------------------------------- */

int ckpt_is_checkpoint(const char *path, struct error *e)
{
    struct stat st;
    enum file_format format;
    char *found;
    bool is_compressed;
    const char *key;
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
            result =
                format != FILE_FORMAT_UNKNOWN || model_files_kind_of(found) == MODEL_FILE_WEIGHTS;
        close(fd);
    }
    free(found);
    return result;
}

/* Is the zip at `path` a weight file? 0: it is an archive; -1: it is damaged. */
static int is_weight_zip(const char *path, struct error *e)
{
    struct model_file file = {.title = path};
    int found = model_input_is_weight_zip(&file, e);
    if (file.is_mapped)
        munmap((void *)file.bytes, file.size);
    return found;
}

/* ---- finding the weight files ---------------------------------------------------------------- */

/* A weight file given by its path. model.safetensors and the like bring the auxiliary files of
 * their folder, a file of a split GGUF model the others. */
static int list_single_weight_file(struct model_files *files, struct weight_files *w,
                                   const char *path, enum file_format format, struct error *e)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *folder = ".";
    if (slash)
        folder =
            slash == path ? "/" : arena_copy_text_n(&files->arena, path, (size_t)(slash - path));
    bool is_default = model_files_is_default_weights_name(name);
    if (is_default && model_files_add_folder(files, folder, e) < 0)
        return -1;
    if (is_default && model_files_find(files, "config.json") && model_files_find(files, name)) {
        weight_files_add(w, model_files_find(files, name));
        return 0;
    }
    model_files_free(files);
    size_t splits = format == FILE_FORMAT_GGUF ? weight_files_count_splits(name) : 0;
    for (size_t i = 0; i < splits; i++) {
        const char *split = weight_files_split_name(name, i, &files->arena);
        model_files_add(files, split,
                        arena_printf(&files->arena, "%.*s%s", (int)(name - path), path, split), 0);
    }
    if (splits == 0)
        model_files_add(files, name, path, 0);
    for (size_t i = 0; i < files->n; i++)
        weight_files_add(w, &files->files[i]);
    return 0;
}

/* Lists the files of the folder, file or archive at `path`, and those among them with weights. */
static int list_checkpoint_files(struct model_files *files, struct weight_files *w,
                                 const char *path, const char *spool, struct error *e)
{
    struct stat st;
    enum file_format format = FILE_FORMAT_UNKNOWN;
    bool is_compressed = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), failed = 0;
    if (fd < 0 || fstat(fd, &st) < 0)
        failed = error_set(e, "cannot open %s: %s", path, strerror(errno));
    else if (S_ISREG(st.st_mode))
        failed = model_input_detect(fd, path, &format, &is_compressed, e);
    if (fd >= 0)
        close(fd);
    if (failed)
        return -1;
    read_files_add(&st);
    if (S_ISDIR(st.st_mode))
        return model_files_add_folder(files, path, e) < 0 ? -1 : weight_files_find(w, e);
    if (is_compressed && format != FILE_FORMAT_ARCHIVE)
        return model_input_add_compressed_file(files, w, path, spool, e);
    int is_weights = format == FILE_FORMAT_ZIP ? is_weight_zip(path, e) : 0;
    if (is_weights < 0)
        return -1;
    if (format == FILE_FORMAT_ARCHIVE || (format == FILE_FORMAT_ZIP && !is_weights)) {
        const struct unarchive_input input = {.path = path, .fd = -1};
        return unarchive_model(files, &input, spool, w->notes, e) ? -1 : weight_files_find(w, e);
    }
    return list_single_weight_file(files, w, path, format, e);
}

/* ---- reading the headers --------------------------------------------------------------------- */

/* A key was given, and the file has none. */
static int set_no_dicts_error(const struct shard *s, const char *what, struct error *e)
{
    return error_set(e, "%s is %s, which has no dicts in it; leave out #%s", s->tensors.file, what,
                     s->tensors.key);
}

static int read_shard_header(struct shard *s, struct error *e)
{
    const unsigned char *bytes = s->file->bytes;
    size_t size = s->file->size;
    enum file_format format = file_format_detect(bytes, size);
    if (format == FILE_FORMAT_LFS_POINTER)
        return error_set(e, "%s is a Git LFS pointer, not the file itself; run git lfs pull",
                         s->tensors.file);
    if (format == FILE_FORMAT_FOREIGN)
        return foreign_format_set_error(s->tensors.file, foreign_format_detect(bytes, size), e);
    if (format == FILE_FORMAT_UNKNOWN || format == FILE_FORMAT_ARCHIVE ||
        format == FILE_FORMAT_COMPRESSED)
        return error_set(
            e, "%s (%zu bytes) is not a safetensors file, a GGUF file or a file of torch.save",
            s->tensors.file, size);
    if (format == FILE_FORMAT_SAFETENSORS && s->tensors.key)
        return set_no_dicts_error(s, "a safetensors file", e);
    bool is_npz = format == FILE_FORMAT_ZIP && npz_recognise(s->tensors.file, bytes, size);
    int failed = format == FILE_FORMAT_SAFETENSORS
                     ? safetensors_list_tensors(&s->tensors, bytes, size, e)
                 : is_npz ? npz_list_tensors(&s->tensors, bytes, size, e)
                          : torch_file_list_tensors(&s->tensors, bytes, size, e);
    model_files_release_pages(s->file, bytes, size);
    return failed;
}

/* The model in the shards, which are mapped GGUF files. NULL on error. */
static struct gguf_model *open_gguf_model(const struct ckpt *c, struct error *e)
{
    struct gguf_model_file *files = mem_alloc(c->n_shards, sizeof *files);
    for (size_t i = 0; i < c->n_shards; i++) {
        const struct model_file *file = c->shards[i].file;
        files[i] =
            (struct gguf_model_file){file->title, file->name, file->bytes, (size_t)file->size};
    }
    struct gguf_model *m = gguf_model_open(files, c->n_shards, e);
    free(files);
    return m;
}

static int read_gguf_headers(struct ckpt *c, struct error *e)
{
    c->gguf = open_gguf_model(c, e);
    if (!c->gguf)
        return -1;
    for (size_t i = 0; i < c->n_shards; i++) {
        struct shard *s = &c->shards[i];
        if (gguf_model_list_tensors(c->gguf, i, &s->tensors, e) < 0)
            return -1;
        c->n += s->tensors.n;
        model_files_release_pages(s->file, s->file->bytes, s->file->size);
    }
    return 0;
}

static bool is_gguf(const struct model_file *file)
{
    return file_format_detect(file->bytes, (size_t)file->size) == FILE_FORMAT_GGUF;
}

static int read_shard_headers(struct ckpt *c, const struct weight_files *w, struct error *e)
{
    c->shards = mem_alloc(w->n, sizeof *c->shards);
    c->n_shards = w->n;
    for (size_t i = 0; i < w->n; i++)
        c->shards[i] = (struct shard){
            .file = w->list[i],
            .tensors = {
                .file = w->list[i]->title, .model = w->path, .key = w->key, .notes = w->notes}};
    for (size_t i = 0; i < w->n; i++)
        if (model_files_map_file(w->list[i], e) < 0 ||
            model_input_decompress_npz(w->list[i], c->spool, w->notes, e))
            return -1;
    if (is_gguf(w->list[0]))
        return w->key ? set_no_dicts_error(&c->shards[0], "a GGUF file", e)
                      : read_gguf_headers(c, e);
    for (size_t i = 0; i < w->n; i++) {
        if (read_shard_header(&c->shards[i], e) < 0)
            return -1;
        c->n += c->shards[i].tensors.n;
    }
    return 0;
}

static int compare_entry_names(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->tensor.name, ((const struct entry *)b)->tensor.name);
}

static enum dtype choose_file_dtype(const struct stored_tensor *t)
{
    if (!t->encoding || !t->encoding->name)
        return t->dtype;
    return t->encoding->file_dtype != DTYPE_NONE ? t->encoding->file_dtype : DTYPE_BF16;
}

static struct ckpt_tensor make_ckpt_tensor(const struct stored_tensor *t)
{
    return (struct ckpt_tensor){.name = t->name,
                                .dtype = t->dtype,
                                .file_dtype = choose_file_dtype(t),
                                .rank = t->rank,
                                .shape = t->shape,
                                .elements = t->elements,
                                .data = t->stride || t->encoding ? NULL : t->data,
                                .encoding = t->encoding};
}

/* Collects the tensors of all shards and sorts them. */
static int list_tensors_of_all_shards(struct ckpt *c, struct error *e)
{
    struct entry *to = c->entries = mem_alloc(c->n, sizeof *c->entries);
    for (size_t s = 0; s < c->n_shards; s++)
        for (size_t i = 0; i < c->shards[s].tensors.n; i++) {
            struct stored_tensor *t = &c->shards[s].tensors.list[i];
            *to++ = (struct entry){make_ckpt_tensor(t), t, &c->shards[s]};
        }
    qsort(c->entries, c->n, sizeof *c->entries, compare_entry_names);
    for (size_t i = 1; i < c->n; i++)
        if (compare_entry_names(&c->entries[i - 1], &c->entries[i]) == 0)
            return error_set(e, "two tensors are named %.200s, in %s and %s",
                             c->entries[i].tensor.name, c->entries[i - 1].shard->file->title,
                             c->entries[i].shard->file->title);
    return 0;
}

/* Checks that every tensor of the index is in the shard that the index names. */
static int check_indexed_tensors(const struct ckpt *c, const struct weight_files *w, json_t *map,
                                 struct error *e)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        long i = ckpt_find_tensor(c, tensor);
        const char *shard = json_string_value(value);
        if (i < 0 || strcmp(c->entries[i].shard->file->name, shard) != 0)
            return error_set(e, "%s: tensor %.200s is not in %.200s, where %s lists it", w->path,
                             tensor, shard, w->index->name);
    }
    return 0;
}

/* Notes the tensors that the shards contain but the index does not list. */
static void print_note_of_unindexed_tensors(const struct ckpt *c, const struct weight_files *w,
                                            const json_t *map)
{
    size_t unlisted = 0;
    const char *first = NULL;
    for (size_t i = 0; i < c->n; i++)
        if (!json_object_get(map, c->entries[i].tensor.name))
            first = unlisted++ ? first : c->entries[i].tensor.name;
    if (unlisted)
        notes_print(w->notes,
                    "%s does not list %zu tensors that its shards contain (%.200s%s); they are "
                    "read too",
                    w->index->title, unlisted, first, unlisted > 1 ? ", ..." : "");
}

static int check_shard_index(const struct ckpt *c, const struct weight_files *w, struct error *e)
{
    json_t *map = shard_index_read(&c->files, w->index, w->path, e);
    if (!map)
        return -1;
    int failed = check_indexed_tensors(c, w, map, e);
    if (!failed)
        print_note_of_unindexed_tensors(c, w, map);
    json_decref(map);
    return failed;
}

/* Gives quantized tensors their encodings, and removes their scales from the list. */
static int resolve_quantized_weights(struct ckpt *c, const struct weight_files *w, struct error *e)
{
    struct tensor_list l = {.path = w->path,
                            .n = c->n,
                            .tensors = mem_alloc(c->n, sizeof(struct stored_tensor *)),
                            .omitted = mem_alloc(c->n, sizeof *l.omitted)};
    for (size_t i = 0; i < c->n; i++)
        l.tensors[i] = c->entries[i].stored;
    int failed = quantized_weights_resolve(&l, &c->files, w->notes, e);
    c->quantization = quantized_weights_describe(&l, &c->files.arena);
    c->n = 0;
    for (size_t i = 0; i < l.n; i++) {
        if (l.omitted[i])
            continue;
        c->entries[c->n] = c->entries[i];
        c->entries[c->n++].tensor = make_ckpt_tensor(l.tensors[i]);
    }
    free(l.tensors);
    free(l.omitted);
    return failed;
}

static void list_auxiliary_files(struct ckpt *c, const struct weight_files *w)
{
    c->auxiliary = mem_alloc(c->files.n + 1, sizeof *c->auxiliary);
    for (size_t i = 0; i < c->files.n; i++) {
        struct model_file *file = &c->files.files[i];
        if (model_files_kind_of(file->name) == MODEL_FILE_AUXILIARY &&
            !weight_files_contain(w, file))
            c->auxiliary[c->n_auxiliary++] = file;
    }
}

/* Adds the config.json that a GGUF model has in its metadata, unless there is such a file. If the
 * metadata are not those of a whole model, reading it gives the reason. */
static void add_config_of_gguf(struct ckpt *c)
{
    struct error reason;
    struct arena *a = &c->files.arena;
    if (!c->gguf || !c->gguf->is_known || model_files_find(&c->files, "config.json"))
        return;
    char *text = gguf_config_json(c->gguf, &reason);
    struct model_file *file = arena_alloc(a, 1, sizeof *file);
    *file = (struct model_file){.name = "config.json", .title = "config.json from the metadata"};
    if (text) {
        file->bytes = (const unsigned char *)arena_copy_text(a, text);
        file->size = strlen(text);
    } else {
        file->unreadable = arena_copy_text(a, reason.text);
    }
    c->auxiliary[c->n_auxiliary++] = file;
    free(text);
}

#define MAX_LISTED 5 /* names in a message */

static void list_omitted_files(struct ckpt *c)
{
    const struct model_files *f = &c->files;
    const char *text = NULL;
    for (size_t i = 0; i < f->n_omitted && i < MAX_LISTED; i++)
        text = arena_printf(&c->files.arena, "%s%s%.100s", text ? text : "", text ? ", " : "",
                            f->omitted[i]);
    c->omitted = f->n_omitted > MAX_LISTED ? arena_printf(&c->files.arena, "%s, ...", text) : text;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int read_tensors(struct ckpt *c, const struct weight_files *w, struct error *e)
{
    return read_shard_headers(c, w, e) < 0 || list_tensors_of_all_shards(c, e) < 0 ||
           (w->index && check_shard_index(c, w, e) < 0) || resolve_quantized_weights(c, w, e);
}

/* Whose config.json comes from the weight file. */
static bool has_gguf_weights(const struct weight_files *w)
{
    return w->n > 0 && glob_pattern_text_ends_with(w->list[0]->name, ".gguf");
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
    struct weight_files w = {.files = &c->files, .notes = notes};
    w.path = key ? arena_copy_text_n(&c->arena, path, (size_t)(key - path) - 1) : path;
    w.key = arena_copy_text(&c->arena, key);
    int failed = list_checkpoint_files(&c->files, &w, found, spool, e) < 0 ||
                 ((tensors || has_gguf_weights(&w)) && read_tensors(c, &w, e));
    list_auxiliary_files(c, &w);
    add_config_of_gguf(c);
    list_omitted_files(c);
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

/* Copies the pipe to a temporary file, which is mapped then. */
static int copy_and_map_pipe(struct ckpt *c, const char *spool, struct error *e)
{
    int fd = spool_open_temporary_file(spool, e);
    if (fd < 0)
        return -1;
    int failed = safetensors_pipe_copy_to_file(c->pipe, fd, e) ||
                 model_files_map_fd(c->shards->file, fd, e) < 0;
    close(fd);
    c->is_copied = !failed;
    return failed;
}

/* Scales and weights of a quantised file are not read in the order of the file. */
static bool has_quantized_tensors(const struct stored_tensors *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (dtype_is_quantized(s->list[i].dtype))
            return true;
    return false;
}

static int copy_quantized_pipe(struct ckpt *c, const char *spool, FILE *notes, struct error *e)
{
    struct shard *s = c->shards;
    if (copy_and_map_pipe(c, spool, e))
        return -1;
    notes_print(notes, "copied %s to a temporary file, because it has quantized tensors",
                s->tensors.file);
    stored_tensors_free(&s->tensors);
    return read_shard_header(s, e);
}

/* Reads the header of a safetensors file; its data stay in the pipe. */
static int open_safetensors_pipe(struct ckpt *c, struct byte_input *in, const char *title,
                                 const char *spool, FILE *notes, struct error *e)
{
    struct shard *s = c->shards = mem_alloc(1, sizeof *c->shards);
    s->file = model_files_add(&c->files, "model.safetensors", title, 0);
    s->tensors = (struct stored_tensors){.file = s->file->title, .notes = notes};
    c->n_shards = 1;
    c->pipe = safetensors_pipe_open(in, &s->tensors, e);
    if (!c->pipe || (has_quantized_tensors(&s->tensors) && copy_quantized_pipe(c, spool, notes, e)))
        return -1;
    c->n = s->tensors.n;
    return list_tensors_of_all_shards(c, e);
}

static int open_copied_pipe(struct ckpt *c, struct byte_input *in, const char *title,
                            const char *spool, FILE *notes, struct error *e)
{
    struct weight_files w = {.files = &c->files, .path = title, .notes = notes};
    int failed =
        model_input_add_pipe(&c->files, &w, in, spool, e) < 0 || read_tensors(c, &w, e) ? -1 : 0;
    list_auxiliary_files(c, &w);
    list_omitted_files(c);
    weight_files_free(&w);
    byte_input_close(in);
    return failed;
}

struct ckpt *ckpt_open_pipe(struct byte_input *in, const char *title, const char *spool,
                            FILE *notes, struct error *e)
{
    size_t n;
    const unsigned char *bytes = byte_input_peek(in, &n);
    struct ckpt *c = mem_alloc(1, sizeof *c);
    c->spool = spool;
    int failed = file_format_detect(bytes, n) == FILE_FORMAT_SAFETENSORS
                     ? open_safetensors_pipe(c, in, title, spool, notes, e)
                     : open_copied_pipe(c, in, title, spool, notes, e);
    if (!failed)
        return c;
    ckpt_close(c);
    return NULL;
}

int ckpt_copy_pipe(struct ckpt *c, const char *spool, struct error *e)
{
    struct shard *s = c->shards;
    if (copy_and_map_pipe(c, spool, e))
        return -1;
    for (size_t i = 0; i < s->tensors.n; i++)
        s->tensors.list[i].data =
            s->file->bytes + 8 + s->tensors.header_size + s->tensors.list[i].offset;
    for (size_t i = 0; i < c->n; i++)
        c->entries[i].tensor.data = c->entries[i].stored->data;
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
    for (size_t i = 0; i < c->n_shards; i++)
        stored_tensors_free(&c->shards[i].tensors);
    gguf_model_close(c->gguf);
    free(c->shards);
    free(c->entries);
    free(c->auxiliary);
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

const struct gguf_model *ckpt_gguf_model(const struct ckpt *c)
{
    return c->gguf;
}

/* ---- tensors --------------------------------------------------------------------------------- */

size_t ckpt_tensor_bytes(const struct ckpt_tensor *t, size_t n)
{
    const struct tensor_encoding *c = t->encoding;
    return c ? (n + c->block_elements - 1) / c->block_elements * c->block_bytes
             : dtype_bytes(t->dtype, n);
}

size_t ckpt_tensor_count(const struct ckpt *c)
{
    return c->n;
}

const struct ckpt_tensor *ckpt_tensor(const struct ckpt *c, size_t i)
{
    return &c->entries[i].tensor;
}

long ckpt_find_tensor(const struct ckpt *c, const char *name)
{
    struct entry key = {.tensor = {.name = name}};
    const struct entry *found = bsearch(&key, c->entries, c->n, sizeof key, compare_entry_names);
    return found ? found - c->entries : -1;
}

uint64_t ckpt_pipe_offset(const struct ckpt *c, size_t i)
{
    return c->entries[i].stored->offset;
}

int ckpt_load_elements(const struct ckpt *c, size_t i, size_t first, size_t n, struct error *e)
{
    if (!ckpt_is_pipe(c))
        return 0;
    const struct stored_tensor *t = c->entries[i].stored;
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
    const struct stored_tensor *t = c->entries[i].stored;
    if (!ckpt_is_pipe(c))
        stored_tensors_copy_elements(t, first, n, to);
    else if (n > 0)
        memcpy(to, bytes_in_pipe(c, t, first), dtype_bytes(t->dtype, n));
}

uint64_t ckpt_hash_elements(const struct ckpt *c, size_t i, size_t first, size_t n)
{
    const struct stored_tensor *t = c->entries[i].stored;
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
    const struct entry *e = &c->entries[i];
    if (ckpt_is_pipe(c))
        return;
    const unsigned char *from = stored_tensors_byte_range(e->stored, first, n, &size);
    model_files_release_pages_sequentially(e->shard->file, from, size,
                                           first + n == e->tensor.elements);
}

/* ---- fingerprint ----------------------------------------------------------------------------- */

#define SAMPLES     64
#define SAMPLE_SIZE 4096

static void hash_integer(XXH3_state_t *state, uint64_t x)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(x >> 8 * i);
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
    for (uint64_t i = 0; i < samples; i++) {
        uint64_t at = pages * i / samples * SAMPLE_SIZE;
        uint64_t size = file->size - at < SAMPLE_SIZE ? file->size - at : SAMPLE_SIZE;
        XXH3_64bits_update(state, file->bytes + at, size);
        model_files_release_pages(file, file->bytes + at, size);
    }
}

uint64_t ckpt_fingerprint(const struct ckpt *c)
{
    XXH3_state_t *state = hash_new_state();
    for (size_t i = 0; i < c->n_shards; i++)
        hash_shard_samples(state, &c->shards[i]);
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

struct hub_model ckpt_hub_model(const struct ckpt *c)
{
    return c->hub;
}

int ckpt_read_metadata(const struct ckpt *c, json_t **metadata, struct error *e)
{
    *metadata = NULL;
    if (c->gguf)
        return gguf_config_read_recorded_metadata(c->gguf, metadata);
    if (c->n_shards == 0 || file_format_detect(c->shards[0].file->bytes, c->shards[0].file->size) !=
                                FILE_FORMAT_SAFETENSORS)
        return 0;
    return safetensors_read_metadata(&c->shards[0].tensors, metadata, e);
}

/* ---- auxiliary files ------------------------------------------------------------------------- */

size_t ckpt_auxiliary_file_count(const struct ckpt *c)
{
    return c->n_auxiliary;
}

const char *ckpt_auxiliary_file_name(const struct ckpt *c, size_t i)
{
    return c->auxiliary[i]->name;
}

const char *ckpt_omitted_files(const struct ckpt *c)
{
    return c->omitted;
}

const char *ckpt_quantization(const struct ckpt *c)
{
    return c->quantization;
}

/* An error if a sub-folder has the name of the file. */
static int check_not_folder(const struct ckpt *c, const char *name, struct error *e)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < c->files.n_omitted; i++)
        if (strncmp(c->files.omitted[i], name, n) == 0 && strcmp(c->files.omitted[i] + n, "/") == 0)
            return error_set(e, "cannot read %s: it is a folder", name);
    return 0;
}

int ckpt_read_auxiliary_file(const struct ckpt *c, const char *name, char **text, size_t *size,
                             struct error *e)
{
    *text = NULL;
    for (size_t i = 0; i < c->n_auxiliary; i++) {
        if (strcmp(c->auxiliary[i]->name, name) != 0)
            continue;
        *size = c->auxiliary[i]->size;
        *text = model_files_read(c->auxiliary[i], e);
        return *text ? 1 : -1;
    }
    return check_not_folder(c, name, e);
}

int ckpt_read_model_file(const char *path, const char *name, char **text, size_t *size,
                         struct error *e)
{
    char *found;
    const char *key;
    *text = NULL;
    int result = model_path_resolve(path, &found, &key, e);
    free(found);
    if (result > 0)
        result = ckpt_is_checkpoint(path, e);
    if (result <= 0)
        return result;
    struct ckpt *c = open_checkpoint(path, NULL, NULL, false, e);
    result = c ? ckpt_read_auxiliary_file(c, name, text, size, e) : -1;
    ckpt_close(c);
    return result;
}
