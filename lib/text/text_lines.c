#include "text_lines.h"

#define DEPTH_MAX 12 /* maximum nesting of histories, and of joins */

struct text_lines text_lines_start(const unsigned char *bytes, size_t size, struct arena *a)
{
    struct text_lines l = {.arena = a, .scanner = text_scanner_start(bytes, size)};
    text_lines_next(&l);
    return l;
}

void text_lines_next(struct text_lines *l)
{
    l->has_line = text_scanner_next_line(&l->scanner);
}

bool text_lines_accept_word(struct text_lines *l, const char *word)
{
    return l->has_line && text_scanner_accept_word(&l->scanner, word);
}

int text_lines_set_unexpected_error(struct text_lines *l, struct error *e)
{
    return text_scanner_set_error(&l->scanner, e, "unexpected \"%.*s\"",
                                  (int)text_scanner_word_length(&l->scanner), l->scanner.word);
}

int text_lines_read_word(struct text_lines *l, const char *what, const char **word, struct error *e)
{
    if (text_scanner_read_word(&l->scanner, l->arena, word, e))
        return -1;
    return *word ? 0 : text_scanner_set_error(&l->scanner, e, "expected %s", what);
}

int text_lines_end(struct text_lines *l, struct error *e)
{
    if (!text_scanner_at_line_end(&l->scanner))
        return text_lines_set_unexpected_error(l, e);
    text_lines_next(l);
    return 0;
}

int text_lines_read_unknown_keys(struct text_lines *l, const char *word,
                                 struct unknown_keys *unknown, struct error *e)
{
    uint64_t n;
    if (!text_lines_accept_word(l, word))
        return 0;
    if (text_scanner_read_count(&l->scanner, &n, e))
        return -1;
    size_t size = text_scanner_word_length(&l->scanner) / 2;
    unsigned char *bytes = arena_alloc(l->arena, size, 1);
    if (text_scanner_read_hex(&l->scanner, bytes, size, e))
        return -1;
    *unknown = (struct unknown_keys){n, size, bytes};
    return text_lines_end(l, e);
}

int text_lines_begin_parent(struct text_lines *l, int depth, const char *what, struct error *e)
{
    if (depth == DEPTH_MAX)
        return text_scanner_set_error(&l->scanner, e, "%s are nested more than %d levels deep",
                                      what, DEPTH_MAX);
    return text_lines_end(l, e);
}

int text_lines_end_parent(struct text_lines *l, const char *expected, struct error *e)
{
    if (!text_lines_accept_word(l, "end"))
        return text_scanner_set_error(&l->scanner, e, "expected %s", expected);
    return text_lines_end(l, e);
}
