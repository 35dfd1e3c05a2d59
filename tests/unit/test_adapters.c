#include "unit.h"

#include "adapter_config.h"
#include "golden.h"
#include "low_rank.h"
#include "mem.h"
#include "model_source.h"
#include "module_pattern.h"

#include <sys/stat.h>
#include <unistd.h>

/* Files are written to, and named from, a temporary folder. */
static char folder[] = "/tmp/test-adapters-XXXXXX";

/* ---- patterns -------------------------------------------------------------------------------- */

static int matches(const char *pattern, const char *module)
{
    struct error e;
    struct module_pattern *p = module_pattern_new(pattern, "test", &e);
    int found = p ? module_pattern_matches(p, module) : -1;
    module_pattern_free(p);
    return found;
}

/* As re.match(r"^(.*\.)?(K)$", module) in Python. */
static void test_patterns(void)
{
    static const struct {
        const char *pattern, *module;
        int matches; /* -1: the pattern is refused */
    } cases[] = {
        {"q_proj", "model.layers.0.self_attn.q_proj", 1},
        {"q_proj", "q_proj", 1},
        {"q_proj", "model.my_q_proj", 0},
        {"proj", "model.q_proj", 0},
        {"layers.1.mlp.down_proj", "model.layers.1.mlp.down_proj", 1},
        {"layers.1.mlp", "model.layers.11.mlp", 0},
        {"layers.1.mlp", "model.layers.1xmlp", 1},
        {"^model.layers.0.*q_proj", "model.layers.0.self_attn.q_proj", 1},
        {"^layers.0.*q_proj", "model.layers.0.self_attn.q_proj", 0},
        {".*_proj", "model.v_proj", 1},
        {"(q|k)_proj", "model.k_proj", 1},
        {"(?:q|k)_proj", "model.v_proj", 0},
        {"layers\\.\\d+\\.mlp", "model.layers.12.mlp", 1},
        {"layers\\.[01]\\.mlp", "model.layers.2.mlp", 0},
        {"layers\\.[^01]\\.mlp", "model.layers.2.mlp", 1},
        {"[\\d]\\.mlp", "model.layers.2.mlp", 1},
        {"\\w+_proj", "model.up_proj", 1},
        {"", "model.", 1},
        {"a(b|c)*d+e?f", "abcbddf", 1},
        {"a(b|c)*d+e?f", "abcbf", 0},
        {"(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", 0},
        {"a|bc|d", "x.bc", 1},
        {"a.*?c", "abcbc", 1},
        {"x$|y", "z.x", 1},
        {"[]a]-", "]-", 1},
        {"a**", "a", -1},
        {"(q_proj", "q_proj", -1},
        {"q_proj)", "q_proj", -1},
        {"a{2}", "aa", -1},
        {"(a)\\1", "aa", -1},
        {"(?=a)a", "a", -1},
        {"a\\", "a", -1},
        {"[[:alpha:]]", "a", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool right = matches(cases[i].pattern, cases[i].module) == cases[i].matches;
        if (!right)
            fprintf(stderr, "%s and %s\n", cases[i].pattern, cases[i].module);
        CHECK(right);
    }
}

/* ---- the config ------------------------------------------------------------------------------ */

/* The first pattern of the file that matches counts; jansson must keep their order. */
static void test_config(void)
{
    static const char text[] =
        "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 6.5, \"use_rslora\": true,"
        "\"rank_pattern\": {\"z.*\": 16, \"zz\": 9, \"w\": 9223372036854775807}, "
        "\"alpha_pattern\": {\"zz\": 2},"
        "\"trainable_token_indices\": {\"embed\": [3, 1]}, \"alora_invocation_tokens\": []}";
    struct error e;
    size_t n;
    struct adapter_config *c = adapter_config_parse("c", text, sizeof text - 1, &e);
    CHECK(c && adapter_config_rank(c, "zz") == 16 && adapter_config_rank(c, "y") == 4);
    CHECK(c && adapter_config_rank(c, "w") == INT64_MAX);
    CHECK(c && adapter_config_scale(c, "m.zz") == 2.0 / 4 &&
          adapter_config_scale(c, "y") == 6.5 / 2);
    CHECK(c && adapter_config_token_indices(c, "m.embed", &n)[1] == 1 && n == 2);
    CHECK(c && !adapter_config_token_indices(c, "other", &n) && n == 0);
    adapter_config_free(c);
    static const char *const invalid[] = {
        "[]",
        "{\"peft_type\": \"LORA\", \"r\": 1.5}",
        "{\"peft_type\": \"LORA\", \"lora_alpha\": \"8\"}",
        "{\"peft_type\": \"LORA\", \"use_dora\": 1}",
        "{\"peft_type\": \"LORA\", \"rank_pattern\": [8]}",
        "{\"peft_type\": \"LORA\", \"rank_pattern\": {\"a{9}\": 8}}",
        "{\"peft_type\": \"LORA\", \"trainable_token_indices\": [-1]}",
        "{\"peft_type\": \"LORA\", \"trainable_token_indices\": 7}",
        "{\"peft_type\": \"LORA\", \"r\": 1, \"r\": 2}",
    };
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++)
        CHECK(!adapter_config_parse("c", invalid[i], strlen(invalid[i]), &e));
}

/* ---- the product ----------------------------------------------------------------------------- */

/* Every stretch of the product has the elements of the plain sum, bit for bit. */
static void test_product(void)
{
    enum { ROWS = 11, COLUMNS = 29, RANK = 3, ALL = ROWS * COLUMNS };
    double left[(ROWS + LOW_RANK_PADDING) * RANK] = {0}, right[RANK * COLUMNS], expected[ALL];
    double *packed = mem_alloc_aligned(low_rank_packed_size(RANK, COLUMNS) * sizeof *packed);
    const struct low_rank m = {left, packed, RANK, COLUMNS, 0.7};
    bool equal = true;
    for (size_t i = 0; i < ROWS * RANK; i++)
        left[i] = sin((double)i);
    for (size_t i = 0; i < RANK * COLUMNS; i++)
        right[i] = cos((double)i);
    low_rank_pack(right, COLUMNS, 1, RANK, COLUMNS, packed);
    for (size_t i = 0; i < ALL; i++) {
        double sum = 0;
        for (size_t k = 0; k < RANK; k++)
            sum += left[i / COLUMNS * RANK + k] * right[k * COLUMNS + i % COLUMNS];
        expected[i] = 0.7 * sum;
    }
    for (size_t first = 0; first < ALL; first += 7)
        for (size_t n = 0; n <= ALL - first; n += n < 40 ? 1 : 37) {
            double sum[ALL + 1] = {0};
            float written[ALL + 1] = {0};
            low_rank_add(&m, first, n, sum);
            low_rank_write(&m, first, n, written);
            for (size_t i = 0; i <= n; i++)
                equal &= sum[i] == (i < n ? expected[first + i] : 0) &&
                         written[i] == (i < n ? (float)expected[first + i] : 0);
        }
    CHECK(equal);
    free(packed);
}

/* ---- golden data ----------------------------------------------------------------------------- */

static struct model_source *open_adapted(const char *base, const char *adapter, struct error *e)
{
    char *operand = mem_printf("x=%s+%s", base, adapter);
    struct model_source *m = model_source_open(operand, NULL, "test", e);
    free(operand);
    return m;
}

/* Is every element within the tolerance, relative to the largest expected one? */
static bool is_close(const double *got, const double *expected, size_t n, double tolerance)
{
    double largest = 0;
    bool close = true;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(expected[i]));
    for (size_t i = 0; i < n; i++)
        close &= fabs(got[i] - expected[i]) <= tolerance * largest;
    return close;
}

/* What the adapter adds to the tensor, or the sum in the base's dtype. */
static double *read_result(const struct model_source *m, size_t i, bool delta)
{
    const struct ckpt_tensor *t = model_source_tensor(m, i);
    double *to = mem_alloc(t->elements, sizeof *to);
    if (delta) {
        float *narrow = mem_alloc(t->elements, sizeof *narrow);
        model_source_read_delta(m, i, 0, t->elements, narrow);
        dtype_to_f64(DTYPE_F32, narrow, to, t->elements);
        free(narrow);
        return to;
    }
    void *stored = mem_alloc(t->elements, 8);
    model_source_read_stored(m, i, 0, t->elements, stored);
    dtype_to_f64(t->dtype, stored, to, t->elements);
    free(stored);
    return to;
}

static void check_result(const char *name, const struct model_source *m,
                         const struct model_source *expected, bool delta, double tolerance)
{
    size_t changed = 0;
    for (size_t i = 0; i < model_source_tensor_count(m); i++)
        changed += model_source_is_adapted(m, i);
    CHECK(model_source_tensor_count(expected) == (delta ? changed : model_source_tensor_count(m)));
    for (size_t k = 0; k < model_source_tensor_count(expected); k++) {
        const struct ckpt_tensor *t = model_source_tensor(expected, k);
        long i = model_source_find_tensor(m, t->name);
        if (i < 0 || (delta && !model_source_is_adapted(m, (size_t)i)) ||
            model_source_tensor(m, (size_t)i)->elements != t->elements) {
            fprintf(stderr, "%s: %s is not changed\n", name, t->name);
            CHECK(false);
            continue;
        }
        double *got = read_result(m, (size_t)i, delta),
               *want = mem_alloc(t->elements, sizeof *want);
        model_source_read_f64(expected, k, 0, t->elements, DTYPE_NONE, want);
        bool close = is_close(got, want, t->elements, tolerance);
        if (!close)
            fprintf(stderr, "%s: %s differs\n", name, t->name);
        CHECK(close);
        free(got);
        free(want);
    }
}

static void check_refused(const char *name, const char *base, const char *adapter, char *words)
{
    struct error e = {.text = ""};
    struct model_source *m = open_adapted(base, adapter, &e);
    bool refused = !m && strstr(e.text, strrchr(adapter, '/') + 1);
    for (char *word = strtok(words, ";"); word; word = strtok(NULL, ";"))
        refused = refused && strstr(e.text, word);
    if (!refused)
        fprintf(stderr, "%s: %s\n", name, m ? "is accepted" : e.text);
    CHECK(refused);
    model_source_close(m);
}

/* One line of checks.tsv; the number of checks made. */
static size_t check_line(char *line)
{
    char *field[6], base[5000], adapter[5000], expected[5000];
    struct error e;
    for (size_t i = 0; i < 6; i++)
        field[i] = strsep(&line, "\t\n");
    snprintf(base, sizeof base, "%s/adapters/%s/%s", golden, field[1], field[2]);
    snprintf(adapter, sizeof adapter, "%s/adapters/%s/%s", golden, field[1], field[3]);
    snprintf(expected, sizeof expected, "%s/adapters/%s/%s", golden, field[1], field[4]);
    if (strcmp(field[0], "refuse") == 0) {
        check_refused(field[3], base, adapter, field[4]);
        return 1;
    }
    bool delta = strcmp(field[0], "delta") == 0;
    if ((!delta && strcmp(field[0], "merged") != 0) || access(expected, F_OK) != 0)
        return 0;
    struct model_source *m = open_adapted(base, adapter, &e);
    struct model_source *want = m ? model_source_open(expected, NULL, "test", &e) : NULL;
    double tolerance = strcmp(field[5], "bits") == 0 ? 0 : strtod(field[5], NULL);
    if (want)
        check_result(field[1], m, want, delta, tolerance);
    else
        fprintf(stderr, "%s\n", e.text);
    CHECK(want);
    model_source_close(m);
    model_source_close(want);
    return 1;
}

static void test_golden(void)
{
    char path[5000], line[10000];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/adapters/checks.tsv", golden);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        n += check_line(line);
    CHECK(f && fclose(f) == 0);
    CHECK(n >= 69); /* all deltas and refusals, some merged models */
}

/* ---- by hand --------------------------------------------------------------------------------- */

static void write_file(const char *name, const char *text, const void *data, size_t size)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    uint64_t n = strlen(text);
    if (data)
        CHECK(f && fwrite(&n, 8, 1, f) == 1);
    CHECK(f && fwrite(text, 1, n, f) == n);
    CHECK(size == 0 || fwrite(data, 1, size, f) == size);
    CHECK(fclose(f) == 0);
}

static void make_folder(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK(mkdir(path, 0700) == 0);
}

/* A convolution (2, 1, 1, 2) with DoRA, rank 1, scale 2, and its magnitudes. */
static void test_convolution(void)
{
    static const float base[] = {3, 0, 0, 1};
    static const float adapter[] = {0, 1, /* A (1, 1, 1, 2) */ 2, 0, /* B (2, 1, 1, 1) */ 10, 6};
    /* V = base + 2 B A = (3 4; 0 1), its rows have the norms 5 and 1 */
    static const float expected[] = {6 - 3, 8 - 0, 0 - 0, 6 - 1};
    float got[4];
    struct error e = {.text = ""};
    char path[200], other[200];
    make_folder("conv");
    make_folder("lora");
    write_file("conv/model.safetensors",
               "{\"c.weight\":{\"dtype\":\"F32\",\"shape\":[2,1,1,2],\"data_offsets\":[0,16]}}",
               base, sizeof base);
    write_file(
        "lora/adapter_model.safetensors",
        "{\"c.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[1,1,1,2],\"data_offsets\":[0,8]},"
        "\"c.lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[2,1,1,1],\"data_offsets\":[8,16]},"
        "\"c.lora_magnitude_vector\":{\"dtype\":\"F32\",\"shape\":[1,2,1,1],"
        "\"data_offsets\":[16,24]}}",
        adapter, sizeof adapter);
    write_file("lora/adapter_config.json",
               "{\"peft_type\":\"LORA\",\"r\":1,\"lora_alpha\":2,\"use_dora\":true}", NULL, 0);
    snprintf(path, sizeof path, "%s/conv", folder);
    snprintf(other, sizeof other, "%s/lora", folder);
    struct model_source *m = open_adapted(path, other, &e);
    if (m)
        model_source_read_delta(m, 0, 0, 4, got);
    CHECK(m && memcmp(got, expected, sizeof got) == 0);
    model_source_close(m);
}

int main(int argc, char **argv)
{
    golden_find(argv[0]);
    CHECK(mkdtemp(folder));
    test_patterns();
    test_config();
    test_product();
    test_golden();
    test_convolution();
    char *clean = mem_printf("rm -r %s", folder);
    CHECK(system(clean) == 0);
    free(clean);
    return unit_end();
}
