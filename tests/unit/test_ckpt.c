#include "unit.h"

#include "ckpt.h"
#include "model_name.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

/* Files are written to, and named from, a temporary folder. */
static char folder[] = "/tmp/test-ckpt-XXXXXX";
static char path_buffer[PATH_MAX];

static const char *at(const char *name)
{
    snprintf(path_buffer, sizeof path_buffer, "%s/%s", folder, name);
    return path_buffer;
}

static void write_bytes(const char *name, const void *bytes, size_t size)
{
    FILE *f = fopen(at(name), "wb");
    CHECK(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
}

static void write_safetensors(const char *name, const char *header, const void *data, size_t size)
{
    unsigned char bytes[4096] = {0};
    size_t n = strlen(header);
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)n >> 8 * i);
    memcpy(bytes + 8, header, n);
    memcpy(bytes + 8 + n, data, size);
    write_bytes(name, bytes, 8 + n + size);
}

static bool has_text(const char *text, const char *part)
{
    bool found = strstr(text, part) != NULL;
    if (!found)
        fprintf(stderr, "expected \"%s\" in: %s\n", part, text);
    return found;
}

/* ---- by hand --------------------------------------------------------------------------------- */

static void test_folder(void)
{
    static const float data[] = {1, 2, 3, 4, 5, 6, 7};
    struct error e;
    mkdir(at("model"), 0700);
    mkdir(at("model/sub"), 0700);
    write_safetensors("model/model.safetensors",
                      "{\"z\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                      "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[24,28]}}",
                      data, sizeof data);
    write_bytes("model/config.json", "{\"a\": 1}", 8);
    write_bytes("model/.hidden", "x", 1);
    write_bytes("model/training_args.bin", "x", 1);
    write_bytes("model/tokenizer.model", "", 0);
    CHECK(ckpt_is_checkpoint(at("model"), &e) == 1);
    CHECK(ckpt_is_checkpoint(at("model/model.safetensors"), &e) == 1);
    CHECK(ckpt_is_checkpoint(at("model/config.json"), &e) == 0);
    struct ckpt *c = ckpt_open(at("model"), NULL, NULL, &e);
    CHECK(c != NULL);
    if (!c)
        return;
    CHECK(ckpt_tensor_count(c) == 2 && strcmp(ckpt_tensor(c, 0)->name, "a") == 0);
    CHECK(ckpt_find_tensor(c, "z") == 1 && ckpt_find_tensor(c, "y") == -1);
    const struct ckpt_tensor *z = ckpt_tensor(c, 1);
    CHECK(z->rank == 2 && z->shape[0] == 2 && z->shape[1] == 3 && z->elements == 6);
    CHECK(z->dtype == DTYPE_F32 && z->data && memcmp(z->data, data, 24) == 0);
    float x[2];
    ckpt_read_elements(c, 1, 3, 2, x);
    CHECK(x[0] == 4 && x[1] == 5);
    ckpt_release_pages(c, 1, 3, 2);
    ckpt_read_elements(c, 1, 3, 2, x);
    CHECK(x[0] == 4 && x[1] == 5);
    CHECK(ckpt_auxiliary_file_count(c) == 2 &&
          strcmp(ckpt_auxiliary_file_name(c, 0), "config.json") == 0);
    size_t size = 0;
    char *text;
    CHECK(ckpt_read_auxiliary_file(c, "config.json", &text, &size, &e) == 1);
    CHECK(text && size == 8 && strcmp(text, "{\"a\": 1}") == 0);
    free(text);
    CHECK(ckpt_read_auxiliary_file(c, "tokenizer.model", &text, &size, &e) == 1);
    CHECK(text && size == 0);
    free(text);
    CHECK(ckpt_read_auxiliary_file(c, "../config.json", &text, &size, &e) == 0 && !text);
    CHECK(ckpt_read_auxiliary_file(c, "training_args.bin", &text, &size, &e) == 0 && !text);

    struct ckpt *alone = ckpt_open(at("model/model.safetensors"), NULL, NULL, &e);
    CHECK(alone && ckpt_auxiliary_file_count(alone) == 2);
    CHECK(alone && ckpt_fingerprint(alone) == ckpt_fingerprint(c));
    ckpt_close(alone);
    ckpt_close(c);
}

static void test_fingerprint(void)
{
    struct error e;
    float data[] = {1, 2};
    const char *header = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    uint64_t prints[2] = {0};
    for (size_t i = 0; i < 2; i++) {
        data[1] = (float)i;
        write_safetensors("x.safetensors", header, data, sizeof data);
        struct ckpt *c = ckpt_open(at("x.safetensors"), NULL, NULL, &e);
        CHECK(c && ckpt_auxiliary_file_count(c) == 0);
        prints[i] = c ? ckpt_fingerprint(c) : 0;
        ckpt_close(c);
    }
    CHECK(prints[0] != prints[1]);
}

static void check_name(const char *path, const char *expected)
{
    char *name = model_name_from_path(path);
    CHECK(has_text(name, expected) && strlen(name) == strlen(expected));
    free(name);
}

static void test_names(void)
{
    check_name("math", "math");
    check_name("models/math/", "math");
    check_name("models/math.tar.zst", "math");
    check_name("math.safetensors", "math");
    check_name("models/math/model.safetensors", "math");
    check_name("models/math/pytorch_model.bin", "math");
    check_name("org/Name-7B-v0.1", "Name-7B-v0.1");
    check_name("hub/models--org--math/snapshots/0123abc", "math");
    check_name("hub/models--org--math/", "math");
    write_bytes("a#b.pt", "", 0);
    check_name(at("a#b.pt"), "a#b");
    check_name(at("a#b.pt#c/d.e=f"), "a#b#c.d.e.f");
    check_name(at("a#b.pt#"), "a#b");
    check_name(at("missing.pt#c"), "missing.pt#c");
    check_name("hub/models--org--math/snapshots/0123abc/model.safetensors", "math");
    check_name("model.safetensors", "model");
}

static void test_recognize(void)
{
    struct error e;
    write_bytes("stream", "\xa4TVS1\x01\x80{{{{{", 12);
    CHECK(ckpt_is_checkpoint(at("stream"), &e) == 0);
    write_bytes("empty", "", 0);
    CHECK(ckpt_is_checkpoint(at("empty"), &e) == 0);
    CHECK(ckpt_is_checkpoint(at("missing"), &e) == -1 && has_text(e.text, "cannot open"));
    mkfifo(at("pipe"), 0600);
    CHECK(ckpt_is_checkpoint(at("pipe"), &e) == 0);
    CHECK(ckpt_open(at("pipe"), NULL, NULL, &e) == NULL && has_text(e.text, "regular file"));
}

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

/* org/name -> $HF_HUB_CACHE/models--org--name/snapshots/REVISION */
static void test_hf_cache(void)
{
    struct error e;
    static const float x = 1;
    mkdir(at("hub"), 0700);
    setenv("HF_HUB_CACHE", path_buffer, 1);
    mkdir(at("hub/models--org--name"), 0700);
    mkdir(at("hub/models--org--name/refs"), 0700);
    mkdir(at("hub/models--org--name/snapshots"), 0700);
    mkdir(at("hub/models--org--name/snapshots/abc"), 0700);
    write_safetensors("hub/models--org--name/snapshots/abc/model.safetensors",
                      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", &x, 4);
    CHECK(ckpt_is_checkpoint("org/name", &e) == -1);
    write_bytes("hub/models--org--name/refs/main", "../abc\n", 7);
    CHECK(ckpt_is_checkpoint("org/name", &e) == -1);
    write_bytes("hub/models--org--name/refs/main", "abc\n", 4);
    CHECK(ckpt_is_checkpoint("org/name", &e) == 1);
    struct ckpt *c = ckpt_open("org/name", NULL, NULL, &e);
    CHECK(c && ckpt_tensor_count(c) == 1);
    CHECK(!ckpt_hub_model(c).name && !ckpt_hub_model(c).commit); /* abc is no commit */
    ckpt_close(c);
    CHECK(ckpt_open("org/other", NULL, NULL, &e) == NULL &&
          has_text(e.text, "org/other is not a file"));
    CHECK(ckpt_open("org/a/b", NULL, NULL, &e) == NULL && has_text(e.text, "cannot open"));
}

static void check_hub_model(const char *path, const char *name)
{
    struct arena a = {0};
    const struct hub_model m = hf_cache_identify_model(path, &a);
    CHECK(name ? m.name && strcmp(m.name, name) == 0 && m.commit && strcmp(m.commit, COMMIT) == 0
               : !m.name && !m.commit);
    arena_free(&a);
}

static void test_hub_models(void)
{
    check_hub_model("/hub/models--org--name/snapshots/" COMMIT, "org/name");
    check_hub_model("models--org--name/snapshots/" COMMIT "//", "org/name");
    check_hub_model("x/models--name/snapshots/" COMMIT "/model.safetensors", "name");
    check_hub_model("models--a--b-c.d_e/snapshots/" COMMIT, "a/b-c.d_e");
    check_hub_model("snapshots/" COMMIT, NULL);
    check_hub_model(COMMIT, NULL);
    check_hub_model("/" COMMIT, NULL);
    check_hub_model("", NULL);
    check_hub_model("/", NULL);
    check_hub_model("models--org--name/snapshots/" COMMIT "/a/b", NULL);
    check_hub_model("models--org--name/snapshots/" COMMIT "0", NULL);
    check_hub_model("models--org--name/blobs/" COMMIT, NULL);
    check_hub_model("datasets--org--name/snapshots/" COMMIT, NULL);
    check_hub_model("models--/snapshots/" COMMIT, NULL);
    check_hub_model("models--org--\033[2J/snapshots/" COMMIT, NULL);
    check_hub_model("models--..--x/snapshots/" COMMIT, NULL);
}

/* Memory in mapped files, in kB. */
static long resident(void)
{
    char line[200];
    long kb = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "RssFile:", 8) == 0)
            kb = atol(line + 8);
    if (f)
        fclose(f);
    return kb;
}

/* Reading a large file block by block must not keep it in memory. */
static void test_resident(void)
{
    enum { BLOCK = 65536, BLOCKS = 1024 };
    struct error e;
    char header[100];
    snprintf(header, sizeof header,
             "{\"a\":{\"dtype\":\"U8\",\"shape\":[%d],\"data_offsets\":[0,%d]}}", BLOCK * BLOCKS,
             BLOCK * BLOCKS);
    write_safetensors("large.safetensors", header, "", 0);
    static const unsigned char block[BLOCK];
    FILE *f = fopen(at("large.safetensors"), "ab");
    for (size_t i = 0; i < BLOCKS; i++)
        CHECK(f && fwrite(block, 1, BLOCK, f) == BLOCK);
    CHECK(f && fclose(f) == 0);
    struct ckpt *c = ckpt_open(at("large.safetensors"), NULL, NULL, &e);
    CHECK(c != NULL);
    long before = resident(), most = 0;
    unsigned long sum = 0;
    for (size_t i = 0; c && i < BLOCKS; i++) {
        const unsigned char *x = ckpt_tensor(c, 0)->data + i * BLOCK;
        for (size_t j = 0; j < BLOCK; j++)
            sum += x[j];
        ckpt_release_pages(c, 0, i * BLOCK, BLOCK);
        most = resident() > most ? resident() : most;
    }
    CHECK(sum == 0);
    CHECK(before < 0 || most - before < 8192);
    ckpt_close(c);
    unlink(at("large.safetensors"));
}

/* ---- the files of hostile.py ----------------------------------------------------------------- */

/* The next tab-separated field of a line, which is cut up. */
static char *field(char **line)
{
    char *start = *line, *end = start + strcspn(start, "\t\n");
    *line = *end ? end + 1 : end;
    *end = '\0';
    return start;
}

static void check_refused(const char *name, const char *sentence)
{
    struct error e = {0};
    struct ckpt *c = ckpt_open(at(name), folder, NULL, &e);
    bool right = !c && has_text(e.text, sentence) && has_text(e.text, folder);
    if (!right)
        fprintf(stderr, "%s is not refused as expected\n", name);
    CHECK(right);
    CHECK(ckpt_is_checkpoint(at(name), &e) == 1);
    ckpt_close(c);
}

static void check_values(const struct ckpt *c, const char *tensor, const char *values)
{
    long i = ckpt_find_tensor(c, tensor);
    CHECK(i >= 0);
    if (i < 0 || !*values)
        return;
    float x[64], part[64];
    size_t n = ckpt_tensor(c, (size_t)i)->elements;
    CHECK(n <= 64 && ckpt_tensor(c, (size_t)i)->dtype == DTYPE_F32);
    ckpt_read_elements(c, (size_t)i, 0, n, x);
    for (size_t j = 0; j < n; j++) {
        char *end;
        CHECK(strtof(values, &end) == x[j] && end > values);
        values = end;
    }
    for (size_t first = 0; first < n; first++) { /* reading from any element on gives the same */
        ckpt_read_elements(c, (size_t)i, first, n - first, part);
        CHECK(memcmp(part, x + first, (n - first) * sizeof *x) == 0);
    }
    ckpt_release_pages(c, (size_t)i, 0, n);
}

static void check_good(const char *name, size_t count, const char *tensor, const char *values)
{
    struct error e = {0};
    struct ckpt *c = ckpt_open(at(name), folder, NULL, &e);
    if (!c || ckpt_tensor_count(c) != count)
        fprintf(stderr, "%s: %s\n", name, c ? "wrong number of tensors" : e.text);
    CHECK(c && ckpt_tensor_count(c) == count);
    if (c && count > 0)
        check_values(c, tensor, values);
    ckpt_close(c);
}

static void test_files(const char *list, bool good)
{
    char line[1024];
    FILE *f = fopen(at(list), "r");
    CHECK(f != NULL);
    while (f && fgets(line, sizeof line, f)) {
        char *rest = line, *name = field(&rest), *second = field(&rest);
        if (good) {
            char *tensor = field(&rest), *values = field(&rest);
            check_good(name, strtoul(second, NULL, 10), tensor, values);
        } else {
            check_refused(name, second);
        }
    }
    if (f)
        fclose(f);
}

/* Runs a command on the temporary folder. */
static int run(const char *format, const char *what)
{
    char command[3 * PATH_MAX];
    snprintf(command, sizeof command, format, what, folder);
    return system(command);
}

int main(void)
{
    char generator[PATH_MAX];
    const char *slash = strrchr(__FILE__, '/');
    snprintf(generator, sizeof generator, "%.*shostile.py", slash ? (int)(slash + 1 - __FILE__) : 0,
             __FILE__);
    if (!mkdtemp(folder))
        return EXIT_FAILURE;
    unsetenv("TMPDIR");
    test_folder();
    test_fingerprint();
    test_names();
    test_recognize();
    test_hf_cache();
    test_hub_models();
    test_resident();
    if (access(generator, R_OK) == 0) {
        CHECK(run("/usr/bin/python3 '%s' '%s'", generator) == 0);
        test_files("good.tsv", true);
        test_files("expected.tsv", false);
    } else {
        fprintf(stderr, "test_ckpt: %s is not here: run me in the source tree\n", generator);
        unit_failures++;
    }
    CHECK(run("%s '%s'", "rm -rf") == 0);
    return unit_end();
}
