#include "unit.h"

#include "input_file.h"
#include "line_reader.h"
#include "name_index.h"

#include <unistd.h>

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void test_exists(void)
{
    struct error e;
    write_text("file", "text");
    CHECK(symlink("/nonexistent", "link") == 0);
    CHECK(input_file_exists("file", &e) == 1);
    CHECK(input_file_exists("link", &e) == 1);
    CHECK(input_file_exists("absent", &e) == 0);
    CHECK(input_file_exists("file/absent", &e) == 0);
    char name[5000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    CHECK(input_file_exists(name, &e) == -1);
}

static void test_lines_that_change(void)
{
    struct error e;
    struct line_reader l;
    write_text("lines", "one\ntwo\n");
    CHECK(line_reader_open(&l, "lines", &e) == 0 && line_reader_read_line(&l, &e) == 1);
    write_text("lines", "one\ntwo, and more\n");
    int more;
    while ((more = line_reader_read_line(&l, &e)) == 1)
        ;
    CHECK(more == -1);
    CHECK(strcmp(e.text, "lines changed while it was read") == 0);
    line_reader_close(&l);
}

static void test_name_index(void)
{
    struct arena a = {0};
    struct name_index x = {0};
    CHECK(name_index_find(&x, "0") == -1);
    for (size_t i = 0; i < 1000; i++)
        CHECK(name_index_add(&x, arena_printf(&a, "%zu", i), i, &a) == i);
    CHECK(name_index_add(&x, "7", 1000, &a) == 7 && x.n == 1000);
    for (size_t i = 0; i < 1000; i++)
        CHECK(name_index_find(&x, arena_printf(&a, "%zu", i)) == (long)i);
    CHECK(name_index_find(&x, "1000") == -1);
    arena_free(&a);
}

int main(void)
{
    char folder[] = "/tmp/test-input-file-XXXXXX";
    CHECK(mkdtemp(folder) && chdir(folder) == 0);
    test_exists();
    test_lines_that_change();
    test_name_index();
    CHECK(unlink("file") == 0 && unlink("link") == 0 && unlink("lines") == 0);
    CHECK(rmdir(folder) == 0);
    return unit_end();
}
