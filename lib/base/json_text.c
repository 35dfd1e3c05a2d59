#include "json_text.h"

#include "utf8.h"

#include <stdint.h>
#include <string.h>

#define MAX_DEPTH 64

const char *json_text_skip_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* ---- checking -------------------------------------------------------------------------------- */

/* The functions return the end of what they check, NULL if it is invalid. The zero byte after the
 * text is valid nowhere, so they stop there. */

/* The value of four hexadecimal digits; -1. */
static long parse_hex4(const char *at)
{
    long value = 0;
    for (size_t i = 0; i < 4; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* `at` is the backslash. */
static const char *check_escape(const char *at)
{
    if (at[1] != 'u')
        return at[1] && strchr("\"\\/bfnrt", at[1]) ? at + 2 : NULL;
    long unit = parse_hex4(at + 2);
    if (unit <= 0 || (unit >= 0xDC00 && unit <= 0xDFFF))
        return NULL;
    if (unit < 0xD800 || unit > 0xDFFF)
        return at + 6;
    long low = at[6] == '\\' && at[7] == 'u' ? parse_hex4(at + 8) : -1;
    return low >= 0xDC00 && low <= 0xDFFF ? at + 12 : NULL;
}

static const char *check_string(const char *at)
{
    if (*at != '"')
        return NULL;
    const char *start = ++at;
    bool is_ascii = true;
    while (at && *at != '"') {
        unsigned char c = (unsigned char)*at;
        if (c < 0x20)
            return NULL;
        is_ascii = is_ascii && c < 0x80;
        at = c == '\\' ? check_escape(at) : at + 1;
    }
    size_t n = at ? (size_t)(at - start) : 0;
    return at && (is_ascii || utf8_valid_prefix_length(start, n) == n) ? at + 1 : NULL;
}

static const char *check_digits(const char *at)
{
    size_t n = strspn(at, "0123456789");
    return n ? at + n : NULL;
}

static const char *check_number(const char *at)
{
    at += *at == '-';
    at = *at == '0' ? at + 1 : check_digits(at);
    if (at && *at == '.')
        at = check_digits(at + 1);
    if (at && (*at == 'e' || *at == 'E')) {
        at++;
        at = check_digits(at + (*at == '+' || *at == '-'));
    }
    return at;
}

static const char *check_scalar(const char *at)
{
    static const char *const words[] = {"null", "true", "false"};
    if (*at == '"')
        return check_string(at);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strncmp(at, words[i], strlen(words[i])) == 0)
            return at + strlen(words[i]);
    return check_number(at);
}

/* "key": up to the value. */
static const char *check_key(const char *at)
{
    at = check_string(at);
    at = at ? json_text_skip_space(at) : NULL;
    return at && *at == ':' ? json_text_skip_space(at + 1) : NULL;
}

/* The lists and objects around a position, as bits: 1 for an object. */
struct nesting {
    size_t depth;
    uint64_t objects;
};

static bool is_in_object(const struct nesting *n)
{
    return n->depth && (n->objects >> (n->depth - 1) & 1);
}

/* Enters a list or an object that starts at `at`; returns the start of its first value, or its end
 * if it is empty. NULL if it is invalid or nested too deep. */
static const char *enter_container(struct nesting *n, const char *at, bool *is_empty)
{
    bool object = *at == '{';
    if (n->depth == MAX_DEPTH)
        return NULL;
    at = json_text_skip_space(at + 1);
    *is_empty = *at == (object ? '}' : ']');
    if (*is_empty)
        return at + 1;
    n->objects = (n->objects & ~((uint64_t)1 << n->depth)) | (uint64_t)object << n->depth;
    n->depth++;
    return object ? check_key(at) : at;
}

/* After a value: leaves all containers that end here, and returns the start of the next value. At
 * the end of the outermost value, n->depth is 0. */
static const char *leave_containers(struct nesting *n, const char *at)
{
    while (n->depth) {
        at = json_text_skip_space(at);
        if (*at == ',') {
            at = json_text_skip_space(at + 1);
            return is_in_object(n) ? check_key(at) : at;
        }
        if (*at != (is_in_object(n) ? '}' : ']'))
            return NULL;
        n->depth--;
        at++;
    }
    return at;
}

bool json_text_check(const char *text, size_t size)
{
    struct nesting n = {0};
    const char *at = json_text_skip_space(text);
    do {
        bool is_done = true;
        at = *at == '{' || *at == '[' ? enter_container(&n, at, &is_done) : check_scalar(at);
        if (at && is_done)
            at = leave_containers(&n, at);
    } while (at && n.depth);
    return at && json_text_skip_space(at) == text + size;
}

/* ---- navigating ------------------------------------------------------------------------------ */

static const char *find_string_end(const char *at)
{
    for (at++; *at != '"'; at++)
        at += *at == '\\';
    return at + 1;
}

const char *json_text_end(const char *at)
{
    size_t depth = 0;
    if (*at == '"')
        return find_string_end(at);
    if (*at != '{' && *at != '[')
        return at + strcspn(at, ",]} \t\r\n");
    do {
        depth += *at == '{' || *at == '[';
        depth -= *at == '}' || *at == ']';
        at = *at == '"' ? find_string_end(at) : at + 1;
    } while (depth);
    return at;
}

bool json_text_next(const char *container, struct json_text_entry *entry)
{
    bool is_first = !entry->value;
    const char *at = json_text_skip_space(is_first ? container : entry->end);
    bool goes_on = is_first ? *container == '{' || *container == '[' : *at == ',';
    at = goes_on ? json_text_skip_space(at + 1) : at;
    *entry = (struct json_text_entry){0};
    if (!goes_on || *at == ']' || *at == '}')
        return false;
    if (*container == '{') {
        entry->key = at;
        at = json_text_skip_space(find_string_end(at)); /* the colon */
        at = json_text_skip_space(at + 1);
    }
    entry->value = at;
    entry->end = json_text_end(at);
    return true;
}

void json_text_find_keys(const char *object, size_t n, const char *const *keys, const char **values)
{
    struct json_text_entry entry = {0};
    for (size_t i = 0; i < n; i++)
        values[i] = NULL;
    while (*object == '{' && json_text_next(object, &entry))
        for (size_t i = 0; i < n; i++)
            if (json_text_equals(entry.key, keys[i]))
                values[i] = entry.value;
}

const char *json_text_find_key(const char *object, const char *key)
{
    const char *value;
    json_text_find_keys(object, 1, &key, &value);
    return value;
}

/* ---- scalars --------------------------------------------------------------------------------- */

static size_t encode_utf8(long c, char *to)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3F));
    to[0] = (char)((n == 2 ? 0xC0 : n == 3 ? 0xE0 : 0xF0) | c);
    return n;
}

/* Decodes the escape at the backslash; returns its end. */
static const char *decode_escape(const char *at, char *to, size_t *n)
{
    static const char letters[] = "bfnrt", controls[] = "\b\f\n\r\t";
    const char *letter = strchr(letters, at[1]);
    if (at[1] != 'u') {
        to[(*n)++] = letter ? controls[letter - letters] : at[1];
        return at + 2;
    }
    long c = parse_hex4(at + 2);
    bool is_pair = c >= 0xD800 && c <= 0xDBFF;
    if (is_pair)
        c = 0x10000 + ((c - 0xD800) << 10) + (parse_hex4(at + 8) - 0xDC00);
    *n += encode_utf8(c, to + *n);
    return at + (is_pair ? 12 : 6);
}

size_t json_text_decode(const char *value, char *to)
{
    size_t n = 0;
    if (*value == '"')
        for (const char *at = value + 1; *at != '"';) {
            if (*at == '\\')
                at = decode_escape(at, to, &n);
            else
                to[n++] = *at++;
        }
    to[n] = '\0';
    return n;
}

bool json_text_equals(const char *value, const char *text)
{
    char one[16];
    const char *at = value + 1;
    if (*value != '"')
        return false;
    while (*at != '"') {
        size_t n = 0;
        if (*at == '\\')
            at = decode_escape(at, one, &n);
        else
            one[n++] = *at++;
        if (strncmp(text, one, n) != 0)
            return false;
        text += n;
    }
    return !*text;
}

long json_text_index(const char *value)
{
    size_t n = strspn(value, "0123456789");
    long x = 0;
    if (n == 0 || n > 10 || (value[n] && !strchr(",]} \t\r\n", value[n])))
        return -1;
    for (size_t i = 0; i < n; i++)
        x = x * 10 + (value[i] - '0');
    return x <= INT32_MAX ? x : -1;
}
