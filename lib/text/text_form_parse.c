#include "text_form_parse.h"

#include "decode.h"
#include "encode.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 12 /* maximum nesting of histories, and of joins */

struct parser {
    struct text_form *form;
    struct header *h;
    struct arena *a; /* the header's */
    struct text_scanner t;
    size_t size;   /* of the text */
    bool has_line; /* the scanner is in a line that was not parsed yet, not at the end */
};

static void advance_to_next_line(struct parser *p)
{
    p->has_line = text_scanner_next_line(&p->t);
}

/* If the next word of the current line is `word`, skips it and returns true. */
static bool skip_word_if_next(struct parser *p, const char *word)
{
    return p->has_line && text_scanner_accept_word(&p->t, word);
}

static int set_unexpected_error(struct parser *p, struct error *e)
{
    return text_scanner_set_error(&p->t, e, "unexpected \"%.*s\"",
                                  (int)text_scanner_word_length(&p->t), p->t.word);
}

/* Reads the next word, which must exist; `what` describes it in the message. */
static int read_word(struct parser *p, const char *what, const char **word, struct error *e)
{
    if (text_scanner_read_word(&p->t, p->a, word, e))
        return -1;
    return *word ? 0 : text_scanner_set_error(&p->t, e, "expected %s", what);
}

/* Checks that the line has no more words, and moves to the next line. */
static int check_line_end_and_advance(struct parser *p, struct error *e)
{
    if (!text_scanner_at_line_end(&p->t))
        return set_unexpected_error(p, e);
    advance_to_next_line(p);
    return 0;
}

/* Makes space for n + 1 items in the arena; capacities are powers of two. */
static void *grow_array(struct arena *a, void *old, size_t n, size_t size)
{
    if (n & (n - 1))
        return old;
    void *items = arena_alloc(a, n ? 2 * n : 1, size);
    if (n)
        memcpy(items, old, n * size);
    return items;
}

/* ---- header -------------------------------------------------------------------------------- */

/* Reads an optional line WORD N HEX: unknown keys, encoded as in the stream. */
static int read_unknown_keys(struct parser *p, const char *word, struct unknown_keys *unknown,
                             struct error *e)
{
    uint64_t n;
    if (!skip_word_if_next(p, word))
        return 0;
    if (text_scanner_read_count(&p->t, &n, e))
        return -1;
    size_t size = text_scanner_word_length(&p->t) / 2;
    unsigned char *bytes = arena_alloc(p->a, size, 1);
    if (text_scanner_read_hex(&p->t, bytes, size, e))
        return -1;
    *unknown = (struct unknown_keys){n, size, bytes};
    return check_line_end_and_advance(p, e);
}

static int read_dtype(struct parser *p, enum dtype *d, struct error *e)
{
    const char *name;
    if (read_word(p, "a dtype", &name, e))
        return -1;
    *d = dtype_from_name(name);
    return *d == DTYPE_NONE
               ? text_scanner_set_error(&p->t, e, "\"%s\" is not a dtype (F32, BF16, ...)", name)
               : 0;
}

static int read_stream_kind(struct parser *p, struct error *e)
{
    bool found = skip_word_if_next(p, "kind");
    for (int kind = KIND_WEIGHTS; found && kind <= KIND_ACTIVATIONS; kind *= 2)
        if (text_scanner_accept_word(&p->t, stream_kind_name((enum stream_kind)kind)))
            p->h->kind = (enum stream_kind)kind;
    if (!p->h->kind || !text_scanner_at_line_end(&p->t))
        return text_scanner_set_error(
            &p->t, e, "expected kind weights, kind task-vectors or kind activations at the start");
    advance_to_next_line(p);
    if (skip_word_if_next(p, "rounding") &&
        (read_dtype(p, &p->h->input_rounding, e) || check_line_end_and_advance(p, e)))
        return -1;
    return read_unknown_keys(p, "extra", &p->h->unknown_keys, e);
}

static int read_model(struct parser *p, struct error *e)
{
    struct error reason;
    const char *name;
    if (read_word(p, "a model's name", &name, e))
        return -1;
    long i = header_add_model(p->h, name, NULL, &reason);
    if (i < 0)
        return text_scanner_set_error(&p->t, e, "two models have the name %s, or it is not UTF-8",
                                      name);
    struct model *m = &p->h->models[i];
    while (!text_scanner_at_line_end(&p->t)) {
        int failed;
        if (text_scanner_accept_key(&p->t, "role"))
            failed = text_scanner_read_word(&p->t, p->a, &m->role, e);
        else if (text_scanner_accept_key(&p->t, "hub"))
            failed = text_scanner_read_word(&p->t, p->a, &m->hub, e);
        else if (text_scanner_accept_key(&p->t, "commit"))
            failed = text_scanner_read_word(&p->t, p->a, &m->commit, e);
        else if (text_scanner_accept_key(&p->t, "fingerprint"))
            m->has_fingerprint = !(failed = text_scanner_read_hash(&p->t, &m->fingerprint, e));
        else
            failed = set_unexpected_error(p, e);
        if (failed)
            return -1;
    }
    advance_to_next_line(p);
    return read_unknown_keys(p, "extra", &m->unknown_keys, e);
}

/* The lines around what is nested, "parent" and "end". The first has been recognised. */
static int begin_parent(struct parser *p, int depth, const char *what, struct error *e)
{
    if (depth == DEPTH_MAX)
        return text_scanner_set_error(&p->t, e, "%s are nested more than %d levels deep", what,
                                      DEPTH_MAX);
    return check_line_end_and_advance(p, e);
}

static int end_parent(struct parser *p, const char *expected, struct error *e)
{
    if (!skip_word_if_next(p, "end"))
        return text_scanner_set_error(&p->t, e, "expected %s", expected);
    return check_line_end_and_advance(p, e);
}

static int read_history(struct parser *p, struct history *history, int depth, struct error *e);

/* Reads the history of one input of the step. */
static int read_parent_history(struct parser *p, struct history_step *s, int depth, struct error *e)
{
    s->parents = grow_array(p->a, s->parents, s->n_parents, sizeof *s->parents);
    if (begin_parent(p, depth, "histories", e) ||
        read_history(p, &s->parents[s->n_parents++], depth + 1, e))
        return -1;
    return end_parent(p, "a step, or end after a parent's history", e);
}

static int read_fingerprints(struct parser *p, struct history_step *s, struct error *e)
{
    uint64_t *list = NULL;
    while (!text_scanner_at_line_end(&p->t)) {
        list = grow_array(p->a, list, s->n_fingerprints, sizeof *list);
        if (text_scanner_read_hash(&p->t, &list[s->n_fingerprints++], e))
            return -1;
    }
    s->fingerprints = list;
    return check_line_end_and_advance(p, e);
}

static int read_history_step(struct parser *p, struct history *history, int depth, struct error *e)
{
    struct history_step s = {0};
    if (read_word(p, "a step's tool", &s.tool, e) ||
        read_word(p, "a tool's version", &s.version, e))
        return -1;
    while (!text_scanner_at_line_end(&p->t)) {
        s.arguments = grow_array(p->a, s.arguments, s.n_arguments, sizeof *s.arguments);
        if (text_scanner_read_word(&p->t, p->a, &s.arguments[s.n_arguments++], e))
            return -1;
    }
    advance_to_next_line(p);
    if ((skip_word_if_next(p, "fingerprints") && read_fingerprints(p, &s, e)) ||
        read_unknown_keys(p, "extra", &s.unknown_keys, e))
        return -1;
    while (skip_word_if_next(p, "parent"))
        if (read_parent_history(p, &s, depth, e))
            return -1;
    history->steps = grow_array(p->a, history->steps, history->n, sizeof s);
    history->steps[history->n++] = s;
    return 0;
}

static int read_history(struct parser *p, struct history *history, int depth, struct error *e)
{
    *history = (struct history){0};
    while (skip_word_if_next(p, "step"))
        if (read_history_step(p, history, depth, e))
            return -1;
    return 0;
}

/* ---- tensors ------------------------------------------------------------------------------- */

/* "2x3", "7", or "scalar". */
static int read_shape(struct parser *p, struct tensor *t, struct error *e)
{
    const char *word;
    struct error reason;
    if (read_word(p, "a tensor's shape", &word, e))
        return -1;
    uint64_t *shape = arena_alloc(p->a, TENSOR_RANK_MAX + 1, sizeof *shape);
    const char *at = strcmp(word, "scalar") == 0 ? "" : word;
    while (*at >= '0' && *at <= '9' && t->rank <= TENSOR_RANK_MAX) {
        char *end;
        shape[t->rank++] = strtoull(at, &end, 10);
        bool more = *end == 'x' && end[1];
        at = end + more;
    }
    t->shape = shape;
    if (*at && t->rank <= TENSOR_RANK_MAX)
        return text_scanner_set_error(&p->t, e, "\"%s\" is not a shape (2x3, 7, scalar)", word);
    if (tensor_check_shape(t->name, t->rank, t->shape, &reason))
        return text_scanner_set_error(&p->t, e, "%s", reason.text);
    return 0;
}

static int read_layer(struct parser *p, struct tensor *t, struct error *e)
{
    const char *word;
    char *end;
    if (read_word(p, "a layer", &word, e))
        return -1;
    t->layer = strtol(word, &end, 10);
    t->layers = *end == '/' ? strtol(end + 1, &end, 10) : -1;
    if (*end || t->layer < 0 || t->layer >= t->layers)
        return text_scanner_set_error(&p->t, e, "layer=%s is not I/L with I < L", word);
    return 0;
}

static int read_weights(struct parser *p, size_t *n, const double **weights, struct error *e)
{
    double *all = NULL;
    *n = 0;
    do {
        p->t.word += *n > 0; /* the comma */
        all = grow_array(p->a, all, *n, sizeof *all);
        if (text_scanner_read_number(&p->t, &all[(*n)++], e))
            return -1;
    } while (p->t.word < p->t.line_end && *p->t.word == ',');
    *weights = all;
    return 0;
}

static int read_vector_attribute(struct parser *p, struct vector *v, struct error *e)
{
    struct text_scanner *t = &p->t;
    if (text_scanner_accept_word(t, "no-source")) {
        v->source = NULL;
        return 0;
    }
    if (text_scanner_accept_key(t, "source"))
        return text_scanner_read_word(t, p->a, &v->source, e);
    if (text_scanner_accept_key(t, "stored"))
        return read_dtype(p, &v->stored_dtype, e);
    if (text_scanner_accept_key(t, "weight"))
        return read_weights(p, &v->n_weights, &v->weights, e);
    if (text_scanner_accept_key(t, "l1_before"))
        return text_scanner_read_number(t, &v->l1_before, e);
    if (text_scanner_accept_key(t, "keep"))
        return text_scanner_read_number(t, &v->keep_probability, e);
    return read_dtype(p, &v->dtype, e);
}

size_t text_form_row_count(const struct tensor *t, enum dtype d)
{
    size_t n = tensor_elements(t);
    return n == 0 ? 0 : dtype_bits(d) % 8 ? 1 : n / tensor_columns(t);
}

/* True if the current line begins with a keyword, so that it is not a row. */
static bool line_begins_with_keyword(const struct parser *p)
{
    static const char *const words[] = {"tensor", "vector", "hash"};
    struct text_scanner t = p->t;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (text_scanner_accept_word(&t, words[i]))
            return true;
    return false;
}

/* Skips the rows of a vector; counts them. */
static int skip_vector_rows(struct parser *p, const struct tensor *t, const struct vector *v,
                            struct error *e)
{
    size_t n = tensor_elements(t), rows = text_form_row_count(t, v->dtype),
           bits = dtype_bits(v->dtype);
    if (bits % 8 && n % 8 * bits % 8)
        return text_scanner_set_error(&p->t, e, "%zu elements of %s do not fill whole bytes", n,
                                      dtype_name(v->dtype));
    for (size_t i = 0; i < rows; i++) {
        if (!p->has_line || line_begins_with_keyword(p))
            return text_scanner_set_error(&p->t, e, "%s of tensor %s has %zu rows instead of %zu",
                                          p->h->models[v->model].name, t->name, i, rows);
        advance_to_next_line(p);
    }
    return 0;
}

/* Reads the line of a vector. Its model must come after that of the vector before it. */
static int read_vector_line(struct parser *p, const struct tensor *t, struct vector *v,
                            struct error *e)
{
    const char *name;
    if (read_word(p, "a vector's model", &name, e))
        return -1;
    long model = header_find_model(p->h, name);
    if (model < 0)
        return text_scanner_set_error(&p->t, e, "no model line names %s", name);
    if (t->n_vectors && t->vectors[t->n_vectors - 1].model >= (size_t)model)
        return text_scanner_set_error(
            &p->t, e, "expected the vectors in the order of the models, one of each");
    *v = vector_with_defaults((size_t)model, t->name, DTYPE_F32, DTYPE_NONE);
    while (!text_scanner_at_line_end(&p->t))
        if (read_vector_attribute(p, v, e))
            return -1;
    advance_to_next_line(p);
    return 0;
}

/* Reads the vectors that a join merged. */
static int read_joined_vectors(struct parser *p, size_t *n, struct joined_vector **joined,
                               int depth, struct error *e)
{
    static const double one = 1;
    *n = 0;
    for (*joined = NULL; skip_word_if_next(p, "joined"); ++*n) {
        *joined = grow_array(p->a, *joined, *n, sizeof **joined);
        struct joined_vector *v = &(*joined)[*n];
        *v = (struct joined_vector){.n_weights = 1, .weights = &one};
        if (read_word(p, "a model's name", &v->name, e) ||
            (text_scanner_accept_key(&p->t, "weight") &&
             read_weights(p, &v->n_weights, &v->weights, e)) ||
            check_line_end_and_advance(p, e) || read_unknown_keys(p, "extra", &v->unknown_keys, e))
            return -1;
        if (skip_word_if_next(p, "parent") &&
            (begin_parent(p, depth, "joins", e) ||
             read_joined_vectors(p, &v->n_joined, &v->joined, depth + 1, e) ||
             end_parent(p, "joined, or end after the vectors of an earlier join", e)))
            return -1;
    }
    return 0;
}

/* Reads a vector of the tensor, for the tensor header and for the manifest entry. */
static int read_vector(struct parser *p, struct text_form_tensor *s, struct tensor *entry,
                       struct error *e)
{
    struct tensor *t = &s->tensor;
    size_t k = t->n_vectors;
    struct joined_vector *joined;
    struct vector v;
    if (read_vector_line(p, t, &v, e) || read_unknown_keys(p, "extra", &v.unknown_keys, e))
        return -1;
    struct unknown_keys entry_keys = v.unknown_keys;
    if (read_unknown_keys(p, "announced-extra", &entry_keys, e) ||
        read_unknown_keys(p, "payload-extra", &v.unknown_payload_keys, e) ||
        read_joined_vectors(p, &v.n_joined, &joined, 0, e))
        return -1;
    v.joined = joined;
    t->vectors = grow_array(p->a, t->vectors, k, sizeof v);
    entry->vectors = grow_array(p->a, entry->vectors, k, sizeof v);
    s->rows = grow_array(p->a, s->rows, k, sizeof *s->rows);
    s->rows[k] = p->t;
    t->vectors[k] = entry->vectors[k] = v;
    entry->vectors[k].unknown_keys = entry_keys;
    t->n_vectors = entry->n_vectors = k + 1;
    return skip_vector_rows(p, t, &v, e);
}

/* Reads the line of a tensor. */
static int read_tensor_line(struct parser *p, struct tensor *t, struct error *e)
{
    if (read_word(p, "a tensor's name", &t->name, e) || read_shape(p, t, e))
        return -1;
    while (!text_scanner_at_line_end(&p->t)) {
        int failed;
        if (text_scanner_accept_key(&p->t, "layer"))
            failed = read_layer(p, t, e);
        else if (text_scanner_accept_key(&p->t, "base"))
            failed = text_scanner_read_word(&p->t, p->a, &t->base_name, e);
        else
            failed = set_unexpected_error(p, e);
        if (failed)
            return -1;
    }
    if (tensor_elements(t) > 8 * p->size) /* a byte of text has at most eight elements */
        return text_scanner_set_error(&p->t, e, "tensor %s is larger than this text", t->name);
    advance_to_next_line(p);
    return 0;
}

static int read_tensor(struct parser *p, struct error *e)
{
    struct text_form *form = p->form;
    struct text_form_tensor s = {.tensor = {.layer = -1, .layers = -1}, .line = p->t.line};
    struct tensor *t = &s.tensor;
    if (read_tensor_line(p, t, e) || read_unknown_keys(p, "extra", &t->unknown_keys, e))
        return -1;
    struct tensor entry = *t; /* of the manifest */
    if (read_unknown_keys(p, "announced-extra", &entry.unknown_keys, e))
        return -1;
    while (skip_word_if_next(p, "vector"))
        if (read_vector(p, &s, &entry, e))
            return -1;
    if (t->n_vectors == 0)
        return text_scanner_set_error(&p->t, e, "tensor %s has no vector", t->name);
    p->h->tensors = grow_array(p->a, p->h->tensors, form->n_tensors, sizeof entry);
    form->tensors = grow_array(p->a, form->tensors, form->n_tensors, sizeof s);
    p->h->tensors[form->n_tensors] = entry;
    form->tensors[form->n_tensors++] = s;
    p->h->n_tensors = form->n_tensors;
    return 0;
}

/* hash MODEL HASH */
static int read_model_hash(struct parser *p, struct error *e)
{
    struct text_form *form = p->form;
    size_t n = form->n_hashes;
    form->hashed_models = grow_array(p->a, form->hashed_models, n, sizeof *form->hashed_models);
    form->hashes = grow_array(p->a, form->hashes, n, sizeof *form->hashes);
    if (read_word(p, "a model's name", &form->hashed_models[n], e) ||
        text_scanner_read_hash(&p->t, &form->hashes[n], e))
        return -1;
    form->n_hashes++;
    return check_line_end_and_advance(p, e);
}

/* ---- the whole text ------------------------------------------------------------------------ */

/* Sets an error of the tensor in this line (0: of the header) that decoding has found. */
static int set_decode_error(size_t line, const struct error *reason, struct error *e)
{
    static const char prefix[] = "broken stream: ";
    const char *sentence = reason->text;
    if (strncmp(sentence, prefix, sizeof prefix - 1) == 0)
        sentence += sizeof prefix - 1;
    return line ? error_set(e, "line %zu: %s", line, sentence) : error_set(e, "%s", sentence);
}

/* Checks that a reader of the stream would accept it, by encoding and decoding its records. */
static int check_records_can_be_decoded(const struct text_form *form, const struct header *h,
                                        struct error *e)
{
    struct header *decoded = header_new();
    struct bytes b = {0};
    struct error reason;
    size_t line = 0;
    encode_header(&b, h);
    int failed = decode_header(b.data, b.size, decoded, &reason);
    for (size_t i = 0; i < form->n_tensors && !failed; i++) {
        struct tensor t;
        b.size = 0;
        line = form->tensors[i].line;
        encode_tensor_record(&b, &form->tensors[i].tensor);
        failed = decode_tensor_record(b.data, b.size, h, &decoded->arena, &t, &reason);
    }
    bytes_free(&b);
    header_free(decoded);
    return failed ? set_decode_error(line, &reason, e) : 0;
}

int text_form_parse(struct text_form *form, struct header *h, const unsigned char *bytes,
                    size_t size, struct error *e)
{
    struct parser p = {.form = form, .h = h, .a = &h->arena, .size = size};
    *form = (struct text_form){0};
    p.t = text_scanner_start(bytes, size);
    advance_to_next_line(&p);
    if (!p.has_line)
        return error_set(e, "the text is empty");
    if (read_stream_kind(&p, e))
        return -1;
    while (skip_word_if_next(&p, "model"))
        if (read_model(&p, e))
            return -1;
    if (read_history(&p, &h->history, 0, e))
        return -1;
    while (skip_word_if_next(&p, "tensor"))
        if (read_tensor(&p, e))
            return -1;
    while (skip_word_if_next(&p, "hash"))
        if (read_model_hash(&p, e))
            return -1;
    return p.has_line ? set_unexpected_error(&p, e) : check_records_can_be_decoded(form, h, e);
}
