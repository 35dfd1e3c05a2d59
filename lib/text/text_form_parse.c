#include "text_form_parse.h"

#include "decode.h"
#include "encode.h"
#include "text_lines.h"

#include <stdlib.h>
#include <string.h>

struct parser {
    struct text_form *form;
    struct header *h; /* its arena is that of the lines */
    struct text_lines lines;
    size_t size; /* of the text */
};

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

static int read_dtype(struct parser *p, enum dtype *d, struct error *e)
{
    const char *name;
    if (text_lines_read_word(&p->lines, "a dtype", &name, e))
        return -1;
    *d = dtype_from_name(name);
    return *d == DTYPE_NONE ? text_scanner_set_error(&p->lines.scanner, e,
                                                     "\"%s\" is not a dtype (F32, BF16, ...)", name)
                            : 0;
}

static int read_stream_kind(struct parser *p, struct error *e)
{
    bool found = text_lines_accept_word(&p->lines, "kind");
    for (int kind = KIND_WEIGHTS; found && kind <= KIND_ACTIVATIONS; kind *= 2)
        if (text_scanner_accept_word(&p->lines.scanner, stream_kind_name((enum stream_kind)kind)))
            p->h->kind = (enum stream_kind)kind;
    if (!p->h->kind || !text_scanner_at_line_end(&p->lines.scanner))
        return text_scanner_set_error(
            &p->lines.scanner, e,
            "expected kind weights, kind task-vectors or kind activations at the start");
    text_lines_next(&p->lines);
    if (text_lines_accept_word(&p->lines, "rounding") &&
        (read_dtype(p, &p->h->input_rounding, e) || text_lines_end(&p->lines, e)))
        return -1;
    return text_lines_read_unknown_keys(&p->lines, "extra", &p->h->unknown_keys, e);
}

static int read_model(struct parser *p, struct error *e)
{
    struct error reason;
    const char *name;
    if (text_lines_read_word(&p->lines, "a model's name", &name, e))
        return -1;
    long i = header_add_model(p->h, name, NULL, &reason);
    if (i < 0)
        return text_scanner_set_error(&p->lines.scanner, e,
                                      "two models have the name %s, or it is not UTF-8", name);
    struct model *m = &p->h->models[i];
    while (!text_scanner_at_line_end(&p->lines.scanner)) {
        int failed;
        if (text_scanner_accept_key(&p->lines.scanner, "role"))
            failed = text_scanner_read_word(&p->lines.scanner, p->lines.arena, &m->role, e);
        else if (text_scanner_accept_key(&p->lines.scanner, "hub"))
            failed = text_scanner_read_word(&p->lines.scanner, p->lines.arena, &m->hub, e);
        else if (text_scanner_accept_key(&p->lines.scanner, "commit"))
            failed = text_scanner_read_word(&p->lines.scanner, p->lines.arena, &m->commit, e);
        else if (text_scanner_accept_key(&p->lines.scanner, "quantization"))
            failed = text_scanner_read_word(&p->lines.scanner, p->lines.arena, &m->quantization, e);
        else if (text_scanner_accept_key(&p->lines.scanner, "fingerprint"))
            m->has_fingerprint =
                !(failed = text_scanner_read_hash(&p->lines.scanner, &m->fingerprint, e));
        else
            failed = text_lines_set_unexpected_error(&p->lines, e);
        if (failed)
            return -1;
    }
    text_lines_next(&p->lines);
    return text_lines_read_unknown_keys(&p->lines, "extra", &m->unknown_keys, e);
}

static int read_history(struct parser *p, struct history *history, int depth, struct error *e);

/* Reads the history of one input of the step. */
static int read_parent_history(struct parser *p, struct history_step *s, int depth, struct error *e)
{
    s->parents = grow_array(p->lines.arena, s->parents, s->n_parents, sizeof *s->parents);
    if (text_lines_begin_parent(&p->lines, depth, "histories", e) ||
        read_history(p, &s->parents[s->n_parents++], depth + 1, e))
        return -1;
    return text_lines_end_parent(&p->lines, "a step, or end after a parent's history", e);
}

static int read_fingerprints(struct parser *p, struct history_step *s, struct error *e)
{
    uint64_t *list = NULL;
    while (!text_scanner_at_line_end(&p->lines.scanner)) {
        list = grow_array(p->lines.arena, list, s->n_fingerprints, sizeof *list);
        if (text_scanner_read_hash(&p->lines.scanner, &list[s->n_fingerprints++], e))
            return -1;
    }
    s->fingerprints = list;
    return text_lines_end(&p->lines, e);
}

static int read_blas(struct parser *p, struct history_step *s, struct error *e)
{
    return text_lines_read_word(&p->lines, "the name of a library", &s->blas, e) ||
                   text_lines_end(&p->lines, e)
               ? -1
               : 0;
}

static int read_history_step(struct parser *p, struct history *history, int depth, struct error *e)
{
    struct history_step s = {0};
    if (text_lines_read_word(&p->lines, "a step's tool", &s.tool, e) ||
        text_lines_read_word(&p->lines, "a tool's version", &s.version, e))
        return -1;
    while (!text_scanner_at_line_end(&p->lines.scanner)) {
        s.arguments = grow_array(p->lines.arena, s.arguments, s.n_arguments, sizeof *s.arguments);
        if (text_scanner_read_word(&p->lines.scanner, p->lines.arena, &s.arguments[s.n_arguments++],
                                   e))
            return -1;
    }
    text_lines_next(&p->lines);
    if ((text_lines_accept_word(&p->lines, "fingerprints") && read_fingerprints(p, &s, e)) ||
        (text_lines_accept_word(&p->lines, "blas") && read_blas(p, &s, e)) ||
        text_lines_read_unknown_keys(&p->lines, "extra", &s.unknown_keys, e))
        return -1;
    while (text_lines_accept_word(&p->lines, "parent"))
        if (read_parent_history(p, &s, depth, e))
            return -1;
    history->steps = grow_array(p->lines.arena, history->steps, history->n, sizeof s);
    history->steps[history->n++] = s;
    return 0;
}

static int read_history(struct parser *p, struct history *history, int depth, struct error *e)
{
    *history = (struct history){0};
    while (text_lines_accept_word(&p->lines, "step"))
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
    if (text_lines_read_word(&p->lines, "a tensor's shape", &word, e))
        return -1;
    uint64_t *shape = arena_alloc(p->lines.arena, TENSOR_RANK_MAX + 1, sizeof *shape);
    const char *at = strcmp(word, "scalar") == 0 ? "" : word;
    while (*at >= '0' && *at <= '9' && t->rank <= TENSOR_RANK_MAX) {
        char *end;
        shape[t->rank++] = strtoull(at, &end, 10);
        bool more = *end == 'x' && end[1];
        at = end + more;
    }
    t->shape = shape;
    if (*at && t->rank <= TENSOR_RANK_MAX)
        return text_scanner_set_error(&p->lines.scanner, e,
                                      "\"%s\" is not a shape (2x3, 7, scalar)", word);
    if (tensor_check_shape(t->name, t->rank, t->shape, &reason))
        return text_scanner_set_error(&p->lines.scanner, e, "%s", reason.text);
    return 0;
}

static int read_layer(struct parser *p, struct tensor *t, struct error *e)
{
    const char *word;
    char *end;
    if (text_lines_read_word(&p->lines, "a layer", &word, e))
        return -1;
    t->layer = strtol(word, &end, 10);
    t->layers = *end == '/' ? strtol(end + 1, &end, 10) : -1;
    if (*end || t->layer < 0 || t->layer >= t->layers)
        return text_scanner_set_error(&p->lines.scanner, e, "layer=%s is not I/L with I < L", word);
    return 0;
}

static int read_weights(struct parser *p, size_t *n, const double **weights, struct error *e)
{
    double *all = NULL;
    *n = 0;
    do {
        p->lines.scanner.word += *n > 0; /* the comma */
        all = grow_array(p->lines.arena, all, *n, sizeof *all);
        if (text_scanner_read_number(&p->lines.scanner, &all[(*n)++], e))
            return -1;
    } while (p->lines.scanner.word < p->lines.scanner.line_end && *p->lines.scanner.word == ',');
    *weights = all;
    return 0;
}

static int read_vector_attribute(struct parser *p, struct vector *v, struct error *e)
{
    struct text_scanner *t = &p->lines.scanner;
    if (text_scanner_accept_word(t, "no-source")) {
        v->source = NULL;
        return 0;
    }
    if (text_scanner_accept_key(t, "source"))
        return text_scanner_read_word(t, p->lines.arena, &v->source, e);
    if (text_scanner_accept_key(t, "stored"))
        return read_dtype(p, &v->stored_dtype, e);
    if (text_scanner_accept_key(t, "weight"))
        return read_weights(p, &v->n_weights, &v->weights, e);
    if (text_scanner_accept_key(t, "l1_before"))
        return text_scanner_read_number(t, &v->l1_before, e);
    if (text_scanner_accept_key(t, "l1"))
        return text_scanner_read_number(t, &v->l1, e);
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
    struct text_scanner t = p->lines.scanner;
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
        return text_scanner_set_error(&p->lines.scanner, e,
                                      "%zu elements of %s do not fill whole bytes", n,
                                      dtype_name(v->dtype));
    for (size_t i = 0; i < rows; i++) {
        if (!p->lines.has_line || line_begins_with_keyword(p))
            return text_scanner_set_error(&p->lines.scanner, e,
                                          "%s of tensor %s has %zu rows instead of %zu",
                                          p->h->models[v->model].name, t->name, i, rows);
        text_lines_next(&p->lines);
    }
    return 0;
}

/* Reads the line of a vector. Its model must come after that of the vector before it. */
static int read_vector_line(struct parser *p, const struct tensor *t, struct vector *v,
                            struct error *e)
{
    const char *name;
    if (text_lines_read_word(&p->lines, "a vector's model", &name, e))
        return -1;
    long model = header_find_model(p->h, name);
    if (model < 0)
        return text_scanner_set_error(&p->lines.scanner, e, "no model line names %s", name);
    if (t->n_vectors && t->vectors[t->n_vectors - 1].model >= (size_t)model)
        return text_scanner_set_error(
            &p->lines.scanner, e, "expected the vectors in the order of the models, one of each");
    *v = vector_with_defaults((size_t)model, t->name, DTYPE_F32, DTYPE_NONE);
    while (!text_scanner_at_line_end(&p->lines.scanner))
        if (read_vector_attribute(p, v, e))
            return -1;
    text_lines_next(&p->lines);
    return 0;
}

/* Reads the vectors that a join merged. */
static int read_joined_vectors(struct parser *p, size_t *n, struct joined_vector **joined,
                               int depth, struct error *e)
{
    static const double one = 1;
    *n = 0;
    for (*joined = NULL; text_lines_accept_word(&p->lines, "joined"); ++*n) {
        *joined = grow_array(p->lines.arena, *joined, *n, sizeof **joined);
        struct joined_vector *v = &(*joined)[*n];
        *v = (struct joined_vector){.n_weights = 1, .weights = &one};
        if (text_lines_read_word(&p->lines, "a model's name", &v->name, e) ||
            (text_scanner_accept_key(&p->lines.scanner, "weight") &&
             read_weights(p, &v->n_weights, &v->weights, e)) ||
            text_lines_end(&p->lines, e) ||
            text_lines_read_unknown_keys(&p->lines, "extra", &v->unknown_keys, e))
            return -1;
        if (text_lines_accept_word(&p->lines, "parent") &&
            (text_lines_begin_parent(&p->lines, depth, "joins", e) ||
             read_joined_vectors(p, &v->n_joined, &v->joined, depth + 1, e) ||
             text_lines_end_parent(&p->lines, "joined, or end after the vectors of an earlier join",
                                   e)))
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
    if (read_vector_line(p, t, &v, e) ||
        text_lines_read_unknown_keys(&p->lines, "extra", &v.unknown_keys, e))
        return -1;
    struct unknown_keys entry_keys = v.unknown_keys;
    if (text_lines_read_unknown_keys(&p->lines, "announced-extra", &entry_keys, e) ||
        text_lines_read_unknown_keys(&p->lines, "payload-extra", &v.unknown_payload_keys, e) ||
        read_joined_vectors(p, &v.n_joined, &joined, 0, e))
        return -1;
    v.joined = joined;
    t->vectors = grow_array(p->lines.arena, t->vectors, k, sizeof v);
    entry->vectors = grow_array(p->lines.arena, entry->vectors, k, sizeof v);
    s->rows = grow_array(p->lines.arena, s->rows, k, sizeof *s->rows);
    s->rows[k] = p->lines.scanner;
    t->vectors[k] = entry->vectors[k] = v;
    entry->vectors[k].unknown_keys = entry_keys;
    t->n_vectors = entry->n_vectors = k + 1;
    return skip_vector_rows(p, t, &v, e);
}

/* Reads the line of a tensor. */
static int read_tensor_line(struct parser *p, struct tensor *t, struct error *e)
{
    if (text_lines_read_word(&p->lines, "a tensor's name", &t->name, e) || read_shape(p, t, e))
        return -1;
    while (!text_scanner_at_line_end(&p->lines.scanner)) {
        int failed;
        if (text_scanner_accept_key(&p->lines.scanner, "layer"))
            failed = read_layer(p, t, e);
        else if (text_scanner_accept_key(&p->lines.scanner, "base"))
            failed = text_scanner_read_word(&p->lines.scanner, p->lines.arena, &t->base_name, e);
        else
            failed = text_lines_set_unexpected_error(&p->lines, e);
        if (failed)
            return -1;
    }
    if (tensor_elements(t) > 8 * p->size) /* a byte of text has at most eight elements */
        return text_scanner_set_error(&p->lines.scanner, e, "tensor %s is larger than the text",
                                      t->name);
    text_lines_next(&p->lines);
    return 0;
}

static int read_tensor(struct parser *p, struct error *e)
{
    struct text_form *form = p->form;
    struct text_form_tensor s = {.tensor = {.layer = -1, .layers = -1},
                                 .line = p->lines.scanner.line};
    struct tensor *t = &s.tensor;
    if (read_tensor_line(p, t, e) ||
        text_lines_read_unknown_keys(&p->lines, "extra", &t->unknown_keys, e))
        return -1;
    struct tensor entry = *t; /* of the manifest */
    if (text_lines_read_unknown_keys(&p->lines, "announced-extra", &entry.unknown_keys, e))
        return -1;
    while (text_lines_accept_word(&p->lines, "vector"))
        if (read_vector(p, &s, &entry, e))
            return -1;
    if (t->n_vectors == 0)
        return text_scanner_set_error(&p->lines.scanner, e, "tensor %s has no vector", t->name);
    p->h->tensors = grow_array(p->lines.arena, p->h->tensors, form->n_tensors, sizeof entry);
    form->tensors = grow_array(p->lines.arena, form->tensors, form->n_tensors, sizeof s);
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
    form->hashed_models =
        grow_array(p->lines.arena, form->hashed_models, n, sizeof *form->hashed_models);
    form->hashes = grow_array(p->lines.arena, form->hashes, n, sizeof *form->hashes);
    if (text_lines_read_word(&p->lines, "a model's name", &form->hashed_models[n], e) ||
        text_scanner_read_hash(&p->lines.scanner, &form->hashes[n], e))
        return -1;
    form->n_hashes++;
    return text_lines_end(&p->lines, e);
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
    struct parser p = {.form = form, .h = h, .size = size};
    *form = (struct text_form){0};
    p.lines = text_lines_start(bytes, size, &h->arena);
    if (!p.lines.has_line)
        return error_set(e, "the text is empty");
    if (read_stream_kind(&p, e))
        return -1;
    while (text_lines_accept_word(&p.lines, "model"))
        if (read_model(&p, e))
            return -1;
    if (read_history(&p, &h->history, 0, e))
        return -1;
    while (text_lines_accept_word(&p.lines, "tensor"))
        if (read_tensor(&p, e))
            return -1;
    while (text_lines_accept_word(&p.lines, "hash"))
        if (read_model_hash(&p, e))
            return -1;
    return p.lines.has_line ? text_lines_set_unexpected_error(&p.lines, e)
                            : check_records_can_be_decoded(form, h, e);
}
