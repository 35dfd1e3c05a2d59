#include "yaml_number.h"

#include "number.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

bool yaml_number_matches_word_in_yaml_case(const char *text, const char *const *words)
{
    for (; *words; words++) {
        size_t n = strlen(*words), upper = 0;
        if (strlen(text) != n || strcasecmp(text, *words) != 0)
            continue;
        for (size_t i = 0; i < n; i++)
            upper += isupper((unsigned char)text[i]) != 0;
        if (upper == 0 || upper == n || (upper == 1 && isupper((unsigned char)text[0])))
            return true;
    }
    return false;
}

/* Digits in base 2, 8 or 16, with any number of '_' between them. */
static bool parse_digits_in_base(const char *text, int base, double *x)
{
    *x = 0;
    for (; *text; text++) {
        const char *found = strchr("0123456789abcdef", tolower((unsigned char)*text));
        long digit = found && *found ? found - "0123456789abcdef" : 99;
        if (*text == '_')
            continue;
        if (digit >= base)
            return false;
        *x = *x * base + (double)digit;
    }
    return true;
}

static bool parse_sexagesimal(const char *text, double *x)
{
    char part[32];
    double value;
    *x = 0;
    for (bool first = true; *text; first = false) {
        size_t n = strcspn(text, ":");
        if (n == 0 || n >= sizeof part || (!first && n > 2 && text[2] != '.'))
            return false;
        memcpy(part, text, n);
        part[n] = '\0';
        if (!isdigit((unsigned char)*part) || number_parse(part, &value) || (!first && value >= 60))
            return false;
        *x = *x * 60 + value;
        text += n + (text[n] == ':');
    }
    return true;
}

/* The forms that only plain scalars have. */
static bool parse_plain_scalar(const char *text, double *x)
{
    static const char *const yes[] = {"yes", "true", "on", NULL};
    static const char *const no[] = {"no", "false", "off", NULL};
    bool is_yes = yaml_number_matches_word_in_yaml_case(text, yes);
    if (is_yes || yaml_number_matches_word_in_yaml_case(text, no)) {
        *x = is_yes;
        return true;
    }
    double sign = *text == '-' ? -1 : 1;
    bool found = false;
    text += *text == '-' || *text == '+';
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'b') && text[2])
        found = parse_digits_in_base(text + 2, text[1] == 'x' ? 16 : 2, x);
    else if (text[0] == '0' && text[1] && strspn(text, "01234567_") == strlen(text))
        found = parse_digits_in_base(text + 1, 8, x);
    else if (strchr(text, ':'))
        found = parse_sexagesimal(text, x);
    *x *= sign;
    return found;
}

/* A decimal number as Python's float() accepts it: surrounding blanks, single '_' between digits.
 */
static bool parse_decimal(const char *text, double *x)
{
    char digits[64];
    size_t n = 0;
    while (isspace((unsigned char)*text))
        text++;
    for (; *text && n < sizeof digits - 1; text++) {
        bool between =
            n && isdigit((unsigned char)digits[n - 1]) && isdigit((unsigned char)text[1]);
        if (*text != '_' || !between)
            digits[n++] = *text;
    }
    while (n && isspace((unsigned char)digits[n - 1]))
        n--;
    digits[n] = '\0';
    return !*text && number_parse(digits, x) == 0;
}

bool yaml_number_parse_flag(const char *text, double *x)
{
    static const char *const words[] = {"false", "f", "no",  "n", "off",
                                        "true",  "t", "yes", "y", "on"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(text, words[i]) == 0) {
            *x = i >= 5;
            return true;
        }
    return number_parse(text, x) == 0 && (*x == 0 || *x == 1);
}

bool yaml_number_parse(const char *text, bool plain, double *x)
{
    return (plain && parse_plain_scalar(text, x)) || parse_decimal(text, x);
}
