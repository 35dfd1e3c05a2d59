#include "stage_outputs.h"

#include "descriptor_path.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct output {
    const char *option; /* "--log", or "OUT" of the operand */
    const char *path;
    const char *name;   /* the last component of the path, without a slash at its end */
    struct stat folder; /* that contains it */
};

struct output_list {
    struct output *items;
    size_t n;
    struct arena arena;
};

/* Adds a path, unless it is standard output, a pipe or a device, or has no folder. */
static void add_output(struct output_list *l, const char *option, const char *path)
{
    struct output o = {.option = option, .path = path};
    struct stat st;
    char *copy = arena_copy_text(&l->arena, path);
    size_t n = strlen(copy);
    if (strcmp(path, "-") == 0 ||
        (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return;
    while (n > 1 && copy[n - 1] == '/')
        copy[--n] = '\0';
    char *slash = strrchr(copy, '/');
    o.name = slash ? slash + 1 : copy;
    const char *folder = !slash ? "." : slash == copy ? "/" : copy;
    if (slash && slash != copy)
        *slash = '\0';
    if (stat(folder, &o.folder))
        return;
    l->items = mem_resize(l->items, l->n + 1, sizeof *l->items);
    l->items[l->n++] = o;
}

static void add_outputs_of_stage(struct output_list *l, const struct stage *s)
{
    struct stage_option options[STAGE_OPTIONS_MAX];
    size_t n = stage_list_options(s, options);
    for (size_t i = 0; i < n; i++) {
        const struct option_row *row = options[i].row;
        if (row->writes_file && s->given[i])
            add_output(l, arena_printf(&l->arena, "--%s", row->name),
                       *(const char *const *)options[i].field);
    }
    if (s->filter->operand_is_output && s->operands.n)
        add_output(l, s->filter->operands, s->operands.items[0]);
}

static bool is_same_folder(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int check_pair(const struct output *a, const struct output *b, struct error *e)
{
    struct stat st;
    if (is_same_folder(&a->folder, &b->folder) && strcmp(a->name, b->name) == 0)
        return error_set(e, "%s is written by both %s and %s", a->path, a->option, b->option);
    if (lstat(b->path, &st) == 0 && S_ISDIR(st.st_mode) && is_same_folder(&a->folder, &st))
        return error_set(e, "%s of %s is in %s, which %s replaces", a->path, a->option, b->path,
                         b->option);
    return 0;
}

int stage_outputs_check_distinct(const struct stage *const *stages, size_t n, const char *report,
                                 struct error *e)
{
    struct output_list l = {0};
    int failed = 0;
    for (size_t i = 0; i < n; i++)
        add_outputs_of_stage(&l, stages[i]);
    if (report)
        add_output(&l, "--report", report);
    for (size_t i = 0; i < l.n; i++)
        for (size_t j = 0; j < l.n && !failed; j++)
            failed = i != j ? check_pair(&l.items[i], &l.items[j], e) : 0;
    free(l.items);
    arena_free(&l.arena);
    return failed;
}

/* ---- standard output ------------------------------------------------------------------------- */

bool stage_outputs_use_stdout(const struct stage *last)
{
    const struct filter *f = last->filter;
    return f->role != ROLE_SINK ||
           (f->operand_is_output && last->operands.n && strcmp(last->operands.items[0], "-") == 0);
}

/* What is written to the path: a link is replaced, unless it leads to a descriptor. */
static int stat_output(const char *path, struct stat *st)
{
    return descriptor_path_find(path) >= 0 ? stat(path, st) : lstat(path, st);
}

static bool is_null_device(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

static int report_stdout(const char *option, const char *path, struct error *e)
{
    return error_set(e,
                     "--%s: %s is the standard output, which carries the stream; write to another "
                     "file",
                     option, path);
}

int stage_outputs_check_path_is_not_stdout(const char *option, const char *path, struct error *e)
{
    struct stat st, out;
    bool is_same = fstat(STDOUT_FILENO, &out) == 0 && stat_output(path, &st) == 0 &&
                   st.st_dev == out.st_dev && st.st_ino == out.st_ino && !is_null_device(&out);
    return is_same ? report_stdout(option, path, e) : 0;
}

static int check_path_is_not_pipe(const char *option, const char *path, struct error *e)
{
    return descriptor_path_find(path) == STDOUT_FILENO ? report_stdout(option, path, e) : 0;
}

typedef int path_check(const char *option, const char *path, struct error *e);

static int check_side_outputs(const struct stage *s, path_check *check, struct error *e)
{
    struct stage_option options[STAGE_OPTIONS_MAX];
    size_t n = stage_list_options(s, options);
    for (size_t i = 0; i < n; i++)
        if (options[i].row->writes_file && s->given[i] &&
            check(options[i].row->name, *(const char *const *)options[i].field, e))
            return -1;
    return 0;
}

int stage_outputs_check_not_stdout(const struct stage *s, struct error *e)
{
    return check_side_outputs(s, stage_outputs_check_path_is_not_stdout, e);
}

int stage_outputs_check_not_pipe(const struct stage *s, struct error *e)
{
    return check_side_outputs(s, check_path_is_not_pipe, e);
}
