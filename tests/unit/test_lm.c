/* The decoder: angles and coefficient gradients against what transformers and autograd compute, and
 * each operation's way back against finite differences. */
#include "attention.h"
#include "backbone.h"
#include "gemm.h"
#include "golden.h"
#include "ops.h"
#include "rope.h"
#include "unit.h"

#include <glob.h>
#include <jansson.h>

static const char *path_of(const char *folder, const char *name)
{
    static char path[5000];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* ---- finite differences ------------------------------------------------------------------------
 */

static float random_float(void)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return (float)(state >> 8) / (1 << 23) - 1;
}

static void randomise(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = random_float();
}

/* y = f(x) for one operation, n numbers in, m out. */
typedef void operation(const float *x, float *y);

/* Is dx the gradient of <w, f(x)> by x? To some thousandths of its largest value. */
static void check_gradient(operation *f, float *x, size_t n, const float *w, size_t m,
                           const float *dx)
{
    const float h = 1.0f / 128;
    float *low = mem_alloc(m, sizeof *low), *high = mem_alloc(m, sizeof *high);
    double worst = 0, most = 0;
    for (size_t i = 0; i < n; i++) {
        float old = x[i];
        double slope = 0;
        x[i] = old + h;
        f(x, high);
        x[i] = old - h;
        f(x, low);
        x[i] = old;
        for (size_t j = 0; j < m; j++)
            slope += (double)w[j] * ((double)high[j] - (double)low[j]);
        slope /= 2 * (double)h;
        worst = fmax(worst, fabs(slope - (double)dx[i]));
        most = fmax(most, fabs((double)dx[i]));
    }
    CHECK(worst <= 4e-3 * most);
    free(low);
    free(high);
}

enum { T = 9, d = 6, V = 7 };
static float gain[d];

static void norm(const float *x, float *y)
{
    float r[T];
    rmsnorm_forward(x, gain, 1e-5f, T, d, y, r);
}

static void check_norm(void)
{
    float x[T * d], y[T * d], w[T * d], r[T], dx[T * d];
    randomise(x, T * d);
    randomise(w, T * d);
    randomise(gain, d);
    rmsnorm_forward(x, gain, 1e-5f, T, d, y, r);
    for (size_t i = 0; i < T * d; i++)
        dx[i] = 1; /* what is there is added to */
    rmsnorm_backward(w, x, gain, r, T, d, dx);
    for (size_t i = 0; i < T * d; i++)
        dx[i] -= 1;
    check_gradient(norm, x, T * d, w, T * d, dx);
}

static void swiglu(const float *x, float *y)
{
    swiglu_forward(x, x + T * d, T * d, y);
}

static void check_swiglu(void)
{
    float x[2 * T * d], w[T * d], dx[2 * T * d];
    randomise(x, 2 * T * d);
    randomise(w, T * d);
    memcpy(dx, x, sizeof dx);
    swiglu_backward(w, dx, dx + T * d, T * d);
    check_gradient(swiglu, x, 2 * T * d, w, T * d, dx);
}

/* Two samples of 4 and 5 tokens, 4 query heads over 2, each of 2 numbers. */
enum { Q = T * 8, KV = T * 4 };
static size_t starts[] = {0, 4, 9}, window;

static struct attention attention_over(const float *x)
{
    return (struct attention){2, starts, 4, 2, 2, window, false, x, x + Q, x + Q + KV};
}

static float *scratch(void)
{
    static float *area;
    return area ? area : (area = mem_alloc(attention_scratch(T), sizeof *area));
}

static void attend(const float *x, float *y)
{
    struct attention a = attention_over(x);
    float log_sums[T * 4];
    attention_forward(&a, y, log_sums, scratch());
}

static void check_attention(void)
{
    float x[Q + 2 * KV], w[Q], o[Q], log_sums[T * 4], dx[Q + 2 * KV];
    for (window = 0; window < 4; window++) {
        randomise(x, Q + 2 * KV);
        randomise(w, Q);
        struct attention a = attention_over(x);
        attention_forward(&a, o, log_sums, scratch());
        attention_backward(&a, o, log_sums, w, dx, dx + Q, dx + Q + KV, scratch());
        check_gradient(attend, x, Q + 2 * KV, w, Q, dx);
    }
}

/* More tokens than are taken at once, with and without a window, against the formula. */
static void check_long_attention(void)
{
    enum { N = 300, D = 4 };
    float *x = mem_alloc(3 * N * D, sizeof *x), *o = mem_alloc(N * D, sizeof *o);
    float *area = mem_alloc(attention_scratch(N), sizeof *area);
    float log_sums[N];
    size_t all[] = {0, N};
    randomise(x, 3 * N * D);
    for (size_t w = 0; w <= 140; w += 140) {
        struct attention a = {1, all, 1, 1, D, w, false, x, x + N * D, x + 2 * N * D};
        double worst = 0;
        attention_forward(&a, o, log_sums, area);
        for (size_t i = 0; i < N; i++) {
            double sum = 0, mean[D] = {0};
            for (size_t j = w && i + 1 > w ? i + 1 - w : 0; j <= i; j++) {
                double dot = 0;
                for (size_t c = 0; c < D; c++)
                    dot += (double)a.q[i * D + c] * (double)a.k[j * D + c];
                double p = exp(dot / sqrt(D));
                sum += p;
                for (size_t c = 0; c < D; c++)
                    mean[c] += p * (double)a.v[j * D + c];
            }
            for (size_t c = 0; c < D; c++)
                worst = fmax(worst, fabs(mean[c] / sum - (double)o[i * D + c]));
        }
        CHECK(worst < 2e-6);
    }
    free(x);
    free(o);
    free(area);
}

static const uint32_t targets[T] = {1, 0, 6, 3, 3, 2, 5, 4, 0};

static void hard_loss(const float *x, float *y)
{
    float z[T * V];
    double loss[T];
    memcpy(z, x, sizeof z);
    crossentropy_forward(z, targets, T, V, loss);
    for (size_t t = 0; t < T; t++)
        y[t] = (float)loss[t];
}

static float teacher[T * V];

static void soft_loss(const float *x, float *y)
{
    float z[T * V], q[T * V];
    double loss[T];
    memcpy(z, x, sizeof z);
    memcpy(q, teacher, sizeof q);
    softcross_forward(z, q, 2, T, V, loss);
    for (size_t t = 0; t < T; t++)
        y[t] = 4 * (float)loss[t];
}

static void check_losses(void)
{
    float x[T * V], z[T * V], q[T * V], w[T];
    double loss[T];
    randomise(x, T * V);
    randomise(teacher, T * V);
    for (size_t t = 0; t < T; t++)
        w[t] = 0.5f;
    memcpy(z, x, sizeof z);
    crossentropy_forward(z, targets, T, V, loss);
    crossentropy_backward(z, targets, T, V, 0.5f);
    check_gradient(hard_loss, x, T * V, w, T, z);
    memcpy(z, x, sizeof z);
    memcpy(q, teacher, sizeof q);
    softcross_forward(z, q, 2, T, V, loss);
    softcross_backward(z, q, T, V, 0.5f * 2);
    check_gradient(soft_loss, x, T * V, w, T, z);
}

/* Far apart: only the differences of logits count, and nothing overflows. */
static void check_extreme_losses(void)
{
    float z[] = {1e4f, 1e4f, -1e4f}, y[] = {-3e4f, -3e4f, 1e4f};
    uint32_t target = 2;
    double loss;
    softcross_forward(z, y, 1, 1, 3, &loss);
    CHECK(fabs(loss - (2e4 + log(2))) < 0.01);
    float far[] = {1e4f, 0, -1e4f};
    crossentropy_forward(far, &target, 1, 3, &loss);
    CHECK(fabs(loss - 2e4) < 0.01 && far[0] == 1 && far[2] == 0);
}

/* ---- products ----------------------------------------------------------------------------------
 */

static void check_products(void)
{
    enum { M = 150, N = 170, K = 190 };
    float *A = mem_alloc(M * K, sizeof *A), *B = mem_alloc(N * K, sizeof *B);
    float *C = mem_alloc(M * N, sizeof *C), *one = mem_alloc(M * N, sizeof *one);
    randomise(A, M * K);
    randomise(B, N * K);
    struct error e;
    for (size_t threads = 1; threads <= 6; threads++) {
        CHECK(!gemm_open(threads, &e));
        gemm_nt(M, N, K, 1, A, K, B, K, 0, C, N);
        if (threads == 1)
            memcpy(one, C, M * N * sizeof *C);
        double worst = 0;
        for (size_t i = 0; i < M * N; i++)
            worst = fmax(worst, fabs((double)C[i] - (double)one[i]));
        CHECK(worst < 1e-4);
    }
    double exact = 0;
    for (size_t k = 0; k < K; k++)
        exact += (double)A[7 * K + k] * (double)B[11 * K + k];
    CHECK(fabs(exact - (double)one[7 * N + 11]) < 1e-4);
    free(A);
    free(B);
    free(C);
    free(one);
}

/* ---- angles ------------------------------------------------------------------------------------
 */

/* The recipe of an item of rope/golden.json, read as part of a config. */
static bool arch_of_item(json_t *item, struct arch *a)
{
    struct error e;
    bool twice;
    json_t *config =
        json_pack("{s:[s], s:o, s:O, s:i, s:i}", "architectures", "LlamaForCausalLM", "head_dim",
                  json_copy(json_object_get(item, "head_dim")), "rope_theta",
                  json_object_get(item, "theta"), "hidden_size", 256, "num_attention_heads", 2);
    static const char *const keys[] = {"rope_scaling", "max_position_embeddings"};
    for (size_t i = 0; i < 2; i++)
        if (json_object_get(item, keys[i]))
            json_object_set(config, keys[i], json_object_get(item, keys[i]));
    char *text = json_dumps(config, 0);
    bool read = !arch_read(a, "an item", text, strlen(text), &twice, &e);
    free(text);
    json_decref(config);
    return read;
}

static const float *floats_of(const struct ckpt *c, const char *name, const char *what, size_t *n)
{
    char full[256];
    snprintf(full, sizeof full, "%s.%s", name, what);
    long i = ckpt_find(c, full);
    if (i < 0)
        return NULL;
    *n = ckpt_tensor(c, (size_t)i)->elements;
    return (const float *)(const void *)ckpt_tensor(c, (size_t)i)->data;
}

static void check_item(const struct ckpt *c, json_t *positions, json_t *item)
{
    const char *name = json_string_value(json_object_get(item, "name"));
    struct arch a;
    size_t n;
    if (json_object_get(item, "vision") || !arch_of_item(item, &a))
        return;
    size_t half = a.head_dim / 2, last = 32767;
    float *cos_ = mem_alloc((last + 1) * half, sizeof *cos_);
    float *sin_ = mem_alloc((last + 1) * half, sizeof *sin_);
    rope_tables(&a, last + 1, NULL, cos_, sin_);
    const float *expected_cos = floats_of(c, name, "cos.f32", &n);
    const float *expected_sin = floats_of(c, name, "sin.f32", &n);
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        size_t t = (size_t)json_integer_value(json_array_get(positions, i / half));
        size_t at = t * half + i % half;
        worst = fmax(worst, fabs((double)cos_[at] - (double)expected_cos[i]));
        worst = fmax(worst, fabs((double)sin_[at] - (double)expected_sin[i]));
    }
    if (worst > 1e-5)
        fprintf(stderr, "rope %s: off by %g\n", name, worst);
    CHECK(n > 0 && worst <= 1e-5);
    free(cos_);
    free(sin_);
    arch_free(&a);
}

static void check_angles(void)
{
    char folder[4200];
    struct error e;
    snprintf(folder, sizeof folder, "%s/models/rope", golden);
    json_t *g = json_load_file(path_of(folder, "golden.json"), 0, NULL);
    struct ckpt *c = ckpt_open(path_of(folder, "golden.safetensors"), NULL, NULL, &e);
    json_t *items = json_object_get(g, "items");
    CHECK(g && c);
    for (size_t i = 0; c && i < json_array_size(items); i++)
        check_item(c, json_object_get(g, "positions"), json_array_get(items, i));
    ckpt_close(c);
    json_decref(g);
}

/* ---- coefficients ------------------------------------------------------------------------------
 */

#define EXPERTS_MAX 3
#define PANEL       5 /* rows of a gradient at a time: few, so that there are many */

/* Base and experts, merged with a coefficient per tensor, chunk and expert, as weights. */
struct problem {
    struct backbone *base, *experts[EXPERTS_MAX];
    size_t K;
    json_t *alpha; /* name -> [K][chunks] */
    json_t *grad;  /* the same: what came out */
    float *layer, *table[2];
};

static const struct arch *arch_of(const struct problem *p)
{
    return backbone_arch(p->base);
}

static const char *name_of(const struct problem *p, enum part part, size_t layer)
{
    return input_tensor(backbone_input(p->base), (size_t)backbone_tensor(p->base, part, layer))
        ->name;
}

/* Element i of n belongs to this chunk of `chunks`. */
static size_t chunk_of(size_t i, size_t n, size_t chunks)
{
    return i / ((n + chunks - 1) / chunks);
}

static void merge(const struct problem *p, enum part part, size_t layer, float *to)
{
    size_t n = arch_part_elements(arch_of(p), part);
    float *base = mem_alloc(n, sizeof *base), *expert = mem_alloc(n, sizeof *expert);
    json_t *alpha = json_object_get(p->alpha, name_of(p, part, layer));
    backbone_read(p->base, part, layer, 0, n, base);
    memcpy(to, base, n * sizeof *to);
    for (size_t k = 0; k < p->K; k++) {
        json_t *chunks = json_array_get(alpha, k);
        backbone_read(p->experts[k], part, layer, 0, n, expert);
        for (size_t i = 0; i < n; i++) {
            size_t c = chunk_of(i, n, json_array_size(chunks));
            to[i] += (float)json_real_value(json_array_get(chunks, c)) * (expert[i] - base[i]);
        }
    }
    free(base);
    free(expert);
}

static int give_layer(void *context, struct parts parts, size_t layer, struct layer_weights *w,
                      struct error *e)
{
    struct problem *p = context;
    size_t at = 0;
    (void)e;
    *w = (struct layer_weights){{0}};
    for (enum part part = parts.first; part < parts.end; part++) {
        if (!arch_part_elements(arch_of(p), part))
            continue;
        merge(p, part, layer, p->layer + at);
        w->at[part] = p->layer + at;
        at += arch_part_elements(arch_of(p), part);
    }
    return 0;
}

static const float *give_rows(void *context, enum part part, size_t first, size_t n, float *to,
                              struct error *e)
{
    struct problem *p = context;
    size_t width = part == PART_NORM ? 1 : arch_of(p)->hidden;
    float **table = &p->table[part == PART_HEAD];
    (void)e;
    if (part == PART_NORM) {
        merge(p, part, 0, to);
        return to;
    }
    if (!*table) {
        *table = mem_alloc(arch_part_elements(arch_of(p), part), sizeof **table);
        merge(p, part, 0, *table);
    }
    memcpy(to, *table + first * width, n * width * sizeof *to);
    return to;
}

static bool wants(void *context, enum part part, size_t layer)
{
    (void)context;
    (void)part;
    (void)layer;
    return true;
}

/* grad[k][chunk] += <dW, expert_k - base>, panel by panel. */
static void take(void *context, const struct gradient *g)
{
    struct problem *p = context;
    size_t width = g->columns ? g->columns : 1, n = g->rows * width;
    float *base = mem_alloc(n, sizeof *base), *expert = mem_alloc(n, sizeof *expert);
    float *panel = mem_alloc(PANEL * width, sizeof *panel);
    backbone_read(p->base, g->part, g->layer, 0, n, base);
    for (size_t k = 0; k < p->K; k++) {
        json_t *sums = json_array_get(json_object_get(p->grad, name_of(p, g->part, g->layer)), k);
        backbone_read(p->experts[k], g->part, g->layer, 0, n, expert);
        for (size_t row = 0; row < g->rows; row += PANEL) {
            size_t rows = g->rows - row < PANEL ? g->rows - row : PANEL;
            gradient_rows(g, row, rows, panel);
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

static int keep(void *context, size_t state, const float *x, struct error *e)
{
    struct states *s = context;
    (void)e;
    memcpy(s->x + state * s->each, x, s->each * sizeof *x);
    return 0;
}

/* One run: samples, their teachers' states and logits, the loss. */
struct run {
    struct problem *problem;
    struct pack pack;
    const size_t *expert; /* [sample] */
    struct states own, teachers[EXPERTS_MAX];
    json_t *spec;
    double loss;
    bool hidden_wanted[64];
    size_t hidden_count;
};

static const float *tape_state(void *context, size_t state, struct error *e)
{
    struct run *r = context;
    (void)e;
    return r->own.x + state * r->own.each;
}

static double number(const struct run *r, const char *key)
{
    return json_number_value(json_object_get(r->spec, key));
}

/* The hidden loss of one state, x_{L+1} being hidden state L; its gradient is added to dx. */
static void add_hidden(void *context, size_t state, float *dx)
{
    struct run *r = context;
    size_t width = arch_of(r->problem)->hidden, L = arch_of(r->problem)->layers;
    size_t hidden = state > L ? L : state, samples = r->pack.samples;
    if (!r->hidden_wanted[hidden])
        return;
    for (size_t s = 0; s < samples; s++) {
        size_t from = r->pack.starts[s] * width, to = r->pack.starts[s + 1] * width;
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

static void logit_loss(struct run *r, struct lm *m, struct lm **teachers,
                       const struct gradient_taker *taker, float *dx)
{
    const struct arch *a = arch_of(r->problem);
    float theta = (float)number(r, "temperature");
    size_t last = (a->layers + 1) * r->own.each;
    struct error e;
    for (size_t s = 0; s < r->pack.samples; s++) {
        size_t at = r->pack.starts[s] * a->hidden, n = r->pack.starts[s + 1] - r->pack.starts[s];
        float *z = mem_alloc(n * a->vocab, sizeof *z), *q = mem_alloc(n * a->vocab, sizeof *q);
        double *loss = mem_alloc(n, sizeof *loss);
        size_t k = r->expert[s];
        double scale = number(r, "logit_weight") / (double)(n * r->pack.samples);
        CHECK(!lm_logits(m, r->own.x + last + at, n, z, &e));
        CHECK(!lm_logits(teachers[k], r->teachers[k].x + last + at, n, q, &e));
        softcross_forward(z, q, theta, n, a->vocab, loss);
        softcross_backward(z, q, n, a->vocab, theta * (float)scale);
        for (size_t t = 0; t < n; t++)
            r->loss += scale * (double)theta * (double)theta * loss[t];
        CHECK(!lm_logits_backward(m, z, r->own.x + last + at, n, dx + at, taker, &e));
        free(z);
        free(q);
        free(loss);
    }
}

static struct states states_new(const struct run *r)
{
    const struct arch *a = arch_of(r->problem);
    size_t each = pack_tokens(&r->pack) * a->hidden;
    return (struct states){mem_alloc((a->layers + 2) * each, sizeof(float)), each};
}

/* Loss and gradients with `room` tokens in a layer at once. */
static void solve(struct run *r, size_t room)
{
    struct problem *p = r->problem;
    const struct arch *a = arch_of(p);
    const struct lm_weights weights = {p, give_layer, give_rows};
    const struct gradient_taker taker = {p, wants, take};
    const struct lm_tape tape = {r, tape_state, add_hidden};
    size_t longest = pack_longest(&r->pack), n = pack_tokens(&r->pack) * a->hidden;
    struct lm *m = lm_new(a, &weights, room, longest), *teachers[EXPERTS_MAX];
    float *x = mem_alloc(n, sizeof *x);
    struct error e;
    r->own = states_new(r);
    CHECK(!lm_forward(m, &r->pack, x, &(struct lm_keeper){&r->own, keep}, &e));
    for (size_t k = 0; k < p->K; k++) {
        r->teachers[k] = states_new(r);
        teachers[k] = lm_new(a, backbone_weights(p->experts[k]), room, longest);
        CHECK(
            !lm_forward(teachers[k], &r->pack, x, &(struct lm_keeper){&r->teachers[k], keep}, &e));
    }
    r->loss = 0;
    logit_loss(r, m, teachers, &taker, x);
    add_hidden(r, a->layers + 1, x);
    CHECK(!lm_backward(m, &r->pack, &tape, x, &taker, &e));
    for (size_t k = 0; k < p->K; k++) {
        lm_free(teachers[k]);
        free(r->teachers[k].x);
    }
    free(r->own.x);
    free(x);
    lm_free(m);
}

/* Largest difference of two trees of numbers, and the largest number of the second. */
static void compare(json_t *a, json_t *b, double *worst, double *most)
{
    void *i;
    if (json_is_number(b)) {
        *worst = fmax(*worst, fabs(json_number_value(a) - json_number_value(b)));
        *most = fmax(*most, fabs(json_number_value(b)));
    }
    for (size_t j = 0; j < json_array_size(b); j++)
        compare(json_array_get(a, j), json_array_get(b, j), worst, most);
    for (i = json_object_iter(b); i; i = json_object_iter_next(b, i))
        compare(json_object_get(a, json_object_iter_key(i)), json_object_iter_value(i), worst,
                most);
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
    double loss = json_real_value(json_object_get(result, "loss")), worst = 0, most = 0;
    p->alpha = json_object_get(json_object_get(g, "alpha"), variant);
    p->grad = json_deep_copy(p->alpha);
    set_zero(p->grad);
    solve(r, room);
    compare(p->grad, json_object_get(result, "grad"), &worst, &most);
    bool right = most > 0 && worst <= 1e-5 * most && fabs(r->loss - loss) <= 1e-5 * loss;
    if (!right)
        fprintf(stderr, "%s: loss %.9g for %.9g, gradients off by %g of %g\n", variant, r->loss,
                loss, worst, most);
    CHECK(right);
    json_decref(p->grad);
    for (size_t i = 0; i < 2; i++) {
        free(p->table[i]);
        p->table[i] = NULL;
    }
}

static void read_samples(struct run *r, json_t *samples)
{
    size_t n = json_array_size(samples);
    struct sequence *sequences = mem_alloc(n, sizeof *sequences);
    size_t *expert = mem_alloc(n, sizeof *expert);
    for (size_t s = 0; s < n; s++) {
        json_t *sample = json_array_get(samples, s), *ids = json_object_get(sample, "input_ids");
        uint32_t *copy = mem_alloc(json_array_size(ids), sizeof *copy);
        for (size_t t = 0; t < json_array_size(ids); t++)
            copy[t] = (uint32_t)json_integer_value(json_array_get(ids, t));
        sequences[s] = (struct sequence){.ids = copy, .n = json_array_size(ids)};
        expert[s] = (size_t)json_integer_value(json_object_get(sample, "expert"));
    }
    pack_fill(&r->pack, arch_of(r->problem), sequences, n);
    r->expert = expert;
    for (size_t s = 0; s < n; s++)
        free((void *)sequences[s].ids);
    free(sequences);
}

static void check_case(const char *folder)
{
    struct problem p = {0};
    struct run r = {.problem = &p};
    struct error e = {0};
    json_t *g = json_load_file(path_of(folder, "golden.json"), 0, NULL), *layers;
    p.K = json_array_size(json_object_get(g, "experts"));
    p.base = backbone_open(path_of(folder, "base"), NULL, NULL, "test_lm", &e);
    for (size_t k = 0; k < p.K; k++) {
        char name[32];
        snprintf(name, sizeof name, "expert%zu", k + 1);
        p.experts[k] = backbone_open(path_of(folder, name), NULL, NULL, "test_lm", &e);
        CHECK(p.experts[k] != NULL);
    }
    CHECK(p.base != NULL);
    if (e.text[0])
        fprintf(stderr, "%s: %s\n", folder, e.text);
    r.spec = json_object_get(g, "spec");
    layers = json_object_get(r.spec, "hidden_layers");
    r.hidden_count = json_array_size(layers);
    for (size_t i = 0; i < r.hidden_count; i++)
        r.hidden_wanted[json_integer_value(json_array_get(layers, i))] = true;
    p.layer = mem_alloc(arch_parts_most(arch_of(&p)), sizeof *p.layer);
    read_samples(&r, json_object_get(g, "samples"));
    check_variant(&r, g, "scalar", 1);
    check_variant(&r, g, "scalar", 1000);
    check_variant(&r, g, "chunked", 1000);
    backbone_close(p.base);
    for (size_t k = 0; k < p.K; k++)
        backbone_close(p.experts[k]);
    free(p.layer);
    free((void *)r.expert);
    pack_free(&r.pack);
    json_decref(g);
}

/* Cases whose models are of text alone have no samples.jsonl. */
static void check_coefficients(void)
{
    glob_t found;
    char pattern[4200];
    size_t cases = 0;
    snprintf(pattern, sizeof pattern, "%s/models/grad/*", golden);
    glob(pattern, 0, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char *folder = mem_text(found.gl_pathv[i]);
        FILE *images = fopen(path_of(folder, "samples.jsonl"), "r");
        if (images) {
            fclose(images);
        } else {
            check_case(folder);
            cases++;
        }
        free(folder);
    }
    globfree(&found);
    CHECK(cases > 0);
}

int main(int argc, char **argv)
{
    struct error e;
    (void)argc;
    golden_find(argv[0]);
    if (gemm_open(1, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return EXIT_FAILURE;
    }
    check_products();
    gemm_open(2, &e);
    check_norm();
    check_swiglu();
    check_attention();
    check_long_attention();
    check_losses();
    check_extreme_losses();
    check_angles();
    check_coefficients();
    free(scratch());
    return unit_end();
}
