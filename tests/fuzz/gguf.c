/* A GGUF file: its header, elements, config.json, and the header of a file like it, which must be
 * read as well. The mutator changes one field, pair or tensor; it keeps lengths, counts and offsets
 * right, and the file as long as they say. */
#include "fuzz.h"
#include "gguf_config.h"
#include "gguf_header.h"
#include "gguf_stored_tensors.h"
#include "stored.h"

/* ---- the target ------------------------------------------------------------------------------ */

/* Encodes the header again; it must be read with the same tensors, whose data are zeros. */
static void encode_and_read(const struct gguf *g)
{
    static const char *const texts[][2] = {{"tvtools_history", "[]"}};
    struct gguf_header_tensor *tensors = mem_alloc(g->n, sizeof *tensors);
    uint64_t end = 0;
    for (size_t i = 0; i < g->n; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        tensors[i] = (struct gguf_header_tensor){t->name, t->rank, t->shape, t->type, end};
        end = gguf_align(end + t->size, g->alignment);
    }
    const struct gguf_header h = {.metadata = &g->metadata,
                                  .alignment = g->alignment,
                                  .is_quantized = true,
                                  .n_texts = 1,
                                  .texts = texts,
                                  .n = g->n,
                                  .tensors = tensors};
    size_t used, *offsets;
    struct error e;
    struct bytes b = gguf_header_encode(&h, &used, &offsets);
    struct gguf again = {.file = "encoded"};
    b.data = realloc(b.data, b.size + end);
    memset(b.data + b.size, 0, end);
    if (memcmp(b.data + offsets[0], "[]", 2) != 0 ||
        gguf_read(&again, b.data, b.size + end, &e) < 0 || again.n != g->n)
        abort();
    gguf_free(&again);
    free(offsets);
    free(tensors);
    free(b.data);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    uint8_t *copy = fuzz_copy(bytes, size);
    const struct gguf_model_file file = {"input", "input", copy, size};
    struct gguf_model *m = gguf_model_open(&file, 1, &e);
    struct stored_tensors s = {.file = "input"};
    if (m && gguf_stored_tensors_list(m, 0, &s, &e) == 0)
        read_stored_tensors(&s);
    if (m && m->is_known)
        free(gguf_config_json(m, &e));
    if (m && (gguf_model_check_compatible(m, m, &e) < 0 || m->n_files != 1))
        abort();
    if (m)
        encode_and_read(&m->files[0]);
    stored_tensors_free(&s);
    gguf_model_close(m);
    free(copy);
}

/* ---- the mutator ----------------------------------------------------------------------------- */

#define MAX_ITEMS 512

/* A pair or a tensor of the header, and what in it may change. */
struct item {
    size_t start, size;
    size_t text, text_size; /* a string, without its length; text_size is followed by it */
    size_t number, number_size;
};

struct layout {
    struct item items[MAX_ITEMS];
    size_t n_pairs, n; /* the pairs come first */
    size_t header_size;
    size_t alignment;
};

static uint64_t get(const uint8_t *bytes, size_t at, size_t size)
{
    uint64_t x = 0;
    memcpy(&x, bytes + at, size);
    return x;
}

static size_t size_of_value(uint64_t type)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof sizes ? sizes[type] : 0;
}

/* The end of a string at `at`; 0 if it is not inside the file. */
static size_t skip_string(const uint8_t *bytes, size_t size, size_t at)
{
    if (at + 8 > size || get(bytes, at, 8) > size - at - 8)
        return 0;
    return at + 8 + get(bytes, at, 8);
}

static size_t walk_array(const uint8_t *bytes, size_t size, size_t at, struct item *x)
{
    if (at + 12 > size)
        return 0;
    uint64_t type = get(bytes, at, 4), n = get(bytes, at + 4, 8);
    at += 12;
    for (uint64_t i = 0; type == 8 && i < n && at; i++) {
        *x = (struct item){
            .start = x->start, .text = at + 8, .text_size = skip_string(bytes, size, at) - at - 8};
        at = skip_string(bytes, size, at);
    }
    if (type == 8)
        return at;
    size_t each = size_of_value(type);
    if (!each || n > (size - at) / each)
        return 0;
    x->number = at;
    x->number_size = n * each;
    return at + n * each;
}

/* The end of the pair at `at`; 0 if it is damaged. */
static size_t walk_pair(const uint8_t *bytes, size_t size, size_t at, struct layout *l,
                        struct item *x)
{
    size_t end = skip_string(bytes, size, at);
    x->text = at + 8;
    x->text_size = end ? end - at - 8 : 0;
    if (!end || end + 4 > size)
        return 0;
    uint64_t type = get(bytes, end, 4);
    size_t value = end + 4, width = size_of_value(type);
    if (type == 9)
        return walk_array(bytes, size, value, x);
    if (type == 8) {
        end = skip_string(bytes, size, value);
        x->text = value + 8;
        x->text_size = end ? end - value - 8 : 0;
        return end;
    }
    if (!width || value + width > size)
        return 0;
    if (x->text_size == 17 && memcmp(bytes + x->text, "general.alignment", 17) == 0 && width == 4)
        l->alignment = get(bytes, value, 4);
    x->number = value;
    x->number_size = width;
    return value + width;
}

static size_t walk_tensor(const uint8_t *bytes, size_t size, size_t at, struct item *x)
{
    size_t end = skip_string(bytes, size, at);
    if (!end || end + 4 > size || get(bytes, end, 4) > 4)
        return 0;
    size_t rank = get(bytes, end, 4);
    x->text = at + 8;
    x->text_size = end - at - 8;
    x->number = end + 4;
    x->number_size = 8 * rank + 4; /* the dimensions and the type */
    return end + 16 + 8 * rank <= size ? end + 16 + 8 * rank : 0;
}

/* Finds the items of the header, up to the first that is damaged. */
static void walk(const uint8_t *bytes, size_t size, struct layout *l)
{
    size_t at = 24, end;
    uint64_t tensors = get(bytes, 8, 8), pairs = get(bytes, 16, 8);
    *l = (struct layout){.alignment = 32};
    for (uint64_t i = 0; at && i < pairs + tensors && l->n < MAX_ITEMS; i++) {
        struct item *x = &l->items[l->n];
        *x = (struct item){.start = at};
        end = i < pairs ? walk_pair(bytes, size, at, l, x) : walk_tensor(bytes, size, at, x);
        if (!end)
            break;
        x->size = end - at;
        at = end;
        l->n++;
        l->n_pairs += i < pairs;
    }
    l->header_size = at;
    if (l->alignment < 8 || l->alignment > 4096 || (l->alignment & (l->alignment - 1)))
        l->alignment = 32;
}

/* Sets counts, offsets and the file's length. */
static size_t repair(uint8_t *bytes, size_t size, size_t max)
{
    static struct layout l;
    walk(bytes, size, &l);
    uint64_t counts[] = {l.n - l.n_pairs, l.n_pairs}, end = 0;
    memcpy(bytes + 8, counts, 16);
    for (size_t i = l.n_pairs; i < l.n; i++) {
        const struct item *x = &l.items[i];
        size_t rank = (x->number_size - 4) / 8;
        uint64_t elements = 1;
        for (size_t d = 0; d < rank; d++)
            elements *= get(bytes, x->number + 8 * d, 8);
        const struct ggml_type_info *info =
            ggml_type_find((uint32_t)get(bytes, x->number + 8 * rank, 4));
        memcpy(bytes + x->number + x->number_size, &end, 8);
        if (info && info->elements)
            end = gguf_align(end + elements / info->elements * info->bytes, l.alignment);
    }
    size_t start = gguf_align(l.header_size, l.alignment);
    if (end > max || start > max - end)
        return size;
    if (start + end > size)
        memset(bytes + size, 0x3C, start + end - size);
    return start + end;
}

static void remove_or_repeat(uint8_t *bytes, size_t *size, size_t max, const struct item *x,
                             bool repeat, size_t count_at)
{
    uint64_t count = get(bytes, count_at, 8) + (repeat ? 1 : UINT64_MAX);
    if (repeat && *size + x->size > max)
        return;
    if (repeat) {
        memmove(bytes + x->start + x->size, bytes + x->start, *size - x->start);
        *size += x->size;
    } else {
        memmove(bytes + x->start, bytes + x->start + x->size, *size - x->start - x->size);
        *size -= x->size;
    }
    memcpy(bytes + count_at, &count, 8);
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    static struct layout l;
    if (size < 24 || seed % 16 == 0)
        return LLVMFuzzerMutate(bytes, size, max);
    walk(bytes, size, &l);
    unsigned choice = seed / 16 % 8;
    const struct item *x = l.n ? &l.items[seed / 128 % l.n] : NULL;
    if (!x || choice == 0) { /* the data */
        size_t at = l.header_size && l.header_size < size ? l.header_size : 24;
        fuzz_mutate_part(bytes, &size, max, at, size - at);
    } else if (choice == 1) {
        remove_or_repeat(bytes, &size, max, x, seed / 65536 % 2, x < l.items + l.n_pairs ? 16 : 8);
    } else if (choice < 4 && x->text) {
        uint64_t n = fuzz_mutate_part(bytes, &size, max, x->text, x->text_size);
        memcpy(bytes + x->text - 8, &n, 8);
    } else if (x->number_size) {
        LLVMFuzzerMutate(bytes + x->number, x->number_size, x->number_size);
    }
    return seed % 5 ? repair(bytes, size, max) : size;
}
