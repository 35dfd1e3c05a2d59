#include "line_reader.h"

#include "mem.h"
#include "read_files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX ((size_t)1 << 20)   /* bytes of a line */
#define FILE_MAX ((size_t)256 << 20) /* bytes of a file */

int line_reader_open(struct line_reader *l, const char *path, struct error *e)
{
    struct stat st;
    *l = (struct line_reader){.file = fopen(path, "re"), .path = path};
    if (!l->file || fstat(fileno(l->file), &st) < 0) {
        error_set(e, "cannot open %.300s: %s", path, strerror(errno));
        line_reader_close(l);
        return -1;
    }
    read_files_add(&st);
    if (S_ISREG(st.st_mode))
        l->version = input_file_version(&st);
    l->text = mem_resize(NULL, l->capacity = 256, 1);
    l->hash = hash_new_state();
    return 0;
}

static int set_line_error(const struct line_reader *l, const char *reason, struct error *e)
{
    return error_set(e, "%.300s, line %zu: %s", l->path, l->line_number, reason);
}

int line_reader_read_line(struct line_reader *l, struct error *e)
{
    size_t n = 0;
    int c;
    l->line_number++;
    while ((c = getc_unlocked(l->file)) != EOF && c != '\n') {
        if (c == '\0')
            return set_line_error(l, "the line contains a zero byte, so this is not a text file",
                                  e);
        if (n == LINE_MAX)
            return set_line_error(l, "the line is longer than 1 MiB", e);
        l->text[n++] = (char)c;
        if (n == l->capacity)
            l->text = mem_resize(l->text, l->capacity *= 2, 1);
    }
    if (ferror(l->file))
        return error_set(e, "cannot read %.300s: %s", l->path, strerror(errno));
    if (c == EOF && l->version.inode &&
        input_file_check_unchanged_fd(fileno(l->file), l->path, &l->version, e))
        return -1;
    if (c == EOF && n == 0)
        return 0;
    l->bytes_read += n + 1;
    if (l->bytes_read > FILE_MAX)
        return error_set(e, "%.300s is larger than 256 MiB", l->path);
    XXH3_64bits_update(l->hash, l->text, n);
    if (c == '\n')
        XXH3_64bits_update(l->hash, "\n", 1);
    l->text[n] = '\0';
    return 1;
}

void line_reader_close(struct line_reader *l)
{
    if (l->file)
        fclose(l->file);
    free(l->text);
    XXH3_freeState(l->hash);
    *l = (struct line_reader){0};
}
