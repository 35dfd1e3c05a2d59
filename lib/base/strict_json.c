#include "strict_json.h"

#include "mem.h"

#include <stdlib.h>

#define MAX_DEPTH 64
/* A header of 100 MB has fewer values; jansson needs up to 200 bytes of memory for each. */
#define MAX_VALUES 4194304
/* What jansson allocates for an empty object, an empty array and a key, in bytes. */
#define OBJECT_COST 224
#define ARRAY_COST  128
#define KEY_COST    112
/* The most that objects, arrays and keys may cost: the densest header of a weight file, with names
 * of one character, needs 18 bytes per byte of its text. */
#define MAX_COST(size) (20 * (size) + (1 << 20))

/* Checks depth, number and memory of the values before the parser allocates any. */
static int check_depth_and_value_count(const char *file, const char *what,
                                       const unsigned char *bytes, size_t size, struct error *e)
{
    size_t depth = 0, values = 0, cost = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = bytes[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (in_string)
            continue;
        else if (c == '{' || c == '[')
            depth++, values++, cost += c == '{' ? OBJECT_COST : ARRAY_COST;
        else if (c == '}' || c == ']')
            depth -= depth > 0;
        else if (c == ',')
            values++;
        else if (c == ':')
            cost += KEY_COST;
        if (depth > MAX_DEPTH)
            return error_set(e, "%s: %s is nested more than %d levels deep", file, what, MAX_DEPTH);
        if (values > MAX_VALUES)
            return error_set(e, "%s: %s has more than %d values", file, what, MAX_VALUES);
        if (cost > MAX_COST(size))
            return error_set(e, "%s: %s consists of too many small objects", file, what);
    }
    return 0;
}

json_t *strict_json_parse(const char *file, const char *what, const unsigned char *bytes,
                          size_t size, struct error *e)
{
    json_error_t json_error;
    if (check_depth_and_value_count(file, what, bytes, size, e) < 0)
        return NULL;
    json_t *root =
        json_loadb(size > 0 ? (const char *)bytes : "", size, JSON_REJECT_DUPLICATES, &json_error);
    if (!root) {
        error_set(e, "%s: %s is not valid JSON: %s", file, what, json_error.text);
    } else if (!json_is_object(root)) {
        error_set(e, "%s: %s is not a JSON object", file, what);
        json_decref(root);
        root = NULL;
    }
    return root;
}

json_t *strict_json_string(const char *text)
{
    json_t *string = json_string(text);
    if (string)
        return string;
    char *ascii = mem_copy_text(text);
    for (char *c = ascii; *c; c++)
        if (*c & 0x80)
            *c = '?';
    string = json_string(ascii);
    free(ascii);
    return string;
}
