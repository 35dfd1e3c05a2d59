#include "text_form.h"

#include "decode.h"
#include "encode.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 12 /* of histories inside one another */

/* The walk through the lines. */
struct walk {
    struct text_form *script;
    struct header *h;
    struct arena *a; /* the header's */
    struct text_scanner t;
    size_t size; /* of the text */
    bool more;   /* `t` stands in a line that was not understood yet */
};

static void next_line(struct walk *w)
{
    w->more = text_scanner_next_line(&w->t);
}

/* Does the line at hand begin with this word? Then the word is passed. */
static bool line_says(struct walk *w, const char *word)
{
    return w->more && text_scanner_accept_word(&w->t, word);
}

static int unexpected(struct walk *w, struct error *e)
{
    return text_scanner_error(&w->t, e, "\"%.*s\" is not expected here",
                              (int)text_scanner_word_length(&w->t), w->t.word);
}

static int next_name(struct walk *w, const char *what, const char **name, struct error *e)
{
    if (text_scanner_next_word(&w->t, w->a, name, e))
        return -1;
    return *name ? 0 : text_scanner_error(&w->t, e, "%s is missing", what);
}

/* The line must be over; on to the next. */
static int end_line(struct walk *w, struct error *e)
{
    if (!text_scanner_at_line_end(&w->t))
        return unexpected(w, e);
    next_line(w);
    return 0;
}

/* Room for one more than n items, in the arena, made in powers of two. */
static void *grow(struct arena *a, void *old, size_t n, size_t size)
{
    if (n & (n - 1))
        return old;
    void *items = arena_alloc(a, n ? 2 * n : 1, size);
    if (n)
        memcpy(items, old, n * size);
    return items;
}

/* ---- the head ------------------------------------------------------------------------------ */

/* WORD N HEX: keys that this version does not know, encoded as in the stream. */
static int read_extra(struct walk *w, const char *word, struct unknown_keys *x, struct error *e)
{
    uint64_t n;
    if (!line_says(w, word))
        return 0;
    if (text_scanner_read_count(&w->t, &n, e))
        return -1;
    size_t size = text_scanner_word_length(&w->t) / 2;
    unsigned char *bytes = arena_alloc(w->a, size, 1);
    if (text_scanner_read_hex(&w->t, bytes, size, e))
        return -1;
    *x = (struct unknown_keys){n, size, bytes};
    return end_line(w, e);
}

static int read_dtype(struct walk *w, enum dtype *d, struct error *e)
{
    const char *name;
    if (next_name(w, "a dtype", &name, e))
        return -1;
    *d = dtype_from_name(name);
    return *d == DTYPE_NONE
               ? text_scanner_error(&w->t, e, "\"%s\" is not a dtype (F32, BF16, ...)", name)
               : 0;
}

static int read_kind(struct walk *w, struct error *e)
{
    bool found = line_says(w, "kind");
    for (int kind = KIND_WEIGHTS; found && kind <= KIND_ACTIVATIONS; kind *= 2)
        if (text_scanner_accept_word(&w->t, stream_kind_name((enum stream_kind)kind)))
            w->h->kind = (enum stream_kind)kind;
    if (!w->h->kind || !text_scanner_at_line_end(&w->t))
        return text_scanner_error(
            &w->t, e, "a text begins with kind weights, kind task-vectors or kind activations");
    next_line(w);
    if (line_says(w, "rounding") && (read_dtype(w, &w->h->input_rounding, e) || end_line(w, e)))
        return -1;
    return read_extra(w, "extra", &w->h->unknown_keys, e);
}

static int read_model(struct walk *w, struct error *e)
{
    struct error why;
    const char *name;
    if (next_name(w, "the model's name", &name, e))
        return -1;
    long i = header_add_model(w->h, name, NULL, &why);
    if (i < 0)
        return text_scanner_error(&w->t, e, "two models are called %s", name);
    struct model *m = &w->h->models[i];
    while (!text_scanner_at_line_end(&w->t)) {
        int failed;
        if (text_scanner_accept_key(&w->t, "role"))
            failed = text_scanner_next_word(&w->t, w->a, &m->role, e);
        else if ((m->has_fingerprint = text_scanner_accept_key(&w->t, "fingerprint")))
            failed = text_scanner_read_hash(&w->t, &m->fingerprint, e);
        else
            failed = unexpected(w, e);
        if (failed)
            return -1;
    }
    next_line(w);
    return read_extra(w, "extra", &m->unknown_keys, e);
}

static int read_history(struct walk *w, struct history *history, int depth, struct error *e);

/* "parent", the history of one input of the step above, "end". */
static int read_parent(struct walk *w, struct history_step *s, int depth, struct error *e)
{
    if (depth == DEPTH_MAX)
        return text_scanner_error(&w->t, e, "histories are nested too deep");
    if (end_line(w, e))
        return -1;
    s->parents = grow(w->a, s->parents, s->n_parents, sizeof *s->parents);
    if (read_history(w, &s->parents[s->n_parents++], depth + 1, e))
        return -1;
    if (!line_says(w, "end"))
        return text_scanner_error(&w->t, e,
                                  "a step, or the end of its parent's history, is missing here");
    return end_line(w, e);
}

static int read_step(struct walk *w, struct history *history, int depth, struct error *e)
{
    struct history_step s = {0};
    if (next_name(w, "the step's tool", &s.tool, e) ||
        next_name(w, "the tool's version", &s.version, e))
        return -1;
    while (!text_scanner_at_line_end(&w->t)) {
        s.arguments = grow(w->a, s.arguments, s.n_arguments, sizeof *s.arguments);
        if (text_scanner_next_word(&w->t, w->a, &s.arguments[s.n_arguments++], e))
            return -1;
    }
    next_line(w);
    if (read_extra(w, "extra", &s.unknown_keys, e))
        return -1;
    while (line_says(w, "parent"))
        if (read_parent(w, &s, depth, e))
            return -1;
    history->steps = grow(w->a, history->steps, history->n, sizeof s);
    history->steps[history->n++] = s;
    return 0;
}

static int read_history(struct walk *w, struct history *history, int depth, struct error *e)
{
    *history = (struct history){0};
    while (line_says(w, "step"))
        if (read_step(w, history, depth, e))
            return -1;
    return 0;
}

/* ---- tensors ------------------------------------------------------------------------------- */

/* "2x3", "7", or "scalar". */
static int read_shape(struct walk *w, struct tensor *t, struct error *e)
{
    const char *word;
    struct error why;
    if (next_name(w, "the tensor's shape", &word, e))
        return -1;
    uint64_t *shape = arena_alloc(w->a, TENSOR_RANK_MAX + 1, sizeof *shape);
    const char *p = strcmp(word, "scalar") == 0 ? "" : word;
    while (*p >= '0' && *p <= '9' && t->rank <= TENSOR_RANK_MAX) {
        char *end;
        shape[t->rank++] = strtoull(p, &end, 10);
        bool more = *end == 'x' && end[1];
        p = end + more;
    }
    t->shape = shape;
    if (*p && t->rank <= TENSOR_RANK_MAX)
        return text_scanner_error(&w->t, e, "\"%s\" is not a shape (2x3, 7, scalar)", word);
    if (tensor_check_shape(t->name, t->rank, t->shape, &why))
        return text_scanner_error(&w->t, e, "%s", why.text);
    return 0;
}

static int read_layer(struct walk *w, struct tensor *t, struct error *e)
{
    const char *word;
    char *end;
    if (next_name(w, "the layer", &word, e))
        return -1;
    t->layer = strtol(word, &end, 10);
    t->layers = *end == '/' ? strtol(end + 1, &end, 10) : -1;
    if (*end || t->layer < 0 || t->layer >= t->layers)
        return text_scanner_error(&w->t, e, "layer=%s is not I/L with I < L", word);
    return 0;
}

static int read_weights(struct walk *w, struct vector *v, struct error *e)
{
    double *weights = NULL;
    size_t n = 0;
    do {
        w->t.word += n > 0; /* the comma */
        weights = grow(w->a, weights, n, sizeof *weights);
        if (text_scanner_read_number(&w->t, &weights[n++], e))
            return -1;
    } while (w->t.word < w->t.line_end && *w->t.word == ',');
    v->n_weights = n;
    v->weights = weights;
    return 0;
}

static int read_attribute(struct walk *w, struct vector *v, struct error *e)
{
    struct text_scanner *t = &w->t;
    if (text_scanner_accept_word(t, "no-source")) {
        v->source = NULL;
        return 0;
    }
    if (text_scanner_accept_key(t, "source"))
        return text_scanner_next_word(t, w->a, &v->source, e);
    if (text_scanner_accept_key(t, "stored"))
        return read_dtype(w, &v->stored_dtype, e);
    if (text_scanner_accept_key(t, "weight"))
        return read_weights(w, v, e);
    if (text_scanner_accept_key(t, "l1_before"))
        return text_scanner_read_number(t, &v->l1_before, e);
    if (text_scanner_accept_key(t, "keep"))
        return text_scanner_read_number(t, &v->keep_probability, e);
    return read_dtype(w, &v->dtype, e);
}

size_t text_form_row_count(const struct tensor *t, enum dtype d)
{
    size_t n = tensor_elements(t);
    return n == 0 ? 0 : dtype_bits(d) % 8 ? 1 : n / tensor_columns(t);
}

/* Does the line at hand begin with a word that stands for something else than a row? */
static bool is_keyword(const struct walk *w)
{
    static const char *const words[] = {"tensor", "vector", "hash"};
    struct text_scanner t = w->t;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (text_scanner_accept_word(&t, words[i]))
            return true;
    return false;
}

/* Passes the rows of a vector. */
static int skip_rows(struct walk *w, const struct tensor *t, const struct vector *v,
                     struct error *e)
{
    size_t n = tensor_elements(t), rows = text_form_row_count(t, v->dtype),
           bits = dtype_bits(v->dtype);
    if (bits % 8 && n % 8 * bits % 8)
        return text_scanner_error(&w->t, e, "%zu elements of %s do not fill whole bytes", n,
                                  dtype_name(v->dtype));
    for (size_t i = 0; i < rows; i++) {
        if (!w->more || is_keyword(w))
            return text_scanner_error(&w->t, e, "%s of tensor %s has %zu of %zu rows",
                                      w->h->models[v->model].name, t->name, i, rows);
        next_line(w);
    }
    return 0;
}

/* A vector of the tensor; `announced` is the tensor as the manifest has it. */
static int read_vector(struct walk *w, struct text_form_tensor *s, struct tensor *announced,
                       struct error *e)
{
    struct tensor *t = &s->tensor;
    size_t k = t->n_vectors;
    const char *name;
    if (next_name(w, "the vector's model", &name, e))
        return -1;
    long model = header_find_model(w->h, name);
    if (model < 0)
        return text_scanner_error(&w->t, e, "no line above says: model %s", name);
    if (k && t->vectors[k - 1].model >= (size_t)model)
        return text_scanner_error(&w->t, e, "vectors come in the order of the models, one of each");
    struct vector v = vector_with_defaults((size_t)model, t->name, DTYPE_F32, DTYPE_NONE);
    while (!text_scanner_at_line_end(&w->t))
        if (read_attribute(w, &v, e))
            return -1;
    next_line(w);
    if (read_extra(w, "extra", &v.unknown_keys, e))
        return -1;
    struct unknown_keys extra = v.unknown_keys;
    if (read_extra(w, "announced-extra", &extra, e) ||
        read_extra(w, "payload-extra", &v.unknown_payload_keys, e))
        return -1;
    t->vectors = grow(w->a, t->vectors, k, sizeof v);
    announced->vectors = grow(w->a, announced->vectors, k, sizeof v);
    s->rows = grow(w->a, s->rows, k, sizeof *s->rows);
    s->rows[k] = w->t;
    t->vectors[k] = announced->vectors[k] = v;
    announced->vectors[k].unknown_keys = extra;
    t->n_vectors = announced->n_vectors = k + 1;
    return skip_rows(w, t, &v, e);
}

static int read_tensor(struct walk *w, struct error *e)
{
    struct text_form *s = w->script;
    struct text_form_tensor tensor = {.tensor = {.layer = -1, .layers = -1}, .line = w->t.line};
    struct tensor *t = &tensor.tensor;
    if (next_name(w, "the tensor's name", &t->name, e) || read_shape(w, t, e))
        return -1;
    while (!text_scanner_at_line_end(&w->t)) {
        int failed = text_scanner_accept_key(&w->t, "layer") ? read_layer(w, t, e)
                     : text_scanner_accept_key(&w->t, "base")
                         ? text_scanner_next_word(&w->t, w->a, &t->base_name, e)
                         : unexpected(w, e);
        if (failed)
            return -1;
    }
    if (tensor_elements(t) > 8 * w->size) /* eight elements in a byte is the most a text can say */
        return text_scanner_error(&w->t, e, "tensor %s is larger than this text", t->name);
    next_line(w);
    struct tensor announced = *t;
    if (read_extra(w, "extra", &t->unknown_keys, e))
        return -1;
    announced.unknown_keys = t->unknown_keys;
    if (read_extra(w, "announced-extra", &announced.unknown_keys, e))
        return -1;
    while (line_says(w, "vector"))
        if (read_vector(w, &tensor, &announced, e))
            return -1;
    if (t->n_vectors == 0)
        return text_scanner_error(&w->t, e, "tensor %s has no vector", t->name);
    w->h->tensors = grow(w->a, w->h->tensors, s->n_tensors, sizeof announced);
    s->tensors = grow(w->a, s->tensors, s->n_tensors, sizeof tensor);
    w->h->tensors[s->n_tensors] = announced;
    s->tensors[s->n_tensors++] = tensor;
    w->h->n_tensors = s->n_tensors;
    return 0;
}

/* hash MODEL HASH */
static int read_hash(struct walk *w, struct error *e)
{
    struct text_form *s = w->script;
    s->models = grow(w->a, s->models, s->n_hashes, sizeof *s->models);
    s->hashes = grow(w->a, s->hashes, s->n_hashes, sizeof *s->hashes);
    if (next_name(w, "the model's name", &s->models[s->n_hashes], e) ||
        text_scanner_read_hash(&w->t, &s->hashes[s->n_hashes], e))
        return -1;
    s->n_hashes++;
    return end_line(w, e);
}

/* ---- all of it ----------------------------------------------------------------------------- */

/* What would be refused by a reader of the stream is refused here. */
static int check(const struct text_form *s, const struct header *h, struct error *e)
{
    static const char prefix[] = "broken stream: ";
    struct header *back = header_new();
    struct bytes b = {0};
    struct error why;
    size_t line = 0;
    encode_header(&b, h);
    int failed = decode_header(b.data, b.size, back, &why);
    for (size_t i = 0; i < s->n_tensors && !failed; i++) {
        struct tensor t;
        b.size = 0;
        line = s->tensors[i].line;
        encode_tensor(&b, &s->tensors[i].tensor);
        failed = decode_tensor(b.data, b.size, h, &back->arena, &t, &why);
    }
    bytes_free(&b);
    header_free(back);
    if (!failed)
        return 0;
    const char *sentence = why.text;
    if (strncmp(sentence, prefix, sizeof prefix - 1) == 0)
        sentence += sizeof prefix - 1;
    return line ? error_set(e, "line %zu: %s", line, sentence) : error_set(e, "%s", sentence);
}

int text_form_read(struct text_form *s, struct header *h, const unsigned char *bytes, size_t size,
                   struct error *e)
{
    struct walk w = {.script = s, .h = h, .a = &h->arena, .size = size};
    *s = (struct text_form){0};
    w.t = text_scanner_start(bytes, size);
    next_line(&w);
    if (!w.more)
        return error_set(e, "the text is empty");
    if (read_kind(&w, e))
        return -1;
    while (line_says(&w, "model"))
        if (read_model(&w, e))
            return -1;
    if (read_history(&w, &h->history, 0, e))
        return -1;
    while (line_says(&w, "tensor"))
        if (read_tensor(&w, e))
            return -1;
    while (line_says(&w, "hash"))
        if (read_hash(&w, e))
            return -1;
    return w.more ? unexpected(&w, e) : check(s, h, e);
}
