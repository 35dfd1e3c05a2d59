/* Scans JSON text (RFC 8259) where it stands, without building values: for texts of many megabytes,
 * and for edits that leave the rest of a text as it is, such as integers of 31 digits.
 *
 * A text is followed by a zero byte. json_text_check checks it; all other functions expect a text
 * that has passed. Pointers to values point into the text. */
#ifndef TV_JSON_TEXT_H
#define TV_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Is it one valid JSON value, nested at most 64 levels deep, with white space around it? Strings
 * must be UTF-8 without unpaired surrogates and without NUL, also in escapes. */
bool json_text_check(const char *text, size_t size);
/* The first character that is not white space. */
const char *json_text_skip_space(const char *at);

/* An entry of a list or an object. */
struct json_text_entry {
    const char *key; /* its string; NULL in a list */
    const char *value, *end;
};

/* Moves to the next entry of a list or an object that starts at `container`; the first one if the
 * entry is zeroed. False after the last one, or if it is another value; the entry is zeroed then.
 */
bool json_text_next(const char *container, struct json_text_entry *entry);
/* Finds the values of n keys: of the last one if a key occurs several times. values[i] is NULL if
 * the value at `object` is no object, or lacks keys[i]. */
void json_text_find_keys(const char *object, size_t n, const char *const *keys,
                         const char **values);
/* The same for one key. */
const char *json_text_find_key(const char *object, const char *key);
/* The end of the value that starts here. */
const char *json_text_end(const char *value);

/* Decodes the string at `value` to `to`, which has space for its characters as they stand and a
 * zero byte. Returns the length; 0 with an empty text if the value is no string. */
size_t json_text_decode(const char *value, char *to);
/* Is the value a string with this text? */
bool json_text_equals(const char *value, const char *text);
/* Parses an integer in 0 ... 2^31 - 1; -1 if the value is anything else. */
long json_text_index(const char *value);

#endif
