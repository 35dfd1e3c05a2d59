#include "card_metadata.h"

#include "ckpt.h"
#include "hf_cache.h"
#include "printable.h"
#include "strict_json.h"
#include "yaml_depth.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define CARD_MAX   ((size_t)1 << 20) /* bytes of a card that is read */
#define VALUE_MAX  200               /* bytes of a value */
#define VALUES_MAX 50                /* languages */

/* The keys that are taken over. */
static const char *const keys[] = {"license",  "license_name", "license_link",
                                   "language", "pipeline_tag", "library_name"};

#define N_KEYS     (sizeof keys / sizeof *keys)
#define N_LICENSES 3 /* the first keys */

/* Is it an identifier or a link? Nothing else belongs into these keys. */
static bool is_plain_value(const char *text)
{
    return *text && strlen(text) <= VALUE_MAX &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-/:") ==
               strlen(text);
}

/* ---- one card -------------------------------------------------------------------------------- */

/* The metadata of a card, between its first two lines of "---"; their size in *size, 0: none. */
static const char *find_front_matter(const char *card, size_t *size)
{
    size_t mark = strncmp(card, "---\n", 4) == 0 ? 4 : strncmp(card, "---\r\n", 5) == 0 ? 5 : 0;
    const char *end = mark ? strstr(card + mark - 1, "\n---") : NULL;
    *size = end ? (size_t)(end + 1 - (card + mark)) : 0;
    return card + mark;
}

struct card_parser {
    yaml_parser_t yaml;
    yaml_event_t event;
    int depth;
    bool failed;
};

static yaml_event_type_t next_event(struct card_parser *p)
{
    yaml_event_delete(&p->event);
    p->failed |= !yaml_parser_parse(&p->yaml, &p->event);
    p->failed |= !yaml_depth_follow(&p->event, &p->depth);
    return p->failed ? YAML_STREAM_END_EVENT : p->event.type;
}

static const char *scalar_text(const struct card_parser *p)
{
    return (const char *)p->event.data.scalar.value;
}

/* Skips the rest of a map or list. */
static void skip_collection(struct card_parser *p)
{
    int outside = p->depth - 1;
    while (p->depth > outside && next_event(p) != YAML_STREAM_END_EVENT)
        ;
}

static void add_plain_value(json_t *list, const char *text)
{
    if (is_plain_value(text) && json_array_size(list) < VALUES_MAX)
        json_array_append_new(list, json_string(text));
}

/* A value, or a list of values, as an array; other things leave it empty. */
static json_t *read_values(struct card_parser *p)
{
    json_t *list = mem_check(json_array());
    yaml_event_type_t type = next_event(p);
    if (type == YAML_SCALAR_EVENT)
        add_plain_value(list, scalar_text(p));
    else if (type == YAML_MAPPING_START_EVENT)
        skip_collection(p);
    else if (type == YAML_SEQUENCE_START_EVENT)
        while ((type = next_event(p)) != YAML_SEQUENCE_END_EVENT && type != YAML_STREAM_END_EVENT) {
            if (type == YAML_SCALAR_EVENT)
                add_plain_value(list, scalar_text(p));
            else if (type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT)
                skip_collection(p);
        }
    return list;
}

static bool can_be_list(const char *key)
{
    return strcmp(key, "license") == 0 || strcmp(key, "language") == 0;
}

/* Is it one of the keys, with the number of values that the Hub accepts? */
static bool is_taken_over(const char *key, size_t n_values)
{
    for (size_t i = 0; i < N_KEYS; i++)
        if (strcmp(keys[i], key) == 0)
            return n_values == 1 || (n_values > 1 && can_be_list(key));
    return false;
}

static void read_map(struct card_parser *p, json_t *metadata)
{
    while (next_event(p) == YAML_SCALAR_EVENT) {
        char *key = mem_copy_text(scalar_text(p));
        json_t *values = read_values(p);
        if (is_taken_over(key, json_array_size(values)))
            json_object_set(metadata, key, values);
        json_decref(values);
        free(key);
    }
}

/* {KEY: [VALUE, ...]} of a card; empty if it has no metadata or they are invalid. */
static json_t *parse_card(const char *card)
{
    json_t *metadata = mem_check(json_object());
    struct card_parser p = {0};
    size_t size;
    const char *yaml = find_front_matter(card, &size);
    if (size == 0 || strlen(card) > CARD_MAX)
        return metadata;
    if (!yaml_parser_initialize(&p.yaml))
        mem_exit();
    yaml_parser_set_input_string(&p.yaml, (const unsigned char *)yaml, size);
    while (next_event(&p) == YAML_STREAM_START_EVENT || p.event.type == YAML_DOCUMENT_START_EVENT)
        ;
    if (!p.failed && p.event.type == YAML_MAPPING_START_EVENT)
        read_map(&p, metadata);
    if (p.failed)
        json_object_clear(metadata);
    yaml_event_delete(&p.event);
    yaml_parser_delete(&p.yaml);
    return metadata;
}

/* ---- the cards of all inputs ----------------------------------------------------------------- */

static json_t *read_card_of_source(const struct model_source *source)
{
    struct error ignored;
    char *text = NULL;
    size_t size;
    const struct ckpt *c = source ? model_source_checkpoint(source) : NULL;
    if (!c || ckpt_read_auxiliary_file(c, "README.md", &text, &size, &ignored) <= 0)
        text = NULL;
    json_t *metadata = parse_card(text ? text : "");
    if (c && ckpt_gguf_model(c)) /* the new checkpoint is of another library */
        json_object_del(metadata, "library_name");
    free(text);
    return metadata;
}

/* NULL: it is not in the Hub's cache. */
static json_t *read_cached_card(const struct model *m)
{
    struct arena a = {0};
    struct error ignored;
    char *text = NULL;
    size_t size;
    const struct hub_model hub = {m->hub, m->commit};
    const char *folder = hf_cache_find_snapshot(&hub, &a);
    bool found = folder && ckpt_read_model_file(folder, "README.md", &text, &size, &ignored) > 0;
    json_t *metadata = found ? parse_card(text) : NULL;
    if (found)
        free(text);
    arena_free(&a);
    return metadata;
}

static bool has_same_values(const json_t *a, const json_t *b, const char *key)
{
    const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    return x == y || json_equal(x, y); /* both may be NULL */
}

/* Removes what the card of another input contradicts; of the license all or nothing. */
static void keep_what_agrees(json_t *metadata, const json_t *other)
{
    bool same_license = true;
    for (size_t i = 0; i < N_LICENSES; i++)
        same_license &= has_same_values(metadata, other, keys[i]);
    for (size_t i = 0; i < N_KEYS; i++) {
        bool silent = !json_object_get(other, keys[i]);
        bool agrees =
            i < N_LICENSES ? same_license : silent || has_same_values(metadata, other, keys[i]);
        if (!agrees)
            json_object_del(metadata, keys[i]);
    }
}

static void print_values(FILE *out, const char *key, const json_t *values)
{
    size_t n = json_array_size(values);
    bool is_list = n > 1 || strcmp(key, "language") == 0;
    fprintf(out, "%s:%s", key, is_list ? "\n" : " ");
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(values, i);
        fputs(is_list ? "- " : "", out);
        printable_print_json(out, json_string_value(value), json_string_length(value));
        putc('\n', out);
    }
}

char *card_metadata_text(const struct model_source *source, const struct header *h)
{
    struct bytes text = {0};
    json_t *metadata = read_card_of_source(source);
    for (size_t i = 0; i < h->n_models && json_object_size(metadata); i++) {
        const struct model *m = &h->models[i];
        bool is_source = m->has_fingerprint && m->fingerprint == model_source_fingerprint(source);
        if (is_source || (m->role && strcmp(m->role, "merged") == 0))
            continue;
        json_t *other = read_cached_card(m);
        keep_what_agrees(metadata, other);
        json_decref(other);
    }
    FILE *out = bytes_open_stream(&text);
    for (size_t i = 0; i < N_KEYS; i++)
        if (json_object_get(metadata, keys[i]))
            print_values(out, keys[i], json_object_get(metadata, keys[i]));
    fclose(out);
    json_decref(metadata);
    return bytes_take_text(&text);
}
