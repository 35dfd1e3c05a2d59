#include "spool.h"
#include "unit.h"

#include <dirent.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t files_in(const char *folder)
{
    DIR *d = opendir(folder);
    size_t n = 0;
    while (d && readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Bytes written in any order are read back, from memory and from a file. */
static void test_round_trip(const char *folder, size_t memory, size_t size)
{
    struct error e;
    struct spool *s = spool_new(memory, folder);
    unsigned char *bytes = malloc(size + 1), *back = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(i * 31 >> 3);
    CHECK(spool_reserve(s, size, &e) == 0);
    size_t half = size / 2;
    CHECK(spool_write_at(s, half, bytes + half, size - half, &e) == 0);
    CHECK(spool_write_at(s, 0, bytes, half, &e) == 0);
    CHECK(spool_read_at(s, 0, back, size, &e) == 0 && memcmp(bytes, back, size) == 0);
    void *at = spool_memory_at(s, half, size - half);
    CHECK((at != NULL) == (size <= memory));
    CHECK(!at || memcmp(at, bytes + half, size - half) == 0);
    CHECK(spool_memory_at(s, 1, size) == NULL && spool_memory_at(s, UINT64_MAX, 2) == NULL);
    CHECK(spool_write_at(s, 1, bytes, size, &e) == -1 &&
          spool_read_at(s, size + 1, back, 0, &e) == -1);
    CHECK(files_in(folder) == 2);
    spool_free(s);
    free(bytes);
    free(back);
}

/* One spool, larger and smaller tensors in turn. */
static void test_reuse(const char *folder)
{
    struct error e;
    struct spool *s = spool_new(100, folder);
    static const size_t sizes[] = {50, 1000, 100, 101, 0, 5000, 7};
    char bytes[5000], back[5000];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(bytes, (int)('a' + i), sizeof bytes);
        CHECK(spool_reserve(s, sizes[i], &e) == 0);
        CHECK(spool_write_at(s, 0, bytes, sizes[i], &e) == 0);
        CHECK(spool_read_at(s, 0, back, sizes[i], &e) == 0 && memcmp(bytes, back, sizes[i]) == 0);
    }
    CHECK(spool_reserve(s, 5000, &e) == 0 && spool_read_at(s, 0, back, 5000, &e) == -1);
    CHECK(strstr(e.text, "unexpected end of file"));
    spool_free(s);
}

static void test_errors(const char *folder)
{
    struct error e;
    char missing[100];
    snprintf(missing, sizeof missing, "%s/none", folder);
    CHECK(spool_open_temporary_file(missing, &e) == -1 && strstr(e.text, "No such file"));
    struct spool *s = spool_new(0, folder);
    CHECK(spool_reserve(s, UINT64_MAX, &e) == -1 && strstr(e.text, "another folder with --spool"));
    CHECK(spool_reserve(s, 1 << 16, &e) == 0);
    struct rlimit before, small = {100, RLIM_INFINITY};
    static char bytes[1 << 16];
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    CHECK(spool_write_at(s, 0, bytes, sizeof bytes, &e) == -1);
    setrlimit(RLIMIT_FSIZE, &before);
    CHECK(strstr(e.text, "cannot write to a temporary file in "));
    spool_free(s);
    spool_free(NULL);
}

static void test_default_folder(const char *folder)
{
    struct error e;
    struct stat file, in;
    setenv("TMPDIR", folder, 1);
    int fd = spool_open_temporary_file(NULL, &e);
    CHECK(fd >= 0 && fstat(fd, &file) == 0 && stat(folder, &in) == 0);
    CHECK(file.st_nlink == 0 && (file.st_mode & 0777) == 0600 && file.st_dev == in.st_dev &&
          files_in(folder) == 2);
    close(fd);
}

int main(void)
{
    char folder[] = "/tmp/test_spool.XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    signal(SIGXFSZ, SIG_IGN);
    test_round_trip(folder, 1 << 20, 300000);
    test_round_trip(folder, 1000, 300000);
    test_round_trip(folder, 0, 1);
    test_round_trip(folder, 0, 0);
    test_reuse(folder);
    test_errors(folder);
    test_default_folder(folder);
    rmdir(folder);
    return unit_end();
}
