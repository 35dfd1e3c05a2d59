#include "torch_file.h"

#include "file_format.h"
#include "foreign_format.h"
#include "pickle.h"
#include "torch_legacy.h"
#include "torch_tensors.h"
#include "zip.h"

#include <stdio.h>
#include <string.h>

/* ---- the zip format -------------------------------------------------------------------------- */

/* The record FOLDER/name; NULL if there is none. */
static const struct zip_entry *find_zip_record(const struct zip *z, const char *name)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", z->top_folder, name);
    return n > 0 && (size_t)n < sizeof path ? zip_find_entry(z, path) : NULL;
}

/* Newer files have a record "byteorder", which must be "little". */
static int check_byte_order(const struct zip *z, struct error *e)
{
    const struct zip_entry *r = find_zip_record(z, "byteorder");
    const unsigned char *text = r ? zip_find_entry_bytes(z, r, e) : NULL;
    if (!r)
        return 0;
    if (!text)
        return -1;
    if (r->size != 6 || memcmp(text, "little", 6) != 0)
        return error_set(e, "%s: the byte order is not little-endian", z->file);
    return 0;
}

static int find_storages_in_zip(const struct zip *z, struct pickle *p, struct error *e)
{
    for (struct pickle_storage *s = p->storages; s; s = s->next) {
        char name[PICKLE_MAX_KEY + 8];
        snprintf(name, sizeof name, "data/%.*s", (int)s->key_length, s->key);
        const struct zip_entry *r = find_zip_record(z, name);
        if (!r)
            return error_set(e, "%s: the record of storage %.*s is missing", z->file,
                             (int)s->key_length, s->key);
        const unsigned char *data = zip_find_entry_bytes(z, r, e);
        if (!data || torch_tensors_set_storage(z->file, s, data, r->size, e) < 0)
            return -1;
    }
    return 0;
}

/* The record data.pkl, which becomes the header of `s`. */
static int find_data_pickle(struct stored_tensors *s, const struct zip *z, struct error *e)
{
    const struct zip_entry *r = find_zip_record(z, "data.pkl");
    if (find_zip_record(z, "constants.pkl"))
        return error_set(e,
                         "%s is a TorchScript archive, which contains a program; save the model's "
                         "state_dict instead",
                         s->file);
    if (!r)
        return error_set(e, "%s has no record data.pkl, so torch.save did not write it", s->file);
    const unsigned char *bytes = zip_find_entry_bytes(z, r, e);
    if (!bytes || check_byte_order(z, e) < 0)
        return -1;
    if (r->size > TORCH_TENSORS_MAX_PICKLE)
        return error_set(e, "%s: data.pkl has %llu bytes; the maximum is %d", s->file,
                         (unsigned long long)r->size, TORCH_TENSORS_MAX_PICKLE);
    s->header = bytes;
    s->header_size = r->size;
    return 0;
}

static int list_zip_tensors(struct stored_tensors *s, const struct zip *z, struct error *e)
{
    if (find_data_pickle(s, z, e) < 0)
        return -1;
    struct pickle p = {.file = s->file, .bytes = s->header, .size = s->header_size};
    struct pickle_value *dict = pickle_load(&p, e);
    int failed =
        !dict || find_storages_in_zip(z, &p, e) < 0 || torch_tensors_add_dict(s, dict, e) < 0;
    pickle_free(&p);
    return failed ? -1 : 0;
}

/* ---- both formats --------------------------------------------------------------------------- */

static bool is_legacy(const unsigned char *bytes, size_t size)
{
    return file_format_detect(bytes, size) == FILE_FORMAT_TORCH_LEGACY;
}

int torch_file_recognize(const char *file, const unsigned char *bytes, size_t size, struct error *e)
{
    struct zip z;
    if (is_legacy(bytes, size))
        return 1;
    if (size < 4 || memcmp(bytes, "PK\3\4", 4) != 0)
        return 0;
    if (zip_open(&z, file, bytes, size, e) < 0)
        return -1;
    bool found = find_zip_record(&z, "data.pkl") != NULL;
    const struct foreign_format *foreign = found ? NULL : foreign_format_of_zip(&z);
    zip_free(&z);
    return foreign ? foreign_format_set_error(file, foreign, e) : found;
}

/* Does torch.save give a record this name, without its folder? */
static bool is_record_name(const char *name)
{
    static const char *const names[] = {"data.pkl",        "version",
                                        "byteorder",       ".data/serialization_id",
                                        ".format_version", ".storage_alignment"};
    if (strncmp(name, "data/", 5) == 0)
        return name[5] && !name[5 + strspn(name + 5, "0123456789")];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static bool has_only_own_records(const char *file, const unsigned char *bytes, size_t size)
{
    struct zip z;
    struct error ignored;
    if (zip_open(&z, file, bytes, size, &ignored) < 0)
        return false;
    size_t n = strlen(z.top_folder), own = 0;
    while (own < z.n && strncmp(z.entries[own].name, z.top_folder, n) == 0 &&
           z.entries[own].name[n] == '/' && is_record_name(z.entries[own].name + n + 1))
        own++;
    bool all = own == z.n;
    zip_free(&z);
    return all;
}

bool torch_file_is_state_dict(const char *file, const unsigned char *bytes, size_t size)
{
    struct error ignored;
    struct stored_tensors s = {.file = file, .model = file};
    bool is_valid = is_legacy(bytes, size)
                        ? torch_legacy_list_tensors(&s, bytes, size, &ignored) == 0
                        : torch_file_list_tensors(&s, bytes, size, &ignored) == 0 &&
                              has_only_own_records(file, bytes, size);
    bool is_plain = is_valid && s.key && !*s.key && !s.has_other_contents;
    stored_tensors_free(&s);
    return is_plain;
}

int torch_file_list_tensors(struct stored_tensors *s, const unsigned char *bytes, size_t size,
                            struct error *e)
{
    struct zip z;
    if (is_legacy(bytes, size))
        return torch_legacy_list_tensors(s, bytes, size, e);
    if (zip_open(&z, s->file, bytes, size, e) < 0)
        return -1;
    int failed = list_zip_tensors(s, &z, e);
    zip_free(&z);
    return failed;
}
