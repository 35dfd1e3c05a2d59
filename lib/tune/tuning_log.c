#include "tuning_log.h"

#include "atomic_file.h"
#include "fs.h"
#include "number.h"
#include "printable.h"
#include "standard_output.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIGITS 8 /* of a value */

static void append_evaluation(struct evaluation_list *list, const struct evaluation *x)
{
    list->items = mem_grow(list->items, list->n, sizeof *list->items);
    list->items[list->n++] = *x;
}

/* ---- printing -------------------------------------------------------------------------------- */

static void print_head(const struct tuning_log *l, FILE *f)
{
    fputs("evaluation", f);
    for (size_t i = 0; i < l->template->n; i++)
        fprintf(f, "\t%s", l->template->numbers[i].name);
    for (size_t i = 0; i < l->n_values; i++)
        fprintf(f, "\t%s", l->values[i]);
    putc('\n', f);
}

static void print_line(const struct tuning_log *l, size_t number, const struct evaluation *x,
                       FILE *f)
{
    fprintf(f, "%zu", number);
    for (size_t i = 0; i < l->template->n; i++)
        fprintf(f, "\t%s", x->numbers[i]);
    for (size_t i = 0; i < l->n_values; i++)
        fprintf(f, "\t%.*g", DIGITS, x->values[i]);
    putc('\n', f);
}

#define MAGIC "# tv tune 1 "

static bool is_tuning_log(const char *text, size_t size)
{
    return strncmp(text, MAGIC, strlen(MAGIC)) == 0;
}

/* The first two lines of the log. */
static char *format_title(const struct tuning_log *l)
{
    struct bytes text = {0};
    FILE *f = bytes_open_stream(&text);
    fprintf(f, MAGIC "%016llx\n", (unsigned long long)l->key);
    print_head(l, f);
    fclose(f);
    return bytes_take_text(&text);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Separates the next cell of a line; NULL at its end. */
static char *next_cell(char **at)
{
    char *cell = *at;
    if (cell)
        *at = strchr(cell, '\t');
    if (cell && *at)
        *(*at)++ = '\0';
    return cell;
}

static bool parse_line(const struct tuning_log *l, char *line, size_t number, struct evaluation *x)
{
    double count, position;
    char *cell = next_cell(&line);
    if (number_parse(cell, &count) || count != (double)number)
        return false;
    for (size_t i = 0; i < l->template->n; i++) {
        cell = next_cell(&line);
        if (!cell || template_number_parse(&l->template->numbers[i], cell, &position) ||
            strlen(cell) >= sizeof x->numbers[i])
            return false;
        strcpy(x->numbers[i], cell);
    }
    for (size_t i = 0; i < l->n_values; i++)
        if (!(cell = next_cell(&line)) || number_parse(cell, &x->values[i]))
            return false;
    return !line;
}

/* Parses the lines after the title. *complete is the length of what stays. */
static int parse_lines(const struct tuning_log *l, char *text, size_t *complete,
                       struct evaluation_list *found, struct error *e)
{
    char *line = text + *complete, *end;
    for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        struct evaluation x = {0};
        *end = '\0';
        if (!parse_line(l, line, found->n + 1, &x))
            return error_set(e, "%s: line %zu is not one of tv tune", l->path, found->n + 3);
        append_evaluation(found, &x);
    }
    *complete = (size_t)(line - text);
    return 0;
}

/* Compares the beginning of the log with that of this run's. */
static int parse_log(const struct tuning_log *l, char *text, size_t size, size_t *complete,
                     struct evaluation_list *found, struct error *e)
{
    char *title = format_title(l);
    size_t length = strlen(title);
    bool is_cut = size < length && memcmp(text, title, size) == 0;
    bool is_same = size >= length && memcmp(text, title, length) == 0;
    free(title);
    *complete = is_same ? length : 0;
    if (is_same)
        return parse_lines(l, text, complete, found, e);
    return is_cut ? 0
                  : error_set(e,
                              "%s: this is the log of another run: the pipeline, the seed, the "
                              "models, the samples or an option differ",
                              l->path);
}

static int read_log(const struct tuning_log *l, size_t *size, size_t *complete,
                    struct evaluation_list *found, struct error *e)
{
    *size = *complete = 0;
    char *text = fs_read_file(AT_FDCWD, l->path, size);
    if (!text)
        return error_set(e, "cannot read %s: %s", l->path, strerror(errno));
    int failed = parse_log(l, text, *size, complete, found, e);
    free(text);
    return failed;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static int set_write_error(const struct tuning_log *l, int reason, struct error *e)
{
    return error_set(e, "cannot write %s: %s", l->path, strerror(reason ? reason : EIO));
}

static int flush(struct tuning_log *l, struct error *e)
{
    errno = 0;
    if (l->file && (fflush(l->file) || ferror(l->file)))
        return set_write_error(l, errno, e);
    return standard_output_flush(e);
}

static int open_file(struct tuning_log *l, struct evaluation_list *found, struct error *e)
{
    size_t size, complete;
    l->file = atomic_file_open_log(l->path, true, is_tuning_log, e);
    if (!l->file || read_log(l, &size, &complete, found, e))
        return -1;
    if (complete < size && ftruncate(fileno(l->file), (off_t)complete))
        return set_write_error(l, errno, e);
    if (complete == 0) {
        char *title = format_title(l);
        fputs(title, l->file);
        free(title);
    }
    return 0;
}

int tuning_log_open(struct tuning_log *l, struct evaluation_list *found, struct error *e)
{
    if (l->path && open_file(l, found, e))
        return -1;
    print_head(l, stdout);
    for (size_t i = 0; i < found->n; i++)
        print_line(l, i + 1, &found->items[i], stdout);
    return flush(l, e);
}

int tuning_log_add(struct tuning_log *l, struct evaluation_list *list, const struct evaluation *x,
                   struct error *e)
{
    struct evaluation rounded = *x;
    for (size_t i = 0; i < l->n_values; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.*g", DIGITS, x->values[i]);
        number_parse(text, &rounded.values[i]);
    }
    append_evaluation(list, &rounded);
    print_line(l, list->n, &rounded, stdout);
    if (l->file)
        print_line(l, list->n, &rounded, l->file);
    return flush(l, e);
}

int tuning_log_close(struct tuning_log *l, struct error *e)
{
    FILE *f = l->file;
    l->file = NULL;
    return f && fclose(f) ? set_write_error(l, errno, e) : 0;
}
