#include "published_config.h"

#include "fs.h"
#include "mem.h"
#include "model_path.h"
#include "yaml_depth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- paths ----------------------------------------------------------------------------------- */

/* The last component of the path of something that exists; NULL: it is no such path. */
static const char *shorten_path(const char *path, struct arena *a)
{
    size_t n = strlen(path);
    if (!strchr(path, '/') || access(path, F_OK) != 0)
        return NULL;
    while (n > 1 && path[n - 1] == '/')
        n--;
    const char *trimmed = arena_copy_text_n(a, path, n), *slash = strrchr(trimmed, '/');
    return slash && slash[1] ? slash + 1 : trimmed;
}

/* The same for a model, which may be BASE+ADAPTER. */
static const char *shorten_model(const char *model, struct arena *a)
{
    const char *adapter = model_path_adapter(model);
    if (!adapter)
        return shorten_path(model, a);
    char *base = model_path_copy_base(model, adapter);
    const char *short_base = shorten_path(base, a), *short_adapter = shorten_path(adapter, a);
    const char *both = arena_printf(a, "%s+%s", short_base ? short_base : base,
                                    short_adapter ? short_adapter : adapter);
    free(base);
    return both;
}

static void shorten_scalar(yaml_event_t *scalar, struct arena *a)
{
    const char *text = shorten_model((const char *)scalar->data.scalar.value, a);
    yaml_event_t shortened;
    if (!text)
        return;
    if (!yaml_scalar_event_initialize(&shortened, scalar->data.scalar.anchor, NULL,
                                      (const yaml_char_t *)text, -1, 1, 1,
                                      scalar->data.scalar.style))
        mem_exit();
    yaml_event_delete(scalar);
    *scalar = shortened;
}

/* ---- documents ------------------------------------------------------------------------------- */

static int append_output(void *bytes, unsigned char *text, size_t size)
{
    bytes_append(bytes, text, size);
    return 1;
}

/* Copies all events. */
static int copy_documents(yaml_parser_t *parser, yaml_emitter_t *emitter, const char *path,
                          struct error *e)
{
    struct arena a = {0};
    int depth = 0, failed = 0;
    for (bool ended = false; !ended && !failed;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            failed = error_set(e, "%s, line %zu: invalid YAML: %s", path,
                               parser->problem_mark.line + 1, parser->problem);
            break;
        }
        ended = event.type == YAML_STREAM_END_EVENT;
        if (!yaml_depth_follow(&event, &depth)) {
            failed =
                error_set(e, "%s, line %zu: lists and maps are nested more than %d levels deep",
                          path, event.start_mark.line + 1, YAML_DEPTH_MAX);
            yaml_event_delete(&event);
            break;
        }
        if (event.type == YAML_SCALAR_EVENT)
            shorten_scalar(&event, &a);
        if (!yaml_emitter_emit(emitter, &event)) /* which takes the event over */
            failed = error_set(e, "%s cannot be copied: %s", path, emitter->problem);
    }
    arena_free(&a);
    return failed;
}

char *published_config_read(const char *path, struct error *e)
{
    size_t size;
    struct stat st;
    if (stat(path, &st) == 0 && (uint64_t)st.st_size > YAML_SIZE_MAX) {
        error_set(e, "%s is larger than 16 MiB, the maximum for a configuration", path);
        return NULL;
    }
    char *text = fs_read_file(AT_FDCWD, path, &size);
    struct bytes copy = {0};
    yaml_parser_t parser;
    yaml_emitter_t emitter;
    if (!text) {
        error_set(e, "cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    if (!yaml_parser_initialize(&parser) || !yaml_emitter_initialize(&emitter))
        mem_exit();
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    yaml_emitter_set_output(&emitter, append_output, &copy);
    yaml_emitter_set_encoding(&emitter, YAML_UTF8_ENCODING);
    yaml_emitter_set_unicode(&emitter, 1);
    int failed = copy_documents(&parser, &emitter, path, e);
    yaml_emitter_delete(&emitter);
    yaml_parser_delete(&parser);
    free(text);
    if (!failed)
        return bytes_take_text(&copy);
    bytes_free(&copy);
    return NULL;
}
