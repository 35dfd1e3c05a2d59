/* A quantized model: config.json up to a zero byte, then its tensors: five bytes for the name, the
 * dtype and the shape of each, ended by 255, then their data, repeated as often as needed. What is
 * read in parts must be what is read as a whole. */
#include "fuzz.h"
#include "quantized_weights.h"

#define MAX_TENSORS 16
#define PART        13

/* Names of weights and of what quantized models have beside them. */
static const char *const stems[] = {"a", "a.weight", "b.weight", "experts.up"};
static const char *const suffixes[] = {
    "",        "_scale",  "_scale_inv", "_scale_2",     "_zero_point",  "_packed",
    "_g_idx",  ".absmax", ".SCB",       ".input_scale", ".k_scale",     ".qweight",
    ".qzeros", ".g_idx",  ".scales",    ".biases",      ".W_q",         ".codes",
    "_blocks", "_scales", ".codebooks", "_shape",       ".input_scale", ""};

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct input {
    const uint8_t *bytes;
    size_t size, at;
};

static uint8_t next_byte(struct input *in)
{
    return in->at < in->size ? in->bytes[in->at++] : 255;
}

/* Adds the tensor that five bytes describe; its data end where their allocation ends. */
static void add_tensor(struct stored_tensors *s, const uint8_t *d)
{
    char name[64];
    struct error e;
    const uint64_t shape[] = {d[2] / 4 % 4, d[2] % 4, d[3] % 24, d[4] % 24};
    struct stored_tensor t = {
        .dtype = (enum dtype)(1 + d[1] % (DTYPE_COUNT - 1)), .rank = d[1] / 52, .shape = shape};
    if (t.rank == 2)
        t.shape = shape + 2;
    else if (t.rank == 3)
        t.shape = shape + 1;
    snprintf(name, sizeof name, "%s%s", stems[d[0] % COUNT(stems)],
             suffixes[d[0] / COUNT(stems) % COUNT(suffixes)]);
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->list[i].name, name) == 0)
            return;
    stored_tensors_add(s, name, strlen(name), &t, &e);
}

/* Gives every tensor its data. */
static void add_data(struct stored_tensors *s, struct input *in)
{
    size_t start = in->at;
    for (size_t i = 0; i < s->n; i++) {
        struct stored_tensor *t = &s->list[i];
        size_t n = dtype_bytes(t->dtype, t->elements);
        uint8_t *data = malloc(n ? n : 1);
        for (size_t j = 0; j < n; j++) {
            if (in->at == in->size)
                in->at = start;
            data[j] = next_byte(in);
        }
        t->data = data;
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(struct stored_tensor *const *)a)->name,
                  (*(struct stored_tensor *const *)b)->name);
}

/* Reads the elements as a whole and in parts. */
static void read_elements(const struct stored_tensor *t)
{
    size_t n = t->elements, bytes;
    float *whole = malloc(n * sizeof *whole + 1), *parts = malloc(n * sizeof *parts + 1);
    if (!t->encoding)
        n = 0;
    stored_tensors_copy_elements(t, 0, n, whole);
    for (size_t i = 0; i < n; i += PART) {
        size_t m = n - i < PART ? n - i : PART;
        stored_tensors_copy_elements(t, i, m, parts + i);
        stored_tensors_byte_range(t, i, m, &bytes);
    }
    if (memcmp(whole, parts, n * sizeof *whole) != 0) {
        dprintf(fuzz_log, "%s: elements that are read in parts differ\n", t->name);
        abort();
    }
    free(whole);
    free(parts);
}

static void resolve_and_read(struct stored_tensors *s, struct model_files *files)
{
    struct error e;
    struct stored_tensor *list[MAX_TENSORS];
    bool omitted[MAX_TENSORS] = {false};
    struct tensor_list l = {.path = "input", .n = s->n, .tensors = list, .omitted = omitted};
    for (size_t i = 0; i < s->n; i++)
        list[i] = &s->list[i];
    qsort(list, s->n, sizeof(struct stored_tensor *), compare_names);
    if (quantized_weights_resolve(&l, files, NULL, &e) < 0)
        return;
    quantized_weights_describe(&l, &files->arena);
    for (size_t i = 0; i < l.n; i++)
        if (!omitted[i])
            read_elements(list[i]);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct input in = {bytes, size, strnlen((const char *)bytes, size)};
    struct stored_tensors s = {.file = "input"};
    struct model_files files = {0};
    uint8_t *config = fuzz_copy(bytes, in.at), d[5];
    struct model_file *file = model_files_add(&files, "config.json", "config.json", in.at);
    file->bytes = config;
    model_files_sort(&files);
    next_byte(&in);
    while (s.n < MAX_TENSORS && (d[0] = next_byte(&in)) != 255) {
        for (size_t i = 1; i < sizeof d; i++)
            d[i] = next_byte(&in);
        add_tensor(&s, d);
    }
    add_data(&s, &in);
    resolve_and_read(&s, &files);
    for (size_t i = 0; i < s.n; i++)
        free((void *)s.list[i].data);
    stored_tensors_free(&s);
    model_files_free(&files);
    free(config);
}
