#include "ckpt.h"

#include "model_files.h"
#include "hash.h"
#include "hf_cache.h"
#include "safetensors.h"
#include "strict_json.h"
#include "torch_file.h"
#include "unarchive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file of weights. */
struct weight_kind {
    struct model_file *file;
    struct stored_tensors weights;
};

/* A tensor, and where it comes from. */
struct entry {
    struct ckpt_tensor tensor;
    const struct stored_tensor *weight;
    const struct weight_kind *part;
};

struct ckpt {
    const char *path; /* as sentences say it */
    FILE *notes;      /* while it is opened */
    struct model_files folder;
    struct model_file *index;
    struct weight_kind *parts; /* sorted by name */
    size_t n_parts;
    struct entry *entries; /* sorted by name */
    size_t n;
    const struct model_file **small;
    size_t n_small;
};

/* ---- what is it? ----------------------------------------------------------------------------- */

enum content { OTHER, SAFETENSORS, TORCH, ZIP, ARCHIVE, POINTER };

static bool starts_with(const unsigned char *bytes, size_t n, const char *with, size_t length)
{
    return n >= length && memcmp(bytes, with, length) == 0;
}

/* From the first bytes of a file. */
static enum content recognise(const unsigned char *bytes, size_t n)
{
    if (starts_with(bytes, n, "\xa4TVS1", 5))
        return OTHER;
    if (starts_with(bytes, n, "PK\3\4", 4) || starts_with(bytes, n, "PK\5\6", 4))
        return ZIP;
    if (starts_with(bytes, n, "\x1f\x8b", 2) || starts_with(bytes, n, "\x28\xb5\x2f\xfd", 4) ||
        starts_with(bytes, n,
                    "\xfd"
                    "7zXZ",
                    6) ||
        (n > 262 && !memcmp(bytes + 257, "ustar", 5)))
        return ARCHIVE;
    if (starts_with(bytes, n, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46", 8))
        return TORCH;
    if (starts_with(bytes, n, "version https://git-lfs", 23))
        return POINTER;
    return n > 8 && strchr("{ \t\r\n", bytes[8]) && bytes[8] ? SAFETENSORS : OTHER;
}

static enum content recognise_file(int fd)
{
    unsigned char bytes[512];
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    return n > 0 ? recognise(bytes, (size_t)n) : OTHER;
}

int ckpt_is_checkpoint(const char *path, struct error *e)
{
    struct stat st;
    char *found = hf_cache_resolve_path(path, e);
    if (!found)
        return -1;
    int fd = -1, result = stat(found, &st) < 0 ? -1 : S_ISDIR(st.st_mode);
    if (result == 0 && S_ISREG(st.st_mode)) { /* never take bytes from a pipe */
        fd = open(found, O_RDONLY | O_CLOEXEC);
        result = fd < 0
                     ? -1
                     : recognise_file(fd) != OTHER || model_file_kind(found) == MODEL_FILE_WEIGHTS;
    }
    if (result < 0)
        error_set(e, "cannot open %s: %s", found, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(found);
    return result;
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool cut_ending(char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    if (n <= m || strcmp(name + n - m, ending) != 0)
        return false;
    name[n - m] = '\0';
    return true;
}

/* The last part of a path, which loses it; "" when there is none. */
static const char *cut_last(char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash)
        return path;
    *slash = '\0';
    return slash + 1;
}

/* Is it called as every model's file is? */
static bool is_common(const char *name)
{
    return strcmp(name, "model.safetensors") == 0 || strcmp(name, "pytorch_model.bin") == 0;
}

/* .../models--org--name/snapshots/REVISION -> name; NULL if the path is none of these. The caller
 * frees. */
static char *name_of_snapshot(const char *path)
{
    char *copy = mem_copy_text(path), *result = NULL;
    cut_last(copy);
    const char *snapshots = cut_last(copy);
    if (snapshots != copy && strcmp(snapshots, "snapshots") == 0) {
        const char *name = cut_last(copy), *next = name;
        if (strncmp(name, "models--", 8) == 0) {
            while ((next = strstr(name, "--")))
                name = next + 2;
            result = mem_copy_text(name);
        }
    }
    free(copy);
    return result;
}

/* The last part of a path, of a model's folder where that is ".../model.safetensors". */
static char *last_part(const char *path)
{
    char *copy = mem_copy_text(path);
    const char *name = cut_last(copy);
    char *result =
        is_common(name) && name != copy ? model_name_from_path(copy) : mem_copy_text(name);
    free(copy);
    return result;
}

char *model_name_from_path(const char *path)
{
    static const char *const endings[] = {".safetensors", ".bin",    ".pt",  ".pth",
                                          ".tar",         ".tar.gz", ".tgz", ".tar.zst",
                                          ".tzst",        ".tar.xz", ".txz", ".zip"};
    char *name = name_of_snapshot(path);
    if (name)
        return name;
    name = last_part(path);
    char *real = strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ? realpath(path, NULL) : NULL;
    if (real) {
        free(name);
        name = last_part(real);
        free(real);
    }
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (cut_ending(name, endings[i]))
            break;
    return name;
}

/* ---- which files hold the weights? ----------------------------------------------------------- */

static void add_part(struct ckpt *c, struct model_file *file)
{
    c->parts = mem_resize(c->parts, c->n_parts + 1, sizeof *c->parts);
    c->parts[c->n_parts++] =
        (struct weight_kind){.file = file, .weights = {.file = file->title, .notes = c->notes}};
}

/* "model-00002-of-00003.safetensors": number and count of a shard, and where its number begins. */
static bool is_shard(const char *name, const char *ending, size_t *stem, size_t *count)
{
    const char *of = strstr(name, "-of-");
    int length = 0;
    unsigned parts = 0;
    if (!of || sscanf(of, "-of-%5u%n", &parts, &length) != 1 || strcmp(of + length, ending) != 0)
        return false;
    const char *dash = of;
    while (dash > name && dash[-1] >= '0' && dash[-1] <= '9')
        dash--;
    *stem = (size_t)(dash - name);
    *count = parts;
    return dash<of && * stem> 0 && name[*stem - 1] == '-' && of - dash == length - 4;
}

/* A set of shards that no index names: all of them must be there. 1: added; 0: there is none. */
static int add_shards(struct ckpt *c, const char *ending, struct error *e)
{
    struct model_file *first = NULL;
    size_t stem = 0, count = 0, s, n;
    for (size_t i = 0; i < c->folder.n && !first; i++)
        if (is_shard(c->folder.files[i].name, ending, &stem, &count))
            first = &c->folder.files[i];
    for (size_t i = 0; first && i < c->folder.n; i++)
        if (is_shard(c->folder.files[i].name, ending, &s, &n) &&
            (s != stem || n != count || strncmp(c->folder.files[i].name, first->name, s) != 0))
            return error_set(e, "%s holds shards of several models (%s, %s) and no index", c->path,
                             first->name, c->folder.files[i].name);
    size_t width = first ? strlen(first->name) - stem - strlen(ending) : 0;
    width = width > 4 ? (width - 4) / 2 : 0;
    for (size_t i = 1; first && i <= count; i++) {
        char name[300];
        snprintf(name, sizeof name, "%.*s%0*zu-of-%0*zu%s", (int)stem, first->name, (int)width, i,
                 (int)width, count, ending);
        struct model_file *file = model_files_find(&c->folder, name);
        if (!file)
            return error_set(e, "%s: the shard %s is missing", c->path, name);
        add_part(c, file);
    }
    return c->n_parts > 0;
}

/* The only file with that ending (not `but`); NULL if there is none or several, then in *several.
 */
static struct model_file *find_only(const struct ckpt *c, const char *ending,
                                    struct model_file **several)
{
    struct model_file *found = NULL;
    *several = NULL;
    for (size_t i = 0; i < c->folder.n; i++) {
        size_t n = strlen(c->folder.files[i].name), m = strlen(ending);
        if (n <= m || strcmp(c->folder.files[i].name + n - m, ending) != 0)
            continue;
        if (found)
            *several = &c->folder.files[i];
        found = found ? found : &c->folder.files[i];
    }
    return *several ? NULL : found;
}

/* ---- indexes --------------------------------------------------------------------------------- */

/* {"metadata": {...}, "weight_map": {"tensor": "file", ...}}; the caller drops the reference. */
static json_t *read_index(const struct ckpt *c, struct model_file *file, struct error *e)
{
    const char *tensor;
    json_t *value;
    if (file->size > MODEL_FILES_MAX_AUXILIARY) {
        error_set(e, "%s has %llu bytes; %d are the most for an index", file->title,
                  (unsigned long long)file->size, MODEL_FILES_MAX_AUXILIARY);
        return NULL;
    }
    if (model_files_map(file, e) < 0)
        return NULL;
    json_t *root = strict_json_parse(file->title, "the index", file->bytes, file->size, e);
    if (!root)
        return NULL;
    json_t *map = json_object_get(root, "weight_map");
    int failed = json_object_size(map) == 0 &&
                 error_set(e, "%s has no weight_map that names tensors", file->title);
    if (!failed)
        json_object_foreach(map, tensor, value)
        {
            const char *name = json_string_value(value);
            if (!name)
                failed = error_set(e, "%s: the file of tensor %.200s is not a text", file->title,
                                   tensor);
            else if (!model_files_is_bare_name(name))
                failed = error_set(e,
                                   "%s puts tensor %.200s into %.200s; only files in the same "
                                   "folder are read",
                                   file->title, tensor, name);
            else if (!model_files_find(&c->folder, name))
                failed = error_set(e, "%s: the shard %.200s is missing, which %s names", c->path,
                                   name, file->name);
            if (failed)
                break;
        }
    json_t *result = failed ? NULL : json_incref(map);
    json_decref(root);
    return result;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Adds the files that an index names. */
static int add_indexed(struct ckpt *c, struct model_file *index, struct error *e)
{
    const char *tensor;
    json_t *value, *map = read_index(c, index, e);
    if (!map)
        return -1;
    size_t n = 0;
    const char **names = mem_alloc(json_object_size(map), sizeof *names);
    json_object_foreach(map, tensor, value) names[n++] = json_string_value(value);
    qsort(names, n, sizeof *names, by_text);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            add_part(c, model_files_find(&c->folder, names[i]));
    free(names);
    json_decref(map);
    c->index = index;
    return 1;
}

/* Every tensor of the index must be in its file; others that the files hold are told. */
static int check_index(const struct ckpt *c, struct error *e)
{
    const char *tensor, *first = NULL;
    json_t *value, *map = read_index(c, c->index, e);
    if (!map)
        return -1;
    int failed = 0;
    json_object_foreach(map, tensor, value)
    {
        long i = ckpt_find_tensor(c, tensor);
        if (i >= 0 && strcmp(c->entries[i].part->file->name, json_string_value(value)) == 0)
            continue;
        failed = error_set(e, "%s: tensor %.200s is not in %.200s, where %s puts it", c->path,
                           tensor, json_string_value(value), c->index->name);
        break;
    }
    size_t unnamed = 0;
    for (size_t i = 0; !failed && i < c->n; i++)
        if (!json_object_get(map, c->entries[i].tensor.name)) {
            first = unnamed++ ? first : c->entries[i].tensor.name;
        }
    if (unnamed)
        notes_print(c->notes,
                    "%s does not name %zu tensors that are in its files (%.200s%s); they "
                    "are read as well",
                    c->index->title, unnamed, first, unnamed > 1 ? ", ..." : "");
    json_decref(map);
    return failed;
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* One form of weights: a file called by stem and ending, an index of files with that ending (one of
 * another stem if it is the only one), or shards without an index. 1: found; 0: not there. */
static int choose_form(struct ckpt *c, const char *stem, const char *ending, struct error *e)
{
    char name[100], index[120];
    struct model_file *file, *several;
    snprintf(name, sizeof name, "%s%s", stem, ending);
    snprintf(index, sizeof index, "%s.index.json", name);
    if ((file = model_files_find(&c->folder, name))) {
        if (model_files_find(&c->folder, index))
            notes_print(c->notes, "%s: %s is read, %s is not looked at", c->path, name, index);
        add_part(c, file);
        return 1;
    }
    file = model_files_find(&c->folder, index);
    if (!file) {
        snprintf(index, sizeof index, "%s.index.json", ending);
        file = find_only(c, index, &several);
    }
    return file ? add_indexed(c, file, e) : add_shards(c, ending, e);
}

static bool is_old_torch(const struct ckpt *c)
{
    return model_files_find(&c->folder, "sys_info") && model_files_find(&c->folder, "storages") &&
           model_files_find(&c->folder, "pickle");
}

static int choose_parts(struct ckpt *c, struct error *e)
{
    struct model_file *several, *only;
    int found = choose_form(c, "model", ".safetensors", e);
    if (found == 0)
        found = choose_form(c, "pytorch_model", ".bin", e);
    if (found)
        return found < 0 ? -1 : 0;
    only = find_only(c, ".safetensors", &several);
    if (several)
        return error_set(e,
                         "%s holds several .safetensors files (%s, ...) and no index; name the "
                         "one that is meant",
                         c->path, several->name);
    if (only) {
        add_part(c, only);
        return 0;
    }
    if (is_old_torch(c))
        return error_set(e,
                         "%s is in the format of torch before 1.0; load it in torch and save it "
                         "as safetensors",
                         c->path);
    return error_set(e,
                     "%s holds no weights: looked for model.safetensors, shards with their "
                     "index, any .safetensors file, and pytorch_model.bin",
                     c->path);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int read_part(struct ckpt *c, struct weight_kind *p, struct error *e)
{
    if (model_files_map(p->file, e) < 0)
        return -1;
    const unsigned char *bytes = p->file->bytes;
    enum content content = recognise(bytes, p->file->size);
    if (content == POINTER)
        return error_set(e, "%s is a pointer of Git LFS, not the file itself; git lfs pull gets it",
                         p->weights.file);
    if (content == OTHER || content == ARCHIVE)
        return error_set(e, "%s (%zu bytes) is neither safetensors nor a file of torch.save",
                         p->weights.file, (size_t)p->file->size);
    int failed = content == ZIP || content == TORCH
                     ? torch_file_list_tensors(&p->weights, bytes, p->file->size, e)
                     : safetensors_list_tensors(&p->weights, bytes, p->file->size, e);
    model_files_release_pages(p->file, bytes, p->file->size);
    if (!failed)
        c->n += p->weights.n;
    return failed;
}

static int by_tensor(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->tensor.name, ((const struct entry *)b)->tensor.name);
}

/* The tensors of all files, sorted. */
static int list_tensors(struct ckpt *c, struct error *e)
{
    struct entry *to = c->entries = mem_alloc(c->n, sizeof *c->entries);
    for (size_t p = 0; p < c->n_parts; p++)
        for (size_t i = 0; i < c->parts[p].weights.n; i++) {
            const struct stored_tensor *w = &c->parts[p].weights.list[i];
            *to++ = (struct entry){{.name = w->name,
                                    .dtype = w->dtype,
                                    .rank = w->rank,
                                    .shape = w->shape,
                                    .elements = w->elements,
                                    .data = w->stride ? NULL : w->data},
                                   w,
                                   &c->parts[p]};
        }
    qsort(c->entries, c->n, sizeof *c->entries, by_tensor);
    for (size_t i = 1; i < c->n; i++)
        if (by_tensor(&c->entries[i - 1], &c->entries[i]) == 0)
            return error_set(e, "there are two tensors called %.200s, in %s and %s",
                             c->entries[i].tensor.name, c->entries[i - 1].part->file->title,
                             c->entries[i].part->file->title);
    return 0;
}

static bool is_part(const struct ckpt *c, const struct model_file *file)
{
    for (size_t i = 0; i < c->n_parts; i++)
        if (c->parts[i].file == file)
            return true;
    return false;
}

static void list_small(struct ckpt *c)
{
    c->small = mem_alloc(c->folder.n, sizeof *c->small);
    for (size_t i = 0; i < c->folder.n; i++) {
        const struct model_file *file = &c->folder.files[i];
        if (model_file_kind(file->name) == MODEL_FILE_AUXILIARY &&
            file->size <= MODEL_FILES_MAX_AUXILIARY && !is_part(c, file))
            c->small[c->n_small++] = file;
    }
}

/* A file alone; one that is called as in every model's folder brings the small files of it. */
static int list_alone(struct ckpt *c, const char *path, struct error *e)
{
    char *folder = arena_copy_text_n(&c->folder.arena, path, strlen(path));
    const char *name = cut_last(folder);
    if (name == folder)
        folder = ".";
    else if (!*folder)
        folder = "/";
    if (is_common(name) && model_files_add_folder(&c->folder, folder, e) == 0 &&
        model_files_find(&c->folder, "config.json") && model_files_find(&c->folder, name)) {
        add_part(c, model_files_find(&c->folder, name));
        return 0;
    }
    model_files_free(&c->folder);
    add_part(c, model_files_add(&c->folder, strrchr(path, '/') ? strrchr(path, '/') + 1 : path,
                                path, 0));
    return 0;
}

/* Is the zip at `path` a torch file, and no archive? */
static int is_torch(const char *path, struct error *e)
{
    struct model_file file = {.title = path};
    if (model_files_map(&file, e) < 0)
        return -1;
    int found = torch_file_recognise(path, file.bytes, file.size, e);
    if (file.is_mapped)
        munmap((void *)file.bytes, file.size);
    return found;
}

static int find_files(struct ckpt *c, const char *path, const char *spool, struct error *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        error_set(e, "cannot open %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    enum content content = S_ISREG(st.st_mode) ? recognise_file(fd) : OTHER;
    close(fd);
    if (S_ISDIR(st.st_mode))
        return model_files_add_folder(&c->folder, path, e) < 0 ? -1 : choose_parts(c, e);
    int torch = content == ZIP ? is_torch(path, e) : 0;
    if (torch < 0)
        return -1;
    if (content == ARCHIVE || (content == ZIP && !torch))
        return unarchive(&c->folder, path, spool, c->notes, e) < 0 ? -1 : choose_parts(c, e);
    return list_alone(c, path, e);
}

static int read_all(struct ckpt *c, const char *path, const char *spool, struct error *e)
{
    if (find_files(c, path, spool, e) < 0)
        return -1;
    for (size_t i = 0; i < c->n_parts; i++)
        if (read_part(c, &c->parts[i], e) < 0)
            return -1;
    if (list_tensors(c, e) < 0 || (c->index && check_index(c, e) < 0))
        return -1;
    list_small(c);
    return 0;
}

struct ckpt *ckpt_open(const char *path, const char *spool, FILE *notes, struct error *e)
{
    char *found = hf_cache_resolve_path(path, e);
    if (!found)
        return NULL;
    struct ckpt *c = mem_alloc(1, sizeof *c);
    c->path = path;
    c->notes = notes;
    int failed = read_all(c, found, spool, e);
    free(found);
    c->path = NULL;
    c->notes = NULL;
    if (!failed)
        return c;
    ckpt_close(c);
    return NULL;
}

void ckpt_close(struct ckpt *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_parts; i++)
        stored_tensors_free(&c->parts[i].weights);
    free(c->parts);
    free(c->entries);
    free(c->small);
    model_files_free(&c->folder);
    free(c);
}

/* ---- tensors --------------------------------------------------------------------------------- */

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
    const struct entry *found = bsearch(&key, c->entries, c->n, sizeof key, by_tensor);
    return found ? found - c->entries : -1;
}

/* Elements of a view, along its last dimension as far as they go, then the next row. */
static void gather(const struct stored_tensor *w, size_t first, size_t n, unsigned char *to)
{
    size_t size = dtype_bits(w->dtype) / 8, last = w->rank - 1;
    uint64_t index[STORED_TENSORS_MAX_RANK];
    for (size_t d = w->rank; d-- > 0; first /= w->shape[d])
        index[d] = first % w->shape[d];
    while (n > 0) {
        const unsigned char *from = w->data;
        for (size_t d = 0; d < w->rank; d++)
            from += index[d] * w->stride[d] * size;
        size_t run = w->shape[last] - index[last] < n ? w->shape[last] - index[last] : n;
        for (size_t i = 0; i < run; i++, to += size)
            memcpy(to, from + i * w->stride[last] * size, size);
        n -= run;
        index[last] = 0;
        for (size_t d = last; d-- > 0;) {
            if (++index[d] < w->shape[d])
                break;
            index[d] = 0;
        }
    }
}

void ckpt_read_elements(const struct ckpt *c, size_t i, size_t first, size_t n, void *to)
{
    const struct stored_tensor *w = c->entries[i].weight;
    size_t bits = dtype_bits(w->dtype);
    if (w->stride)
        gather(w, first, n, to);
    else if (n > 0)
        memcpy(to, w->data + first * bits / 8, n * bits / 8);
}

/* The bytes in which these elements lie; for a view, all between its first and its last. */
static const unsigned char *stretch(const struct stored_tensor *w, size_t first, size_t n,
                                    size_t *size)
{
    size_t bits = dtype_bits(w->dtype), reach = 1;
    if (w->stride) {
        for (size_t d = 0; d < w->rank; d++)
            reach += (w->shape[d] - 1) * w->stride[d];
        *size = reach * bits / 8;
        return w->data;
    }
    *size = n * bits / 8;
    return w->data + first * bits / 8;
}

void ckpt_release_pages(const struct ckpt *c, size_t i, size_t first, size_t n)
{
    size_t size;
    const struct entry *e = &c->entries[i];
    const unsigned char *from = stretch(e->weight, first, n, &size);
    model_files_release_pages_behind(e->part->file, from, size, first + n == e->tensor.elements);
}

/* ---- fingerprint ----------------------------------------------------------------------------- */

#define SAMPLES     64
#define SAMPLE_SIZE 4096

static void hash_number(XXH3_state_t *state, uint64_t x)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(x >> 8 * i);
    XXH3_64bits_update(state, bytes, 8);
}

static void hash_part(XXH3_state_t *state, const struct weight_kind *p)
{
    const struct model_file *file = p->file;
    uint64_t pages = (file->size + SAMPLE_SIZE - 1) / SAMPLE_SIZE;
    uint64_t samples = pages < SAMPLES ? pages : SAMPLES;
    hash_number(state, file->size);
    XXH3_64bits_update(state, p->weights.header, p->weights.header_size);
    model_files_release_pages(file, p->weights.header, p->weights.header_size);
    for (uint64_t i = 0; i < samples; i++) {
        uint64_t at = pages * i / samples * SAMPLE_SIZE;
        uint64_t size = file->size - at < SAMPLE_SIZE ? file->size - at : SAMPLE_SIZE;
        XXH3_64bits_update(state, file->bytes + at, size);
        model_files_release_pages(file, file->bytes + at, size);
    }
}

uint64_t ckpt_fingerprint(const struct ckpt *c)
{
    XXH3_state_t *state = XXH3_createState();
    XXH3_64bits_reset(state);
    for (size_t i = 0; i < c->n_parts; i++)
        hash_part(state, &c->parts[i]);
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

/* ---- small files ----------------------------------------------------------------------------- */

size_t ckpt_auxiliary_file_count(const struct ckpt *c)
{
    return c->n_small;
}

const char *ckpt_auxiliary_file_name(const struct ckpt *c, size_t i)
{
    return c->small[i]->name;
}

/* The whole of a file on disk; NULL if it cannot be read, or is not `size` bytes any more. */
static char *read_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "re");
    char *text = f ? mem_alloc(size + 1, 1) : NULL;
    if (f && (fread(text, 1, size, f) != size || fgetc(f) != EOF)) {
        free(text);
        text = NULL;
    }
    if (f)
        fclose(f);
    return text;
}

char *ckpt_read_auxiliary_file(const struct ckpt *c, const char *name, size_t *size)
{
    for (size_t i = 0; i < c->n_small; i++) {
        const struct model_file *file = c->small[i];
        if (strcmp(file->name, name) != 0)
            continue;
        if (size)
            *size = file->size;
        if (!file->bytes)
            return read_file(file->title, file->size);
        char *text = mem_alloc(file->size + 1, 1);
        memcpy(text, file->bytes, file->size);
        return text;
    }
    return NULL;
}
