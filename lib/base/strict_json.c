#include "strict_json.h"

#define MAX_DEPTH 64
#define MAX_VALUES                                                                                 \
    4194304 /* a header of 100 MB has fewer; jansson takes up to 200 bytes for one                 \
             */

/* Looks through the text before the parser takes memory for it. */
static int check_size(const char *file, const char *what, const unsigned char *bytes, size_t size,
                      struct error *e)
{
    size_t depth = 0, values = 0;
    bool in_text = false;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = bytes[i];
        if (in_text && c == '\\')
            i++;
        else if (c == '"')
            in_text = !in_text;
        else if (in_text)
            continue;
        else if (c == '{' || c == '[')
            depth++, values++;
        else if (c == '}' || c == ']')
            depth -= depth > 0;
        else if (c == ',')
            values++;
        if (depth > MAX_DEPTH)
            return error_set(e, "%s: %s is nested more than %d deep", file, what, MAX_DEPTH);
        if (values > MAX_VALUES)
            return error_set(e, "%s: %s has more than %d values", file, what, MAX_VALUES);
    }
    return 0;
}

json_t *strict_json_parse(const char *file, const char *what, const unsigned char *bytes,
                          size_t size, struct error *e)
{
    json_error_t why;
    if (check_size(file, what, bytes, size, e) < 0)
        return NULL;
    json_t *root = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, &why);
    if (!root) {
        error_set(e, "%s: %s is not valid JSON: %s", file, what, why.text);
    } else if (!json_is_object(root)) {
        error_set(e, "%s: %s is not a JSON object", file, what);
        json_decref(root);
        root = NULL;
    }
    return root;
}
