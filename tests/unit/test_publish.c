/* checkpoint_writer: forms, shards, replaced targets, errors, and no temporary files left. */
#include "checkpoint_writer.h"
#include "used_weights.h"
#include "weight_names.h"

#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const names[] = {"a", "b", "c.empty", "d"};
static const enum dtype dtypes[] = {DTYPE_F16, DTYPE_F32, DTYPE_F32, DTYPE_I64};
static const uint64_t shape_a[] = {3}, shape_b[] = {2, 2}, shape_c[] = {0, 4};
static const uint64_t *const shapes[] = {shape_a, shape_b, shape_c, NULL};
static const size_t ranks[] = {1, 2, 2, 0};
static const char *const metadata[][2] = {{"hash", "----"}, {"note", "\"quoted\""}};
static const unsigned char data[] = "aaaaaaBBBBBBBBBBBBBBBBdddddddd";

/* Entries in the current folder, hidden ones too. */
static size_t count_entries(void)
{
    DIR *dir = opendir(".");
    size_t n = 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

static unsigned char *slurp(const char *path, size_t *size)
{
    static unsigned char bytes[1 << 22];
    FILE *f = fopen(path, "rb");
    *size = f ? fread(bytes, 1, sizeof bytes - 1, f) : 0;
    bytes[*size] = '\0';
    if (f)
        fclose(f);
    return bytes;
}

static bool contains(const unsigned char *bytes, size_t size, const char *text)
{
    return memmem(bytes, size, text, strlen(text)) != NULL;
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static struct shard_layout_spec wanted(size_t n, const char *const *tensor_names,
                                       uint64_t shard_size)
{
    return (struct shard_layout_spec){.n = n,
                                      .stem = WEIGHT_STEM_TRANSFORMERS,
                                      .names = tensor_names,
                                      .dtypes = dtypes,
                                      .ranks = ranks,
                                      .shapes = shapes,
                                      .shard_size = shard_size};
}

static struct checkpoint_writer *start(const char *target, bool force, uint64_t shard_size,
                                       struct error *e)
{
    struct checkpoint_writer *p =
        checkpoint_writer_open(target, output_target_form_of_name(target), force, NULL, 1000, e);
    if (!p)
        return NULL;
    struct shard_layout_spec w = wanted(4, names, shard_size);
    w.n_metadata = 2;
    w.metadata = metadata;
    CHECK(checkpoint_writer_declare_tensors(p, &w, e) == 0);
    return p;
}

/* All tensors, in pieces and out of order. */
static void write_all(struct checkpoint_writer *p, struct error *e)
{
    CHECK(checkpoint_writer_write_tensor(p, 3, 0, data + 22, 8, e) == 0);
    CHECK(checkpoint_writer_write_tensor(p, 1, 8, data + 14, 8, e) == 0);
    CHECK(checkpoint_writer_write_tensor(p, 0, 0, data, 6, e) == 0);
    CHECK(checkpoint_writer_write_tensor(p, 2, 0, data, 0, e) == 0);
    CHECK(checkpoint_writer_write_tensor(p, 1, 0, data + 6, 8, e) == 0);
}

static void finish(struct checkpoint_writer *p, struct error *e)
{
    CHECK(checkpoint_writer_replace_metadata(p, "hash", "1234", e) == 0);
    CHECK(checkpoint_writer_write_file(p, "README.md", "card", 4, e) == 0);
    CHECK(checkpoint_writer_commit(p, e) == 0);
}

static void test_folder(void)
{
    struct error e = {0};
    size_t size;
    umask(027);
    struct checkpoint_writer *p = start("out/", false, 1000, &e);
    CHECK(p && !exists("out"));
    CHECK(checkpoint_writer_write_file(p, "../config.json", "{}", 2, &e));
    CHECK(checkpoint_writer_write_file(p, "config.json", "{}", 2, &e) == 0);
    write_all(p, &e);
    finish(p, &e);
    CHECK(count_entries() == 1);
    const unsigned char *bytes = slurp("out/model.safetensors", &size);
    size_t length = bytes[0] | bytes[1] << 8;
    CHECK(size == 8 + length + 30 && length % 8 == 0 && bytes[8] == '{');
    /* The widest dtype comes first. */
    CHECK(memcmp(bytes + 8 + length, "ddddddddBBBBBBBBBBBBBBBBaaaaaa", 30) == 0);
    CHECK(contains(bytes, size,
                   "\"__metadata__\":{\"format\":\"pt\",\"hash\":\"1234\","
                   "\"note\":\"\\\"quoted\\\"\"}"));
    CHECK(
        contains(bytes, size, "\"a\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[24,30]}"));
    CHECK(contains(bytes, size,
                   "\"c.empty\":{\"dtype\":\"F32\",\"shape\":[0,4],"
                   "\"data_offsets\":[24,24]}"));
    CHECK(contains(bytes, size, "\"d\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}"));
    struct stat st;
    CHECK(stat("out", &st) == 0 && (st.st_mode & 0777) == 0750);
    CHECK(stat("out/config.json", &st) == 0 && (st.st_mode & 0777) == 0640);
    CHECK(stat("out/model.safetensors", &st) == 0 && (st.st_mode & 0777) == 0640);
    umask(022);
}

static void test_existing(void)
{
    struct error e = {0};
    size_t size;
    CHECK(!start("out", false, 1000, &e));
    CHECK(strcmp(e.text, "out exists already (--force replaces it)") == 0);
    struct checkpoint_writer *p = start("out", true, 20, &e);
    write_all(p, &e);
    finish(p, &e);
    CHECK(count_entries() == 1 && !exists("out/config.json") && !exists("out/model.safetensors"));
    CHECK(exists("out/model-00001-of-00003.safetensors"));
    slurp("out/model-00003-of-00003.safetensors", &size);
    CHECK(size > 8 && size % 8 == 0);
    const unsigned char *bytes = slurp("out/model.safetensors.index.json", &size);
    CHECK(contains(bytes, size, "\"total_size\": 30"));
    CHECK(contains(bytes, size, "\"b\": \"model-00002-of-00003.safetensors\""));
    /* A folder that is no checkpoint is not replaced, even by force; a file may be. */
    mkdir("precious", 0777);
    close(open("precious/letter", O_CREAT | O_WRONLY, 0666));
    CHECK(!start("precious", true, 1000, &e));
    CHECK(exists("precious/letter"));
    unlink("precious/letter");
    rmdir("precious");
    close(open("file", O_CREAT | O_WRONLY, 0666));
    p = start("file", true, 1000, &e);
    write_all(p, &e);
    finish(p, &e);
    CHECK(exists("file/model.safetensors") && count_entries() == 2);
    CHECK(system("rm -r file out") == 0);
}

/* Of what --force replaces, what was checked is removed, and what appears or changes later stays.
 */
static void test_replaced(void)
{
    struct error e = {0};
    struct replaced_target r = {0};
    struct checkpoint_writer *p = start("out", false, 1000, &e);
    CHECK(checkpoint_writer_write_file(p, "config.json", "{}", 2, &e) == 0);
    write_all(p, &e);
    finish(p, &e);
    CHECK(replaced_target_check(&r, AT_FDCWD, "none", "none", &e) == 0);
    CHECK(replaced_target_check(&r, AT_FDCWD, "out", "out", &e) == 1);
    const char *records = (const char *)r.records.data;
    CHECK(replaced_target_is(records, r.records.size, AT_FDCWD, "out"));
    CHECK(!replaced_target_is(records, r.records.size, AT_FDCWD, "."));
    close(open("out/LICENSE", O_CREAT | O_WRONLY, 0666));
    CHECK(truncate("out/config.json", 1) == 0);
    CHECK(replaced_target_remove(records, r.records.size, AT_FDCWD, "out") == -1);
    CHECK(exists("out/LICENSE") && exists("out/config.json") && !exists("out/model.safetensors"));
    CHECK(replaced_target_remove(records, r.records.size - 1, AT_FDCWD, ".") == -1);
    CHECK(replaced_target_check(&r, AT_FDCWD, "out", "out", &e) == -1);
    CHECK(strstr(e.text, "out is not a checkpoint (it contains no weights)") && !r.records.size);
    CHECK(system("rm -r out") == 0);
    mkdir("out", 0777);
    CHECK(replaced_target_check(&r, AT_FDCWD, "out", "out", &e) == 1);
    CHECK(replaced_target_remove((const char *)r.records.data, r.records.size, AT_FDCWD, "out") ==
          0);
    CHECK(!exists("out"));
    replaced_target_free(&r);
}

static void test_one_file(void)
{
    struct error e = {0};
    size_t size;
    struct checkpoint_writer *p = start("one.safetensors", false, 1, &e);
    CHECK(checkpoint_writer_write_file(p, "config.json", "{}", 2, &e) == 0);
    write_all(p, &e);
    finish(p, &e);
    CHECK(count_entries() == 1);
    const unsigned char *bytes = slurp("one.safetensors", &size);
    CHECK(contains(bytes, size, "ddddddddBBBBBBBBBBBBBBBBaaaaaa"));
    unlink("one.safetensors");
}

/* Weights that do not fit into the room reserved in the metadata move the data, here of 3 MB. */
static void test_weights_of_one_file(void)
{
    enum { N = 3000001 };
    static const char *const large[] = {"large"};
    static const enum dtype bytes_dtype[] = {DTYPE_U8};
    static const uint64_t n[] = {N};
    static const uint64_t *const shape[] = {n};
    static const size_t rank[] = {1};
    static const char *const room[][2] = {{USED_WEIGHTS_METADATA, "        "}};
    struct error e = {0};
    unsigned char *payload = mem_alloc(N, 1);
    for (size_t i = 0; i < N; i++)
        payload[i] = (unsigned char)(i * 2654435761u >> 24);
    for (size_t length = 2; length < 2000; length += 499) {
        size_t size;
        char text[2000] = "";
        memset(text, 'w', length);
        struct checkpoint_writer *p = checkpoint_writer_open(
            "one.safetensors", output_target_form_of_name("one.safetensors"), true, NULL, 1, &e);
        const struct shard_layout_spec spec = {.n = 1,
                                               .stem = WEIGHT_STEM_TRANSFORMERS,
                                               .names = large,
                                               .dtypes = bytes_dtype,
                                               .ranks = rank,
                                               .shapes = shape,
                                               .n_metadata = 1,
                                               .metadata = room};
        CHECK(checkpoint_writer_declare_tensors(p, &spec, &e) == 0);
        CHECK(checkpoint_writer_write_tensor(p, 0, 0, payload, N, &e) == 0);
        CHECK(checkpoint_writer_write_used_weights(p, text, &e) == 0);
        CHECK(checkpoint_writer_commit(p, &e) == 0);
        const unsigned char *bytes = slurp("one.safetensors", &size);
        size_t header = 8 + (bytes[0] | bytes[1] << 8);
        CHECK(size == header + N && header % 8 == 0 && contains(bytes, header, text));
        CHECK(memcmp(bytes + header, payload, N) == 0);
    }
    free(payload);
    unlink("one.safetensors");
}

static void test_archive(const char *target, const char *list)
{
    struct error e = {0};
    size_t size;
    struct checkpoint_writer *p = start(target, false, 1000, &e);
    CHECK(checkpoint_writer_write_file(p, "config.json", "{}", 2, &e) == 0);
    write_all(p, &e);
    finish(p, &e);
    CHECK(count_entries() == 1);
    CHECK(system(list) == 0);
    const unsigned char *bytes = slurp("list", &size);
    /* In an archive the data stay in order; what would not be aligned starts another shard. */
    CHECK(size > 0 && strcmp((const char *)bytes, "model.safetensors.index.json\nconfig.json\n"
                                                  "model-00001-of-00002.safetensors\n"
                                                  "model-00002-of-00002.safetensors\n"
                                                  "README.md\n") == 0);
    unlink("list");
    unlink(target);
}

static void test_abort(void)
{
    static const char *const targets[] = {"x", "x.safetensors", "x.tar", "x.tar.zst"};
    struct error e = {0};
    for (size_t i = 0; i < 4; i++) {
        struct checkpoint_writer *p = start(targets[i], false, 20, &e);
        CHECK(p != NULL);
        CHECK(checkpoint_writer_write_tensor(p, 0, 0, data, 6, &e) == 0);
        checkpoint_writer_abort(p);
        CHECK(count_entries() == 0);
        /* An incomplete checkpoint is not published. */
        p = start(targets[i], false, 20, &e);
        CHECK(checkpoint_writer_write_tensor(p, 0, 0, data, 6, &e) == 0);
        CHECK(checkpoint_writer_commit(p, &e) < 0);
        CHECK(strstr(e.text, "incomplete") != NULL);
        CHECK(count_entries() == 0);
    }
    checkpoint_writer_abort(NULL);
}

static void test_refusals(void)
{
    struct error e = {0};
    CHECK(!checkpoint_writer_open("/dev/null/x", OUTPUT_FOLDER, false, NULL, 0, &e));
    CHECK(!checkpoint_writer_open("..", OUTPUT_FOLDER, false, NULL, 0, &e));
    CHECK(!checkpoint_writer_open("/", OUTPUT_FOLDER, false, NULL, 0, &e));
    CHECK(!checkpoint_writer_open("x", OUTPUT_FOLDER, false, NULL, UINT64_MAX / 2, &e));
    CHECK(strstr(e.text, "are free") != NULL);
    struct checkpoint_writer *p = checkpoint_writer_open("x", OUTPUT_FOLDER, false, NULL, 0, &e);
    const char *const twice[] = {"a", "a"}, *const bad[] = {"\xff"};
    struct shard_layout_spec w = wanted(2, twice, 1000);
    CHECK(checkpoint_writer_declare_tensors(p, &w, &e) < 0);
    checkpoint_writer_abort(p);
    p = checkpoint_writer_open("x", OUTPUT_FOLDER, false, NULL, 0, &e);
    w = wanted(1, bad, 1000);
    CHECK(checkpoint_writer_declare_tensors(p, &w, &e) < 0);
    checkpoint_writer_abort(p);
    p = start("x", false, 1000, &e);
    CHECK(checkpoint_writer_replace_metadata(p, "hash", "much longer than it was", &e) < 0);
    checkpoint_writer_abort(p);
    CHECK(count_entries() == 0);
}

static void test_signal(int number)
{
    int ready[2], status;
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct error e;
        signal(number, SIG_DFL); /* a background job may have been born deaf to it */
        struct checkpoint_writer *p = start("x", false, 20, &e);
        checkpoint_writer_write_file(p, "config.json", "{}", 2, &e);
        CHECK(write(ready[1], "", 1) == 1);
        for (;;)
            pause();
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(count_entries() == 1);
    kill(child, number);
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == number);
    CHECK(count_entries() == 0);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
    char folder[] = "/tmp/test_publish-XXXXXX";
    CHECK(mkdtemp(folder) && chdir(folder) == 0);
    umask(022);
    CHECK(output_target_form_of_name("out/") == OUTPUT_FOLDER &&
          output_target_form_of_name("-") == OUTPUT_TAR);
    CHECK(output_target_form_of_name("a.tar.zst") == OUTPUT_TAR_ZST);
    CHECK(output_target_form_of_name("a/b.safetensors") == OUTPUT_SAFETENSORS);
    test_folder();
    test_existing();
    test_replaced();
    test_one_file();
    test_weights_of_one_file();
    test_archive("x.tar", "tar tf x.tar > list");
    test_archive("x.tar.zst", "zstd -dcq x.tar.zst | tar tf - > list");
    test_abort();
    test_refusals();
    test_signal(SIGINT);
    test_signal(SIGTERM);
    test_signal(SIGHUP);
    CHECK(chdir("/") == 0);
    rmdir(folder);
    return unit_end();
}
