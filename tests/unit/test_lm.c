/* The decoder's operations: backward passes against finite differences, attention against its
 * formula, and RoPE's angles against transformers. */
#include "arch_config.h"
#include "attention.h"
#include "ckpt.h"
#include "cross_entropy.h"
#include "golden.h"
#include "mem.h"
#include "parallel_for.h"
#include "rmsnorm.h"
#include "rope.h"
#include "swiglu.h"
#include "unit.h"

#include <jansson.h>

/* ---- finite differences ---------------------------------------------------------------------- */

static float random_float(void)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return (float)(state >> 8) / (1 << 23) - 1;
}

static void randomize(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = random_float();
}

/* y = f(x) for one operation, from n values to m. */
typedef void operation(const float *x, float *y);

/* Checks that dx is the gradient of <w, f(x)> by x, to 0.4 % of its largest value. */
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
    randomize(x, T * d);
    randomize(w, T * d);
    randomize(gain, d);
    rmsnorm_forward(x, gain, 1e-5f, T, d, y, r);
    for (size_t i = 0; i < T * d; i++)
        dx[i] = 1; /* the gradient is added to it */
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
    randomize(x, 2 * T * d);
    randomize(w, T * d);
    memcpy(dx, x, sizeof dx);
    swiglu_backward(w, dx, dx + T * d, T * d);
    check_gradient(swiglu, x, 2 * T * d, w, T * d, dx);
}

/* Two samples of 4 and 5 tokens; 4 query heads, 2 key and value heads of 2 values. */
enum { Q = T * 8, KV = T * 4 };
static size_t starts[] = {0, 4, 9}, window;

static struct attention attention_over(const float *x)
{
    return (struct attention){2, starts, 4, 2, 2, window, false, x, x + Q, x + Q + KV};
}

static float *scratch(void)
{
    static float *area;
    return area ? area : (area = mem_alloc(attention_scratch_floats(T), sizeof *area));
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
        randomize(x, Q + 2 * KV);
        randomize(w, Q);
        struct attention a = attention_over(x);
        attention_forward(&a, o, log_sums, scratch());
        attention_backward(&a, o, log_sums, w, dx, dx + Q, dx + Q + KV, scratch());
        check_gradient(attend, x, Q + 2 * KV, w, Q, dx);
    }
}

/* More tokens than a block of queries has, with and without a window, against the formula. */
static void check_long_attention(void)
{
    enum { N = 300, D = 4 };
    float *x = mem_alloc(3 * N * D, sizeof *x), *o = mem_alloc(N * D, sizeof *o);
    float *area = mem_alloc(attention_scratch_floats(N), sizeof *area);
    float log_sums[N];
    size_t all[] = {0, N};
    randomize(x, 3 * N * D);
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

static float teacher[T * V];

static void soft_loss(const float *x, float *y)
{
    float z[T * V], q[T * V];
    double loss[T];
    memcpy(z, x, sizeof z);
    memcpy(q, teacher, sizeof q);
    cross_entropy_soft_forward(z, q, 2, T, V, loss);
    for (size_t t = 0; t < T; t++)
        y[t] = 4 * (float)loss[t];
}

static void own_loss(const float *x, float *y)
{
    float z[T * V], q[T * V];
    double loss[T];
    memcpy(z, x, sizeof z);
    memcpy(q, x, sizeof q);
    cross_entropy_soft_forward(z, q, 2, T, V, loss);
    for (size_t t = 0; t < T; t++)
        y[t] = 4 * (float)loss[t];
}

static void check_losses(void)
{
    float x[T * V], z[T * V], q[T * V], w[T];
    double loss[T];
    randomize(x, T * V);
    randomize(teacher, T * V);
    for (size_t t = 0; t < T; t++)
        w[t] = 0.5f;
    memcpy(z, x, sizeof z);
    memcpy(q, teacher, sizeof q);
    cross_entropy_soft_forward(z, q, 2, T, V, loss);
    cross_entropy_soft_backward(z, q, T, V, 0.5f * 2);
    check_gradient(soft_loss, x, T * V, w, T, z);
    memcpy(z, x, sizeof z);
    memcpy(q, x, sizeof q);
    cross_entropy_soft_forward(z, q, 2, T, V, loss);
    cross_entropy_own_backward(z, loss, T, V, 0.5f * 2);
    check_gradient(own_loss, x, T * V, w, T, z);
}

/* Large logits: only their differences matter, and nothing overflows. */
static void check_extreme_losses(void)
{
    float z[] = {1e4f, 1e4f, -1e4f}, y[] = {-3e4f, -3e4f, 1e4f};
    uint32_t target = 2;
    double loss;
    cross_entropy_soft_forward(z, y, 1, 1, 3, &loss);
    CHECK(fabs(loss - (2e4 + log(2))) < 0.01);
    float far[] = {1e4f, 0, -1e4f};
    cross_entropy_forward(far, &target, 1, 3, &loss);
    CHECK(fabs(loss - 2e4) < 0.01 && far[0] == 1 && far[2] == 0);
    float certain[] = {1e4f, 0, -1e4f}, same[] = {1e4f, 0, -1e4f};
    cross_entropy_soft_forward(certain, same, 1, 1, 3, &loss);
    cross_entropy_own_backward(certain, &loss, 1, 3, 1);
    CHECK(loss == 0 && certain[0] == 0 && certain[1] == 0 && certain[2] == 0);
}

/* ---- RoPE ------------------------------------------------------------------------------------ */

/* The architecture with the RoPE parameters of an item of rope/golden.json. */
static bool arch_of_item(json_t *item, struct arch *a)
{
    struct error e;
    bool duplicates;
    json_t *config =
        json_pack("{s:[s], s:o, s:O, s:i, s:i}", "architectures", "LlamaForCausalLM", "head_dim",
                  json_copy(json_object_get(item, "head_dim")), "rope_theta",
                  json_object_get(item, "theta"), "hidden_size", 256, "num_attention_heads", 2);
    static const char *const keys[] = {"rope_scaling", "max_position_embeddings"};
    for (size_t i = 0; i < 2; i++)
        if (json_object_get(item, keys[i]))
            json_object_set(config, keys[i], json_object_get(item, keys[i]));
    char *text = json_dumps(config, 0);
    bool read = !arch_config_read(a, "an item", text, strlen(text), &duplicates, &e);
    free(text);
    json_decref(config);
    return read;
}

static const float *floats_of(const struct ckpt *c, const char *name, const char *what, size_t *n)
{
    char full[256];
    snprintf(full, sizeof full, "%s.%s", name, what);
    long i = ckpt_find_tensor(c, full);
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
    rope_compute_tables(&a, last + 1, NULL, cos_, sin_);
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
        fprintf(stderr, "rope %s: differs by %g\n", name, worst);
    CHECK(n > 0 && worst <= 1e-5);
    free(cos_);
    free(sin_);
    arch_free(&a);
}

static void check_rope(void)
{
    char folder[4200];
    struct error e;
    snprintf(folder, sizeof folder, "%s/models/rope", golden);
    json_t *g = json_load_file(golden_file(folder, "golden.json"), 0, NULL);
    struct ckpt *c = ckpt_open(golden_file(folder, "golden.safetensors"), NULL, NULL, &e);
    json_t *items = json_object_get(g, "items");
    CHECK(g && c);
    for (size_t i = 0; c && i < json_array_size(items); i++)
        check_item(c, json_object_get(g, "positions"), json_array_get(items, i));
    ckpt_close(c);
    json_decref(g);
}

int main(int argc, char **argv)
{
    golden_find(argv[0]);
    parallel_set_threads(2);
    check_norm();
    check_swiglu();
    check_attention();
    check_long_attention();
    check_losses();
    check_extreme_losses();
    check_rope();
    free(scratch());
    return unit_end();
}
