/* A safetensors file. The mutator keeps the length of the header right. What the scanner accepts,
 * the JSON parser reads as the same. */
#include "fuzz.h"
#include "safetensors.h"
#include "safetensors_scan.h"
#include "stored.h"
#include "strict_json.h"

static void check_equal_integers(const json_t *array, const uint64_t *x, size_t n)
{
    if (json_array_size(array) != n)
        abort();
    for (size_t i = 0; i < n; i++)
        if ((uint64_t)json_integer_value(json_array_get(array, i)) != x[i])
            abort();
}

static void compare_with_json(json_t *header, const struct scanned_tensor *t)
{
    const json_t *entry = json_object_get(header, t->name);
    if (json_object_size(entry) != 3 ||
        dtype_from_name(json_string_value(json_object_get(entry, "dtype"))) != t->dtype)
        abort();
    check_equal_integers(json_object_get(entry, "shape"), t->shape, t->rank);
    check_equal_integers(json_object_get(entry, "data_offsets"), t->offsets, 2);
}

/* The header, with one tensor after another that the scanner returns. */
static void scan_header(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct scanned_tensor t;
    struct safetensors_scan first = {.at = (const char *)bytes, .end = (const char *)bytes + size};
    struct safetensors_scan scan = first;
    int more;
    while ((more = safetensors_scan_next(&first, &t)) > 0)
        ;
    json_t *header = more == 0 ? strict_json_parse("input", "header", bytes, size, &e) : NULL;
    if (more == 0 && json_object_size(header) != first.n + first.has_metadata)
        abort();
    while (header && safetensors_scan_next(&scan, &t) > 0)
        compare_with_json(header, &t);
    json_decref(header);
    safetensors_scan_free(&first);
    safetensors_scan_free(&scan);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct stored_tensors s = {.file = "input"};
    uint8_t *copy = fuzz_copy(bytes, size);
    if (safetensors_list_tensors(&s, copy, size, &e) == 0)
        read_stored_tensors(&s);
    if (s.header)
        scan_header(s.header, s.header_size);
    stored_tensors_free(&s);
    free(copy);
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    return fuzz_mutate_safetensors(bytes, size, max, seed);
}
