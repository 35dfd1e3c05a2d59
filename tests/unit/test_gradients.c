/* Gradients of the loss by each merging coefficient, with chunks and projectors, against PyTorch's
 * autograd, for models of every architecture. */
#include "cross_entropy.h"
#include "golden.h"
#include "image_features.h"
#include "lm.h"
#include "model_weights.h"
#include "parallel_for.h"
#include "samples.h"
#include "unit.h"

#include <glob.h>
#include <jansson.h>

#define EXPERTS_MAX 3
#define PANEL_ROWS  5 /* rows of a gradient at a time; few, so that there are many panels */

/* Base and experts, merged with a coefficient per tensor, chunk and expert. */
struct problem {
    struct model_weights *base, *experts[EXPERTS_MAX];
    size_t K;
    json_t *alpha; /* name -> [K][chunks] */
    json_t *grad;  /* the computed gradients, in the same form */
    float *layer, *table[2];
};

static const struct arch *arch_of(const struct problem *p)
{
    return model_weights_arch(p->base);
}

static const char *name_of(const struct problem *p, enum weight_kind kind, size_t layer)
{
    return model_source_tensor(model_weights_model_source(p->base),
                               (size_t)model_weights_tensor_index(p->base, kind, layer))
        ->name;
}

/* The chunk of element i of n. */
static size_t chunk_of(size_t i, size_t n, size_t chunks)
{
    return i / ((n + chunks - 1) / chunks);
}

static void merge_weight(const struct problem *p, enum weight_kind kind, size_t layer, float *to)
{
    size_t n = weight_kind_elements(arch_of(p), kind);
    float *base = mem_alloc(n, sizeof *base), *expert = mem_alloc(n, sizeof *expert);
    json_t *alpha = json_object_get(p->alpha, name_of(p, kind, layer));
    model_weights_read(p->base, kind, layer, 0, n, base);
    memcpy(to, base, n * sizeof *to);
    for (size_t k = 0; alpha && k < p->K; k++) { /* none in a vision tower */
        json_t *chunks = json_array_get(alpha, k);
        model_weights_read(p->experts[k], kind, layer, 0, n, expert);
        for (size_t i = 0; i < n; i++) {
            size_t c = chunk_of(i, n, json_array_size(chunks));
            to[i] += (float)json_real_value(json_array_get(chunks, c)) * (expert[i] - base[i]);
        }
    }
    free(base);
    free(expert);
}

static int load_layer(void *context, struct weight_range range, size_t layer,
                      struct layer_weights *w, struct error *e)
{
    struct problem *p = context;
    size_t at = 0;
    *w = (struct layer_weights){{0}};
    for (enum weight_kind kind = range.first; kind < range.end; kind++) {
        if (!weight_kind_elements(arch_of(p), kind))
            continue;
        merge_weight(p, kind, layer, p->layer + at);
        w->at[kind] = p->layer + at;
        at += weight_kind_elements(arch_of(p), kind);
    }
    return 0;
}

static const float *load_rows(void *context, enum weight_kind kind, size_t first, size_t n,
                              float *to, struct error *e)
{
    struct problem *p = context;
    size_t width = kind == WEIGHT_FINAL_NORM ? 1 : arch_of(p)->hidden;
    float **table = &p->table[kind == WEIGHT_LM_HEAD];
    if (kind == WEIGHT_FINAL_NORM) {
        merge_weight(p, kind, 0, to);
        return to;
    }
    if (!*table) {
        *table = mem_alloc(weight_kind_elements(arch_of(p), kind), sizeof **table);
        merge_weight(p, kind, 0, *table);
    }
    memcpy(to, *table + first * width, n * width * sizeof *to);
    return to;
}

static bool wants(void *context, enum weight_kind kind, size_t layer)
{
    return true;
}

/* grad[k][chunk] += <dW, expert_k - base>, panel by panel. */
static void add(void *context, const struct weight_gradient *g)
{
    struct problem *p = context;
    size_t width = g->columns ? g->columns : 1, n = g->rows * width;
    float *base = mem_alloc(n, sizeof *base), *expert = mem_alloc(n, sizeof *expert);
    float *panel = mem_alloc(PANEL_ROWS * width, sizeof *panel);
    model_weights_read(p->base, g->kind, g->layer, 0, n, base);
    for (size_t k = 0; k < p->K; k++) {
        json_t *sums = json_array_get(json_object_get(p->grad, name_of(p, g->kind, g->layer)), k);
        model_weights_read(p->experts[k], g->kind, g->layer, 0, n, expert);
        for (size_t row = 0; row < g->rows; row += PANEL_ROWS) {
            size_t rows = g->rows - row < PANEL_ROWS ? g->rows - row : PANEL_ROWS;
            weight_gradient_compute_rows(g, row, rows, panel);
            for (size_t i = 0; i < rows * width; i++) {
                size_t at = row * width + i;
                json_t *sum = json_array_get(sums, chunk_of(at, n, json_array_size(sums)));
                json_real_set(sum, json_real_value(sum) +
                                       (double)panel[i] * ((double)expert[at] - (double)base[at]));
            }
        }
    }
    free(base);
    free(expert);
    free(panel);
}

/* The states of one forward pass, (L + 2, N, d). */
struct states {
    float *x;
    size_t each;
};

static int store_state(void *context, size_t state, const float *x, struct error *e)
{
    struct states *s = context;
    memcpy(s->x + state * s->each, x, s->each * sizeof *x);
    return 0;
}

/* One case: its samples, the merged model's and the teachers' states, the loss. */
struct run {
    struct problem *problem;
    struct samples samples; /* of a case with images */
    struct token_batch batch;
    const size_t *expert; /* [sample] */
    struct states own, teachers[EXPERTS_MAX];
    json_t *spec;
    double loss;
    bool in_hidden_loss[64];
    size_t hidden_count;
};

static const float *load_state(void *context, size_t state, struct error *e)
{
    struct run *r = context;
    return r->own.x + state * r->own.each;
}

static double number(const struct run *r, const char *key)
{
    return json_number_value(json_object_get(r->spec, key));
}

/* The hidden loss of one state, x_{L+1} being hidden state L; its gradient is added to dx. */
static void add_hidden_loss(void *context, size_t state, float *dx)
{
    struct run *r = context;
    size_t width = arch_of(r->problem)->hidden, L = arch_of(r->problem)->layers;
    size_t hidden = state > L ? L : state, samples = r->batch.samples;
    if (!r->in_hidden_loss[hidden])
        return;
    for (size_t s = 0; s < samples; s++) {
        size_t from = r->batch.starts[s] * width, to = r->batch.starts[s + 1] * width;
        double scale =
            number(r, "hidden_weight") / (double)(r->hidden_count * (to - from) * samples);
        const float *own = r->own.x + state * r->own.each;
        const float *other = r->teachers[r->expert[s]].x + state * r->own.each;
        for (size_t i = from; i < to; i++) {
            double difference = (double)own[i] - (double)other[i];
            r->loss += scale * difference * difference;
            dx[i] += (float)(2 * scale * difference);
        }
    }
}

static void logit_forward_backward(struct run *r, struct lm *m, struct lm **teachers,
                                   const struct gradient_sink *sink, float *dx)
{
    const struct arch *a = arch_of(r->problem);
    float theta = (float)number(r, "temperature");
    size_t last = (a->layers + 1) * r->own.each;
    struct error e;
    for (size_t s = 0; s < r->batch.samples; s++) {
        size_t at = r->batch.starts[s] * a->hidden, n = r->batch.starts[s + 1] - r->batch.starts[s];
        float *z = mem_alloc(n * a->vocab, sizeof *z), *q = mem_alloc(n * a->vocab, sizeof *q);
        double *loss = mem_alloc(n, sizeof *loss);
        size_t k = r->expert[s];
        double scale = number(r, "logit_weight") / (double)(n * r->batch.samples);
        CHECK(!lm_logits(m, r->own.x + last + at, n, z, &e));
        CHECK(!lm_logits(teachers[k], r->teachers[k].x + last + at, n, q, &e));
        cross_entropy_soft_forward(z, q, theta, n, a->vocab, loss);
        cross_entropy_soft_backward(z, q, n, a->vocab, theta * (float)scale);
        for (size_t t = 0; t < n; t++)
            r->loss += scale * (double)theta * (double)theta * loss[t];
        CHECK(!lm_logits_backward(m, z, r->own.x + last + at, n, dx + at, sink, &e));
        free(z);
        free(q);
        free(loss);
    }
}

static struct states states_new(const struct run *r)
{
    const struct arch *a = arch_of(r->problem);
    size_t each = token_batch_tokens(&r->batch) * a->hidden;
    return (struct states){mem_alloc((a->layers + 2) * each, sizeof(float)), each};
}

static struct image_features *compute_features(const struct run *r, const struct weight_source *w)
{
    struct error e;
    struct image_features *s =
        image_features_compute(arch_of(r->problem), w, r->samples.images.images,
                               r->samples.images.n, NULL, 1 << 20, NULL, &e);
    CHECK(s != NULL);
    return s;
}

/* Loss and gradients with `room` tokens in a layer at once. */
static void compute_loss_and_gradients(struct run *r, size_t room)
{
    struct problem *p = r->problem;
    const struct arch *a = arch_of(p);
    const struct weight_source weights = {p, load_layer, load_rows};
    const struct gradient_sink sink = {p, wants, add};
    const struct backward_hooks hooks = {r, load_state, add_hidden_loss};
    size_t longest = token_batch_longest(&r->batch), n = token_batch_tokens(&r->batch) * a->hidden;
    struct lm *m = lm_new(a, &weights, room, longest), *teachers[EXPERTS_MAX];
    struct image_features *features = compute_features(r, &weights), *expert_features[EXPERTS_MAX];
    float *x = mem_alloc(n, sizeof *x);
    struct error e;
    r->own = states_new(r);
    lm_set_image_features(m, features);
    CHECK(!lm_forward(m, &r->batch, x, &(struct state_hook){&r->own, store_state}, &e));
    for (size_t k = 0; k < p->K; k++) {
        r->teachers[k] = states_new(r);
        teachers[k] = lm_new(a, model_weights_weight_source(p->experts[k]), room, longest);
        expert_features[k] = compute_features(r, model_weights_weight_source(p->experts[k]));
        lm_set_image_features(teachers[k], expert_features[k]);
        CHECK(!lm_forward(teachers[k], &r->batch, x,
                          &(struct state_hook){&r->teachers[k], store_state}, &e));
    }
    r->loss = 0;
    logit_forward_backward(r, m, teachers, &sink, x);
    add_hidden_loss(r, a->layers + 1, x);
    CHECK(!lm_backward(m, &r->batch, &hooks, x, &sink, &e));
    for (size_t k = 0; k < p->K; k++) {
        lm_free(teachers[k]);
        image_features_free(expert_features[k]);
        free(r->teachers[k].x);
    }
    free(r->own.x);
    free(x);
    lm_free(m);
    image_features_free(features);
}

/* The largest difference of two JSON trees of numbers, and the largest number of the second. */
static void compare_trees(json_t *a, json_t *b, double *worst, double *largest)
{
    void *i;
    if (json_is_number(b)) {
        *worst = fmax(*worst, fabs(json_number_value(a) - json_number_value(b)));
        *largest = fmax(*largest, fabs(json_number_value(b)));
    }
    for (size_t j = 0; j < json_array_size(b); j++)
        compare_trees(json_array_get(a, j), json_array_get(b, j), worst, largest);
    for (i = json_object_iter(b); i; i = json_object_iter_next(b, i))
        compare_trees(json_object_get(a, json_object_iter_key(i)), json_object_iter_value(i), worst,
                      largest);
}

static void set_zero(json_t *tree)
{
    for (size_t j = 0; j < json_array_size(tree); j++)
        set_zero(json_array_get(tree, j));
    for (void *i = json_object_iter(tree); i; i = json_object_iter_next(tree, i))
        set_zero(json_object_iter_value(i));
    if (json_is_real(tree))
        json_real_set(tree, 0);
}

static void check_variant(struct run *r, json_t *g, const char *variant, size_t room)
{
    struct problem *p = r->problem;
    json_t *result = json_object_get(json_object_get(g, "result"), variant);
    double loss = json_real_value(json_object_get(result, "loss")), worst = 0, largest = 0;
    p->alpha = json_object_get(json_object_get(g, "alpha"), variant);
    p->grad = json_deep_copy(p->alpha);
    set_zero(p->grad);
    compute_loss_and_gradients(r, room);
    compare_trees(p->grad, json_object_get(result, "grad"), &worst, &largest);
    bool equal = largest > 0 && worst <= 2e-5 * largest && fabs(r->loss - loss) <= 1e-5 * loss;
    if (!equal)
        fprintf(stderr, "%s: loss %.9g for %.9g, gradients off by %g of %g\n", variant, r->loss,
                loss, worst, largest);
    CHECK(equal);
    json_decref(p->grad);
    for (size_t i = 0; i < 2; i++) {
        free(p->table[i]);
        p->table[i] = NULL;
    }
}

static struct sequence read_sequence(json_t *sample)
{
    json_t *ids = json_object_get(sample, "input_ids");
    uint32_t *copy = mem_alloc(json_array_size(ids), sizeof *copy);
    for (size_t t = 0; t < json_array_size(ids); t++)
        copy[t] = (uint32_t)json_integer_value(json_array_get(ids, t));
    return (struct sequence){.ids = copy, .n = json_array_size(ids)};
}

/* Text samples are in golden.json, samples with images in samples.jsonl and tensors.safetensors. */
static void read_samples(struct run *r, const char *folder, json_t *samples)
{
    size_t n = json_array_size(samples);
    struct sequence *sequences = mem_alloc(n, sizeof *sequences);
    size_t *expert = mem_alloc(n, sizeof *expert);
    struct sample_requirements required = {.arch = arch_of(r->problem)};
    struct error e = {0};
    bool vision = required.arch->vision.kind != VISION_NONE;
    CHECK(!vision || (!samples_read(&r->samples, folder, &required, &e) && r->samples.n == n));
    for (size_t s = 0; s < n; s++) {
        json_t *sample = json_array_get(samples, s);
        sequences[s] = vision ? samples_sequence(&r->samples, s) : read_sequence(sample);
        expert[s] = (size_t)json_integer_value(json_object_get(sample, "expert"));
    }
    token_batch_build(&r->batch, arch_of(r->problem), sequences, n);
    r->expert = expert;
    for (size_t s = 0; s < n && !vision; s++)
        free((void *)sequences[s].ids);
    free(sequences);
}

static void check_case(const char *folder)
{
    struct problem p = {0};
    struct run r = {.problem = &p};
    struct error e = {0};
    json_t *g = json_load_file(golden_file(folder, "golden.json"), 0, NULL), *layers;
    p.K = json_array_size(json_object_get(g, "experts"));
    p.base = model_weights_open(golden_file(folder, "base"), NULL, NULL, "test_lm", &e);
    for (size_t k = 0; k < p.K; k++) {
        char name[32];
        snprintf(name, sizeof name, "expert%zu", k + 1);
        p.experts[k] = model_weights_open(golden_file(folder, name), NULL, NULL, "test_lm", &e);
        CHECK(p.experts[k] != NULL);
    }
    CHECK(p.base != NULL);
    if (e.text[0])
        fprintf(stderr, "%s: %s\n", folder, e.text);
    r.spec = json_object_get(g, "spec");
    layers = json_object_get(r.spec, "hidden_layers");
    r.hidden_count = json_array_size(layers);
    for (size_t i = 0; i < r.hidden_count; i++)
        r.in_hidden_loss[json_integer_value(json_array_get(layers, i))] = true;
    p.layer = mem_alloc(weight_kind_largest_range(arch_of(&p)), sizeof *p.layer);
    read_samples(&r, folder, json_object_get(g, "samples"));
    check_variant(&r, g, "scalar", 1);
    check_variant(&r, g, "scalar", 1000);
    check_variant(&r, g, "chunked", 1000);
    model_weights_close(p.base);
    for (size_t k = 0; k < p.K; k++)
        model_weights_close(p.experts[k]);
    free(p.layer);
    free((void *)r.expert);
    samples_free(&r.samples);
    token_batch_free(&r.batch);
    json_decref(g);
}

static void check_coefficients(void)
{
    glob_t found;
    char pattern[4200];
    snprintf(pattern, sizeof pattern, "%s/models/grad/*", golden);
    glob(pattern, 0, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char *folder = mem_copy_text(found.gl_pathv[i]);
        check_case(folder);
        free(folder);
    }
    CHECK(found.gl_pathc > 0);
    globfree(&found);
    snprintf(pattern, sizeof pattern, "%s/qwen3/gradient", repository_golden);
    check_case(pattern);
}

int main(int argc, char **argv)
{
    golden_find(argv[0]);
    parallel_set_threads(2);
    check_coefficients();
    return unit_end();
}
