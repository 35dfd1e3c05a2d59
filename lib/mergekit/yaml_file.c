#include "yaml_file.h"

#include "input_file.h"
#include "printable.h"
#include "read_files.h"
#include "yaml_depth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *yaml_file_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* The bytes of the file, or somewhat more than the maximum; memory grows with the file. */
static struct bytes read_bytes(FILE *f)
{
    struct bytes b = {.data = mem_alloc(1, 1), .capacity = 1};
    unsigned char part[4096];
    size_t n;
    while (b.size <= YAML_SIZE_MAX && (n = fread(part, 1, sizeof part, f)) > 0)
        bytes_append(&b, part, n);
    return b;
}

/* All bytes of the file, freed by the caller; NULL on error. */
static unsigned char *read_config_file(const char *path, size_t *size, struct error *e)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "re");
    if (!f) {
        error_set(e, "cannot open %s: %s", path, strerror(errno));
        return NULL;
    }
    struct stat st;
    bool is_file = fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode);
    const struct input_file_version before = input_file_version(&st);
    if (is_file)
        read_files_add(&st);
    struct bytes b = read_bytes(f);
    int failed = 0;
    *size = b.size;
    if (ferror(f))
        failed = error_set(e, "cannot read %s: %s", path, strerror(errno));
    else if (*size > YAML_SIZE_MAX)
        failed = error_set(e, "%s is larger than 16 MiB, the maximum for a configuration", path);
    else if (is_file)
        failed = input_file_check_unchanged_fd(fileno(f), path, &before, e);
    if (!is_stdin)
        fclose(f);
    if (!failed)
        return b.data;
    bytes_free(&b);
    return NULL;
}

/* ---- documents ------------------------------------------------------------------------------- */

static void start_parser(yaml_parser_t *parser, const unsigned char *bytes, size_t size)
{
    if (!yaml_parser_initialize(parser))
        mem_exit();
    yaml_parser_set_input_string(parser, bytes, size);
}

/* After an error. libyaml describes all others. */
static void exit_if_out_of_memory(const yaml_parser_t *parser)
{
    if (!parser->problem)
        mem_exit();
}

static int parse_error(const yaml_parser_t *parser, const char *path, struct error *e)
{
    exit_if_out_of_memory(parser);
    return error_set(e, "%.200s, line %zu: invalid YAML: %s", path, parser->problem_mark.line + 1,
                     parser->problem);
}

/* An error if lists and maps are nested too deep. Checked on the event stream, before documents are
 * loaded, because the time that libyaml's loader takes grows with the square of the depth. */
static int check_nesting_depth(const struct yaml_tree *t, const unsigned char *bytes, size_t size)
{
    yaml_parser_t parser;
    yaml_event_t event;
    int depth = 0, failed = 0;
    bool ended = false;
    start_parser(&parser, bytes, size);
    while (!ended && !failed && yaml_parser_parse(&parser, &event)) {
        ended = event.type == YAML_STREAM_END_EVENT;
        if (!yaml_depth_follow(&event, &depth))
            failed = error_set(t->e,
                               "%.200s, line %zu: lists and maps are nested more than %d levels "
                               "deep",
                               t->path, event.start_mark.line + 1, YAML_DEPTH_MAX);
        yaml_event_delete(&event);
    }
    if (!ended && !failed)
        exit_if_out_of_memory(&parser);
    yaml_parser_delete(&parser); /* parse errors are reported by the loader */
    return failed;
}

/* All documents of the stream but empty ones. */
static int read_documents(struct yaml_tree *t, yaml_parser_t *parser, yaml_file_document *read,
                          void *context)
{
    size_t n = 0;
    for (bool more = true; more;) {
        yaml_document_t doc;
        if (!yaml_parser_load(parser, &doc))
            return parse_error(parser, t->path, t->e);
        const yaml_node_t *root = yaml_document_get_root_node(&doc);
        bool empty = !root || yaml_tree_is_null(root);
        t->doc = &doc;
        more = root != NULL;
        n += !empty;
        int failed = empty ? 0 : read(context, t, root);
        yaml_document_delete(&doc);
        if (failed)
            return -1;
    }
    return n ? 0 : error_set(t->e, "%s contains no configuration", t->path);
}

int yaml_file_read(const char *path, const char *tool, yaml_file_document *read, void *context,
                   struct arena *a, struct error *e)
{
    yaml_parser_t parser;
    size_t size;
    unsigned char *bytes = read_config_file(path, &size, e);
    if (!bytes)
        return -1;
    struct yaml_tree t = {.path = yaml_file_name(path), .tool = tool, .a = a, .e = e};
    printable_share_messages(); /* aliases repeat what warnings are about */
    start_parser(&parser, bytes, size);
    int failed =
        check_nesting_depth(&t, bytes, size) || read_documents(&t, &parser, read, context) ? -1 : 0;
    yaml_parser_delete(&parser);
    free(bytes);
    return failed;
}
