/* Vision towers and projectors against transformers, and their operations against plain F64
 * arithmetic. */
#include "bicubic.h"
#include "gelu.h"
#include "golden.h"
#include "image_features.h"
#include "layernorm.h"
#include "mem.h"
#include "model_weights.h"
#include "parallel_for.h"
#include "projector.h"
#include "unit.h"
#include "vision_tower.h"

/* ---- operations ------------------------------------------------------------------------------ */

enum { T = 3, d = 37 };

static void check_gelu(void)
{
    double worst = 0, slope = 0, quick = 0;
    for (int i = -400; i <= 400; i++) {
        float x = (float)i / 40, y, dx = x, dy = 1, q = x;
        double exact = (double)x * 0.5 * erfc(-(double)x / sqrt(2));
        double by_x = 0.5 * erfc(-(double)x / sqrt(2)) +
                      (double)x * exp(-0.5 * (double)x * (double)x) / sqrt(2 * acos(-1));
        gelu_forward(&x, 1, 1, &y);
        gelu_backward(&dy, 1, 1, &dx);
        gelu_quick_forward(&q, 1, 1);
        worst = fmax(worst, fabs((double)y - exact));
        slope = fmax(slope, fabs((double)dx - by_x));
        quick = fmax(quick, fabs((double)q - (double)x / (1 + exp(-1.702 * (double)x))));
    }
    CHECK(worst < 1e-6 && slope < 1e-6 && quick < 2e-6);
}

static void check_layernorm(void)
{
    const float eps = 1e-3f;
    float x[T * d], g[d], b[d], y[T * d], dgain[T * d];
    for (size_t i = 0; i < T * d; i++)
        x[i] = 3 + (float)((i * 37) % 23) / 7;
    for (size_t i = 0; i < d; i++) {
        g[i] = 1 + (float)(i % 5) / 4;
        b[i] = (float)(i % 3) - 1;
    }
    layernorm_forward(x, g, b, eps, T, d, y);
    layernorm_backward_gain(y, x, eps, T, d, dgain);
    for (size_t t = 0; t < T; t++) {
        double mean = 0, variance = 0;
        for (size_t i = 0; i < d; i++)
            mean += (double)x[t * d + i] / d;
        for (size_t i = 0; i < d; i++)
            variance += pow((double)x[t * d + i] - mean, 2) / d;
        for (size_t i = t * d; i < (t + 1) * d; i++) {
            double n = ((double)x[i] - mean) / sqrt(variance + (double)eps);
            CHECK(fabs((double)y[i] - n * (double)g[i % d] - (double)b[i % d]) < 1e-5);
            CHECK(fabs((double)dgain[i] - (double)y[i] * n) < 1e-5);
        }
    }
}

/* A table stays the same on its own grid, and a constant one stays constant on any other. */
static void check_bicubic(void)
{
    float from[4 * 4 * 2], to[6 * 5 * 2];
    for (size_t i = 0; i < 4 * 4 * 2; i++)
        from[i] = (float)((i * 7) % 11);
    bicubic_resize(from, 4, 2, 4, 4, to);
    CHECK(memcmp(from, to, sizeof from) == 0);
    for (size_t i = 0; i < 4 * 4 * 2; i++)
        from[i] = i % 2 ? 5 : -2;
    bicubic_resize(from, 4, 2, 6, 5, to);
    for (size_t i = 0; i < 6 * 5 * 2; i++)
        CHECK(fabs((double)to[i] - (i % 2 ? 5 : -2)) < 1e-5);
}

/* ---- towers ---------------------------------------------------------------------------------- */

/* Checks n values against a tensor of the golden data, to 2e-5 of its largest value. */
static void compare(const struct model_source *data, const char *image, const char *what,
                    const float *x, size_t n)
{
    char name[128];
    snprintf(name, sizeof name, "img.%s.%s.f64", image, what);
    long i = model_source_find_tensor(data, name);
    double *expected = mem_alloc(n, sizeof *expected), worst = 0, largest = 0;
    CHECK(i >= 0);
    model_source_read_f64(data, (size_t)i, 0, n, DTYPE_NONE, expected);
    for (size_t j = 0; j < n; j++) {
        worst = fmax(worst, fabs((double)x[j] - expected[j]));
        largest = fmax(largest, fabs(expected[j]));
    }
    if (!(worst <= 2e-5 * largest))
        fprintf(stderr, "%s: differs by %g of %g\n", name, worst, largest);
    CHECK(largest > 0 && worst <= 2e-5 * largest);
    free(expected);
}

/* A case of the golden data: its model in one of its name schemes, and the expected results. */
struct vision_case {
    struct model_weights *model;
    struct model_source *data, *pixels;
};

static struct vision_case open_case(const char *folder, const char *scheme)
{
    struct error e = {0};
    char folder_path[4200];
    snprintf(folder_path, sizeof folder_path, "%s/models/%s", golden, folder);
    struct vision_case s = {
        .model =
            model_weights_open(golden_file(folder_path, scheme), NULL, NULL, "test_vision", &e),
        .data = model_source_open(golden_file(folder_path, "golden.safetensors"), NULL,
                                  "test_vision", &e),
        .pixels = model_source_open(golden_file(folder_path, "tensors.safetensors"), NULL,
                                    "test_vision", &e)};
    if (e.text[0])
        fprintf(stderr, "%s\n", e.text);
    CHECK(s.model && s.data && s.pixels);
    return s;
}

static void close_case(struct vision_case *s)
{
    model_weights_close(s->model);
    model_source_close(s->data);
    model_source_close(s->pixels);
}

/* An image of the golden data: its slices and patches. */
struct image_case {
    const char *name;
    size_t slices, height, width;
};

/* Checks the features of n images in one group (`features` NULL: the golden data has none), and the
 * projector's output. */
static void check_images(const struct vision_case *s, const struct image_case *cases, size_t n,
                         const char *features, const char *rows)
{
    const struct arch *a = model_weights_arch(s->model);
    const struct weight_source *weights = model_weights_weight_source(s->model);
    struct image images[8];
    const struct image *all[8];
    size_t tokens = 0, width = a->vision.merge_size * a->vision.merge_size * a->vision.hidden;
    struct layer_weights w;
    struct error e;
    for (size_t i = 0; i < n; i++) {
        const struct image_case *image = &cases[i];
        size_t own = image->slices * image->height * image->width / 4;
        long tensor = model_source_find_tensor(s->pixels, image->name);
        CHECK(tensor >= 0);
        images[i] = (struct image){s->pixels,     (size_t)tensor, image->slices,
                                   image->height, image->width,   own};
        all[i] = &images[i];
        tokens += own;
    }
    struct vision_tower *t = vision_tower_new(a, weights, 64);
    float *x = mem_alloc(tokens * width, sizeof *x), *y = mem_alloc(tokens * a->hidden, sizeof *y);
    float *scratch = mem_alloc(projector_scratch_floats(a, tokens), sizeof *scratch);
    CHECK(!vision_tower_forward(t, all, n, x, &e));
    CHECK(!weights->load_layer(weights->context, WEIGHT_RANGE_PROJECTOR, 0, &w, &e));
    projector_forward(a, &w, x, tokens, y, scratch);
    for (size_t i = 0, at = 0; i < n; at += images[i++].tokens) {
        if (features)
            compare(s->data, cases[i].name, features, x + at * width, images[i].tokens * width);
        compare(s->data, cases[i].name, rows, y + at * a->hidden, images[i].tokens * a->hidden);
    }
    vision_tower_free(t);
    free(x);
    free(y);
    free(scratch);
}

/* A tile of 6 x 6 patches with an interpolated table of 4 x 4 positions, before any layer. */
static void check_positions(const struct vision_case *s)
{
    struct arch a = *model_weights_arch(s->model);
    const struct image tile = {
        s->data, (size_t)model_source_find_tensor(s->data, "posinterp.pixel_values"), 1, 6, 6, 9};
    const struct image *all[] = {&tile};
    long found = model_source_find_tensor(s->data, "posinterp.embeddings.f64");
    double expected[37 * 32], worst = 0;
    float x[36 * 32];
    struct error e;
    a.vision.layers_used = 0;
    CHECK(found >= 0 && a.vision.hidden == 32);
    model_source_read_f64(s->data, (size_t)found, 0, 37 * 32, DTYPE_NONE, expected);
    struct vision_tower *t = vision_tower_new(&a, model_weights_weight_source(s->model), 36);
    CHECK(!vision_tower_forward(t, all, 1, x, &e));
    for (size_t i = 0; i < 36; i++) { /* blocks of 2 x 2 */
        size_t row = i / 12 * 2 + i / 2 % 2, column = i / 4 % 3 * 2 + i % 2;
        const double *y = expected + (1 + row * 6 + column) * 32;
        for (size_t j = 0; j < 32; j++)
            worst = fmax(worst, fabs((double)x[i * 32 + j] - y[j]));
    }
    CHECK(worst < 1e-6);
    vision_tower_free(t);
}

/* Pixel shuffle v1 is v2 with the grid of tokens transposed. */
static void check_shuffles(const struct vision_case *s)
{
    const struct arch *a = model_weights_arch(s->model);
    struct arch transposed = *a;
    const struct image tile = {
        s->pixels, (size_t)model_source_find_tensor(s->pixels, "portrait"), 3, 4, 4, 12};
    const struct image *all[] = {&tile};
    const size_t order[] = {0, 2, 1, 3};
    enum { width = 128 };
    float x[12 * width], y[12 * width];
    struct error e;
    CHECK(a->vision.hidden * 4 == width && !a->vision.shuffle_transposed);
    transposed.vision.shuffle_transposed = true;
    struct vision_tower *plain = vision_tower_new(a, model_weights_weight_source(s->model), 16);
    struct vision_tower *other =
        vision_tower_new(&transposed, model_weights_weight_source(s->model), 16);
    CHECK(!vision_tower_forward(plain, all, 1, x, &e) &&
          !vision_tower_forward(other, all, 1, y, &e));
    for (size_t i = 0; i < 12; i++)
        CHECK(memcmp(y + i * width, x + (i / 4 * 4 + order[i % 4]) * width, width * 4) == 0);
    vision_tower_free(plain);
    vision_tower_free(other);
}

static void check_towers(void)
{
    static const struct image_case qwen[] = {
        {"wide", 1, 2, 8}, {"small", 1, 2, 2}, {"tall", 1, 8, 2}};
    static const struct image_case intern[] = {{"portrait", 3, 4, 4}};
    static const char *const schemes[] = {"original", "hf", "hf_v5", "hf_inmem"};
    struct vision_case s = open_case("qwen2vl/tied", "hub");
    if (s.model)
        check_images(&s, qwen, 3, NULL, "merged");
    close_case(&s);
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        s = open_case("internvl/qknorm_select", schemes[i]);
        if (s.model) {
            check_images(&s, intern, 1, "shuffled", "projected");
            check_positions(&s);
            check_shuffles(&s);
        }
        close_case(&s);
    }
}

/* ---- comparing towers ------------------------------------------------------------------------ */

/* A weight source that changes one value of one weight and counts the loaded layers. */
struct changed_source {
    const struct weight_source *of;
    size_t loads;
    enum weight_kind kind; /* that is changed; WEIGHT_KINDS: none */
    size_t layer;
    float *copy;
};

static int load_changed(void *context, struct weight_range range, size_t layer,
                        struct layer_weights *w, struct error *e)
{
    struct changed_source *c = context;
    c->loads++;
    if (c->of->load_layer(c->of->context, range, layer, w, e))
        return -1;
    if (c->kind >= range.first && c->kind < range.end && c->layer == layer) {
        c->copy[0] = w->at[c->kind][0] + 1;
        w->at[c->kind] = c->copy;
    }
    return 0;
}

/* image_features_are_valid_for_model a model with one weight changed, and the layers that it
 * loaded. */
static int valid_for(const struct image_features *f, const struct arch *a,
                     const struct weight_source *of, enum weight_kind kind, size_t layer,
                     size_t *loads)
{
    struct error e;
    size_t n = weight_kind_elements(a, kind < WEIGHT_KINDS ? kind : WEIGHT_VISION_Q);
    struct changed_source c = {.of = of, .kind = kind, .layer = layer};
    const struct weight_source w = {&c, load_changed, NULL};
    c.copy = mem_alloc(n, sizeof *c.copy);
    int result = image_features_are_valid_for_model(f, a, &w, &e);
    *loads = c.loads;
    free(c.copy);
    return result;
}

/* Features are valid for the same tower under another name scheme; not with another weight, unless
 * it is in a layer that is not used, and not with another config. */
static void check_same_towers(void)
{
    struct vision_case s = open_case("internvl/qknorm_select", "original");
    struct vision_case other = open_case("internvl/qknorm_select", "hf_inmem");
    const struct arch *a = model_weights_arch(other.model);
    const struct weight_source *w = model_weights_weight_source(other.model);
    const struct image tiles = {
        s.pixels, (size_t)model_source_find_tensor(s.pixels, "portrait"), 3, 4, 4, 12};
    const bool none = false;
    size_t loads, used = a->vision.layers_used;
    struct arch transposed = *a;
    struct error e;
    struct image_features *f =
        image_features_compute(model_weights_arch(s.model), model_weights_weight_source(s.model),
                               &tiles, 1, NULL, 1 << 20, NULL, &e);
    CHECK(f && used > 1 && used < a->vision.layers);
    CHECK(valid_for(f, a, w, WEIGHT_KINDS, 0, &loads) == 1 && loads == used + 1);
    CHECK(valid_for(f, a, w, WEIGHT_VISION_PATCH_EMBEDDING, 0, &loads) == 0 && loads == 1);
    CHECK(valid_for(f, a, w, WEIGHT_VISION_FC2_BIAS, 1, &loads) == 0 && loads == 3);
    CHECK(valid_for(f, a, w, WEIGHT_VISION_Q, used, &loads) == 1 && loads == used + 1);
    transposed.vision.shuffle_transposed = true;
    CHECK(valid_for(f, &transposed, w, WEIGHT_KINDS, 0, &loads) == 0 && loads == 0);
    image_features_free(f);
    f = image_features_compute(model_weights_arch(s.model), model_weights_weight_source(s.model),
                               &tiles, 1, &none, 0, NULL, &e);
    CHECK(valid_for(f, a, w, WEIGHT_VISION_PATCH_EMBEDDING, 0, &loads) == 1 && loads == 0);
    image_features_free(f);
    close_case(&s);
    close_case(&other);
}

int main(int argc, char **argv)
{
    golden_find(argv[0]);
    parallel_set_threads(2);
    check_gelu();
    check_layernorm();
    check_bicubic();
    check_towers();
    check_same_towers();
    return unit_end();
}
