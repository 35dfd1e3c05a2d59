/* Every allocation of an operation fails in turn, also those in other libraries: the operation
 * gives the right result, or the process exits with status 1. It never crashes, and never returns
 * something else. */
#include "command_line.h"
#include "hash.h"
#include "merge_config.h"
#include "model_card.h"
#include "process_start.h"
#include "reader.h"
#include "stage.h"
#include "unarchive.h"
#include "unit.h"
#include "writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- failing allocations --------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAN_FAIL 0 /* the sanitizer has an allocator of its own */
static atomic_long countdown;
#else
#define CAN_FAIL 1
static atomic_long countdown; /* the allocation that fails; 0: none */

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

static bool fails(void)
{
    if (countdown <= 0 || --countdown > 0)
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t count, size_t size)
{
    return fails() ? NULL : __libc_realloc(old, count * size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : __libc_memalign(alignment, size);
}
#endif

/* ---- operations: each returns whether its result is right ------------------------------------ */

struct options {
    double density;
};

static bool parse_command_line(void)
{
    static const struct option_row rows[] = {
        {"density", OPTION_NUMBER, offsetof(struct options, density), "D", .help = "a number"},
        {0}};
    static const struct filter sample = {.name = "sample",
                                         .summary = "Test command lines",
                                         .options_size = sizeof(struct options),
                                         .options = rows,
                                         .role = ROLE_FILTER};
    char *words[] = {"sample", "--density", "0.5", NULL};
    struct stage *s = command_line_parse(&sample, 3, words);
    bool right = ((const struct options *)s->options)->density == 0.5;
    stage_free(s);
    return right;
}

static bool print_to_memory(void)
{
    struct bytes b = {0};
    FILE *f = bytes_open_stream(&b);
    size_t length = 0;
    for (int i = 0; i < 5000; i++)
        length += (size_t)fprintf(f, "%d\n", i);
    fclose(f);
    bool right = b.size == length && memcmp(b.data + b.size - 5, "4999\n", 5) == 0;
    bytes_free(&b);
    return right;
}

static bool encode_json(void)
{
    json_t *o = json_object();
    for (int i = 0; i < 20; i++) {
        char key[8];
        snprintf(key, sizeof key, "%d", i);
        json_object_set_new(o, key, json_string("value"));
    }
    char *text = json_dumps(o, JSON_COMPACT);
    bool right = strstr(text, "\"0\":\"value\"") && strstr(text, "\"19\":\"value\"");
    free(text);
    json_decref(o);
    return right;
}

static bool read_config(void)
{
    static const char text[] =
        "merge_method: linear\nmodels:\n  - model: a\n    parameters: {weight: "
        "[0.1, 0.9]}\n  - {model: b}\ndtype: float32\n";
    struct merge_config_file file;
    struct arena a = {0};
    struct error e;
    int fd = memfd_create("config", 0);
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CHECK(write(fd, text, sizeof text - 1) == sizeof text - 1);
    if (merge_config_read(&file, path, "test", &a, &e))
        return strstr(e.text, strerror(ENOMEM)) != NULL;
    bool right = file.n_documents == 1 && file.documents[0].modules[0].slices[0].n_sources == 2;
    arena_free(&a);
    close(fd);
    return right;
}

static bool write_stream(int fd)
{
    struct header *h = header_new();
    struct error e;
    h->kind = KIND_WEIGHTS;
    header_add_model(h, "math", NULL, &e);
    header_add_history_step(h, "unpack", 1, (const char *const[]){"math"});
    struct writer *w = writer_open(fd, "a file");
    int failed = writer_write_header(w, h, &e) || writer_write_end_record(w, 0, NULL, NULL, &e);
    header_free(h);
    return !writer_close(w, &e) && !failed;
}

static bool write_and_read_stream(void)
{
    struct error e;
    struct arena a = {0};
    struct tensor t;
    int fd = memfd_create("stream", 0);
    if (!write_stream(dup(fd)) || lseek(fd, 0, SEEK_SET) != 0)
        return false;
    struct reader *r = reader_open(fd, "a file", &e);
    bool right = r && reader_header(r)->n_models == 1 && reader_header(r)->history.n == 1 &&
                 reader_next_tensor(r, &a, &t, &e) == 0;
    reader_close(r);
    arena_free(&a);
    close(fd);
    return right;
}

static bool print_model_card(void)
{
    struct header *h = header_new();
    struct error e;
    h->kind = KIND_WEIGHTS;
    header_add_model(h, "math", "base", &e);
    struct used_weights *u = used_weights_new(1);
    static const double weight = 0.25;
    const struct joined_vector joined = {.name = "math", .n_weights = 1, .weights = &weight};
    used_weights_add(u, 0, &(struct vector){.n_joined = 1, .joined = &joined});
    char *text = model_card_readme_text(h, &(struct model_hashes){0}, u, 0, NULL,
                                        &(struct card_texts){.metadata = ""});
    bool right = text && strstr(text, "# Merged model") && strstr(text, "| `math` | 0.25 |") &&
                 strstr(text, "## Tensors");
    free(text);
    text = used_weights_text(u, h);
    right = right && strcmp(text, "{\"weights\":{\"math\":0.25}}") == 0;
    free(text);
    used_weights_free(u);
    header_free(h);
    return right;
}

static char archive_path[32]; /* of a tar with model/config.json */

static void make_archive(void)
{
    int fd = memfd_create("archive", 0);
    struct archive *a = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    archive_write_set_format_ustar(a);
    CHECK(archive_write_open_fd(a, fd) == ARCHIVE_OK);
    archive_entry_set_pathname(entry, "model/config.json");
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_size(entry, 2);
    CHECK(archive_write_header(a, entry) == ARCHIVE_OK && archive_write_data(a, "{}", 2) == 2);
    archive_entry_free(entry);
    archive_write_free(a);
    snprintf(archive_path, sizeof archive_path, "/proc/self/fd/%d", fd);
}

/* libarchive reports some failures as errors. */
static bool read_archive(void)
{
    struct model_files files = {0};
    struct error e;
    const struct unarchive_input input = {.path = archive_path, .fd = -1};
    int failed = unarchive_model(&files, &input, NULL, NULL, &e);
    bool right = failed || (files.n == 1 && strcmp(files.files[0].name, "config.json") == 0 &&
                            files.files[0].size == 2);
    model_files_free(&files);
    return right;
}

/* ---- every position -------------------------------------------------------------------------- */

enum { RIGHT = 0, OUT_OF_MEMORY = 1, WRONG = 9, NOT_REACHED = 10 };

/* The exit status of a child in which allocation n fails; that of a signal is above 127. */
static int run(bool (*operation)(void), long n)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(freopen("/dev/null", "w", stderr) != NULL);
        countdown = n;
        bool right = operation();
        bool reached = countdown <= 0;
        countdown = 0;
        _exit(!right ? WRONG : reached ? RIGHT : NOT_REACHED);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void test_positions(const char *name, bool (*operation)(void))
{
    long n = 1;
    int status = RIGHT;
    CHECK(operation());
    for (; n < 5000 && status != NOT_REACHED; n++) {
        status = run(operation, n);
        if (status == RIGHT || status == OUT_OF_MEMORY || status == NOT_REACHED)
            continue;
        fprintf(stderr, "%s, allocation %ld: status %d\n", name, n, status);
        unit_failures++;
    }
    CHECK(n > 2 && n < 5000);
}

int main(void)
{
    process_start("test");
    if (!CAN_FAIL)
        return unit_end();
    make_archive();
    test_positions("archive", read_archive);
    test_positions("command line", parse_command_line);
    test_positions("text", print_to_memory);
    test_positions("JSON", encode_json);
    test_positions("config", read_config);
    test_positions("stream", write_and_read_stream);
    test_positions("model card", print_model_card);
    return unit_end();
}
