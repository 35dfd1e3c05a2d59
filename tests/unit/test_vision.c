/* Vision towers and projectors: what they make of images against what transformers does, and their
 * operations against plain ones in F64 and finite differences. */
#include "bicubic.h"
#include "gemm.h"
#include "mem.h"
#include "projector.h"
#include "tower.h"
#include "unit.h"
#include "vision_ops.h"

static char golden[4096];

/* $GOLDEN, or tests/golden beside the folder that the build is in: ROOT/BUILD/unit/test_vision. */
static void find_golden(const char *program)
{
    if (getenv("GOLDEN"))
        snprintf(golden, sizeof golden, "%s", getenv("GOLDEN"));
    else
        snprintf(golden, sizeof golden, "%.*s/../../tests/golden",
                 (int)(strrchr(program, '/') - program), program);
}

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
        quick_gelu_forward(&q, 1, 1);
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

/* A table of positions stays itself on its own grid, and a flat one flat on any other. */
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

/* A model of the golden data. */
struct subject {
    const char *folder;
    struct arch arch;
    const char *const *names; /* [part] */
    const char *merged;       /* what the golden data calls the projector's output ... */
    const char *shuffled;     /* ... and its input; NULL: it has none */
    struct input *file;
    float *buffer;
};

static const char *const qwen_names[PARTS] = {
    [PROJECTOR_NORM] = "visual.merger.ln_q.weight",
    [PROJECTOR_NORM_BIAS] = "visual.merger.ln_q.bias",
    [PROJECTOR_IN] = "visual.merger.mlp.0.weight",
    [PROJECTOR_IN_BIAS] = "visual.merger.mlp.0.bias",
    [PROJECTOR_OUT] = "visual.merger.mlp.2.weight",
    [PROJECTOR_OUT_BIAS] = "visual.merger.mlp.2.bias",
    [VISION_NORM1] = "visual.blocks.%zu.norm1.weight",
    [VISION_NORM1_BIAS] = "visual.blocks.%zu.norm1.bias",
    [VISION_Q] = "visual.blocks.%zu.attn.qkv.weight",
    [VISION_K] = "visual.blocks.%zu.attn.qkv.weight",
    [VISION_V] = "visual.blocks.%zu.attn.qkv.weight",
    [VISION_Q_BIAS] = "visual.blocks.%zu.attn.qkv.bias",
    [VISION_K_BIAS] = "visual.blocks.%zu.attn.qkv.bias",
    [VISION_V_BIAS] = "visual.blocks.%zu.attn.qkv.bias",
    [VISION_O] = "visual.blocks.%zu.attn.proj.weight",
    [VISION_O_BIAS] = "visual.blocks.%zu.attn.proj.bias",
    [VISION_NORM2] = "visual.blocks.%zu.norm2.weight",
    [VISION_NORM2_BIAS] = "visual.blocks.%zu.norm2.bias",
    [VISION_UP] = "visual.blocks.%zu.mlp.fc1.weight",
    [VISION_UP_BIAS] = "visual.blocks.%zu.mlp.fc1.bias",
    [VISION_DOWN] = "visual.blocks.%zu.mlp.fc2.weight",
    [VISION_DOWN_BIAS] = "visual.blocks.%zu.mlp.fc2.bias",
    [VISION_PATCH] = "visual.patch_embed.proj.weight",
};

#define LAYER "vision_model.encoder.layers.%zu."
static const char *const intern_names[PARTS] = {
    [PROJECTOR_NORM] = "mlp1.0.weight",
    [PROJECTOR_NORM_BIAS] = "mlp1.0.bias",
    [PROJECTOR_IN] = "mlp1.1.weight",
    [PROJECTOR_IN_BIAS] = "mlp1.1.bias",
    [PROJECTOR_OUT] = "mlp1.3.weight",
    [PROJECTOR_OUT_BIAS] = "mlp1.3.bias",
    [VISION_NORM1] = LAYER "norm1.weight",
    [VISION_NORM1_BIAS] = LAYER "norm1.bias",
    [VISION_Q] = LAYER "attn.qkv.weight",
    [VISION_K] = LAYER "attn.qkv.weight",
    [VISION_V] = LAYER "attn.qkv.weight",
    [VISION_Q_BIAS] = LAYER "attn.qkv.bias",
    [VISION_K_BIAS] = LAYER "attn.qkv.bias",
    [VISION_V_BIAS] = LAYER "attn.qkv.bias",
    [VISION_Q_NORM] = LAYER "attn.q_norm.weight",
    [VISION_K_NORM] = LAYER "attn.k_norm.weight",
    [VISION_O] = LAYER "attn.proj.weight",
    [VISION_O_BIAS] = LAYER "attn.proj.bias",
    [VISION_SCALE1] = LAYER "ls1",
    [VISION_NORM2] = LAYER "norm2.weight",
    [VISION_NORM2_BIAS] = LAYER "norm2.bias",
    [VISION_UP] = LAYER "mlp.fc1.weight",
    [VISION_UP_BIAS] = LAYER "mlp.fc1.bias",
    [VISION_DOWN] = LAYER "mlp.fc2.weight",
    [VISION_DOWN_BIAS] = LAYER "mlp.fc2.bias",
    [VISION_SCALE2] = LAYER "ls2",
    [VISION_PATCH] = "vision_model.embeddings.patch_embedding.weight",
    [VISION_PATCH_BIAS] = "vision_model.embeddings.patch_embedding.bias",
    [VISION_CLASS] = "vision_model.embeddings.class_embedding",
    [VISION_POSITION] = "vision_model.embeddings.position_embedding",
};

static int give_parts(void *context, struct parts parts, size_t layer, struct layer_weights *w,
                      struct error *e)
{
    const struct subject *m = context;
    float *at = m->buffer;
    (void)e;
    *w = (struct layer_weights){{0}};
    for (enum part part = parts.first; part < parts.end; part++) {
        size_t n = arch_part_elements(&m->arch, part), third = 0;
        char name[128];
        if (!n)
            continue;
        snprintf(name, sizeof name, m->names[part], layer);
        if (part == VISION_K || part == VISION_K_BIAS)
            third = 1;
        if (part == VISION_V || part == VISION_V_BIAS)
            third = 2;
        long i = input_find(m->file, name);
        CHECK(i >= 0);
        input_read_f32(m->file, (size_t)i, third * n, n, DTYPE_NONE, at);
        w->at[part] = at;
        at += n;
    }
    return 0;
}

/* The largest difference of n numbers to a tensor of the golden data, as a share of its largest. */
static void compare(const struct input *data, const char *image, const char *what, const float *x,
                    size_t n)
{
    char name[128];
    snprintf(name, sizeof name, "img.%s.%s.f64", image, what);
    long i = input_find(data, name);
    double *expected = mem_alloc(n, sizeof *expected), worst = 0, most = 0;
    CHECK(i >= 0);
    input_read_f64(data, (size_t)i, 0, n, DTYPE_NONE, expected);
    for (size_t j = 0; j < n; j++) {
        worst = fmax(worst, fabs((double)x[j] - expected[j]));
        most = fmax(most, fabs(expected[j]));
    }
    if (!(worst <= 2e-5 * most))
        fprintf(stderr, "%s: off by %g of %g\n", name, worst, most);
    CHECK(most > 0 && worst <= 2e-5 * most);
    free(expected);
}

/* The images of a case, all in one group. */
static void check_images(const struct subject *m, const struct input *data,
                         const struct picture *pictures, const char *const *names, size_t n)
{
    const struct lm_weights weights = {(void *)m, give_parts, NULL};
    const struct picture *all[8];
    size_t tokens = 0, width = m->arch.vision.merge * m->arch.vision.merge * m->arch.vision.hidden;
    struct layer_weights w;
    struct error e;
    for (size_t i = 0; i < n; i++) {
        all[i] = &pictures[i];
        tokens += pictures[i].tokens;
    }
    struct tower *t = tower_new(&m->arch, &weights, 64);
    float *x = mem_alloc(tokens * width, sizeof *x);
    float *y = mem_alloc(tokens * m->arch.hidden, sizeof *y);
    float *scratch = mem_alloc(projector_scratch(&m->arch, tokens), sizeof *scratch);
    CHECK(!tower_forward(t, all, n, x, &e));
    CHECK(!give_parts((void *)m, PARTS_PROJECTOR, 0, &w, &e));
    projector_forward(&m->arch, &w, x, tokens, y, scratch);
    for (size_t i = 0, at = 0; i < n; at += pictures[i++].tokens) {
        if (m->shuffled)
            compare(data, names[i], m->shuffled, x + at * width, pictures[i].tokens * width);
        compare(data, names[i], m->merged, y + at * m->arch.hidden,
                pictures[i].tokens * m->arch.hidden);
    }
    tower_free(t);
    free(x);
    free(y);
    free(scratch);
}

static struct input *open_file(const struct subject *m, const char *name)
{
    char path[5000];
    struct error e;
    snprintf(path, sizeof path, "%s/models/%s/%s", golden, m->folder, name);
    struct input *in = input_open(path, NULL, "test_vision", &e);
    if (!in)
        fprintf(stderr, "%s\n", e.text);
    CHECK(in != NULL);
    return in;
}

/* Pictures from the shapes of golden tensors: "image.pixel_values" and slices, height, width. */
struct image {
    const char *name;
    size_t slices, height, width;
};

static void check_model(struct subject *m, const char *layout, const struct image *images, size_t n)
{
    struct picture pictures[8];
    const char *names[8];
    char name[128];
    struct input *data = open_file(m, "golden.safetensors"),
                 *pixels = open_file(m, "tensors.safetensors");
    m->file = open_file(m, layout);
    m->buffer = mem_alloc(arch_parts_most(&m->arch), sizeof *m->buffer);
    for (size_t i = 0; i < n; i++) {
        const struct image *image = &images[i];
        snprintf(name, sizeof name, "%s", image->name);
        long tensor = input_find(pixels, name);
        CHECK(tensor >= 0);
        names[i] = image->name;
        pictures[i] = (struct picture){
            pixels,        (size_t)tensor, image->slices,
            image->height, image->width,   image->slices * image->height * image->width / 4};
    }
    check_images(m, data, pictures, names, n);
    free(m->buffer);
    input_close(m->file);
    input_close(data);
    input_close(pixels);
}

/* A tile of 6 x 6 patches, for which the table of 4 x 4 positions is too small: before any layer.
 */
static void check_positions(struct subject m)
{
    struct input *data = open_file(&m, "golden.safetensors");
    const struct lm_weights weights = {&m, give_parts, NULL};
    const struct picture tile = {data, (size_t)input_find(data, "posinterp.pixel_values"), 1, 6, 6,
                                 9};
    const struct picture *all[] = {&tile};
    long found = input_find(data, "posinterp.embeddings.f64");
    double expected[37 * 32], worst = 0;
    float x[36 * 32];
    struct error e;
    m.file = open_file(&m, "original");
    m.buffer = mem_alloc(arch_parts_most(&m.arch), sizeof *m.buffer);
    m.arch.vision.used = 0;
    input_read_f64(data, (size_t)found, 0, 37 * 32, DTYPE_NONE, expected);
    struct tower *t = tower_new(&m.arch, &weights, 36);
    CHECK(!tower_forward(t, all, 1, x, &e));
    for (size_t i = 0; i < 36; i++) { /* blocks of 2 x 2 */
        size_t row = i / 12 * 2 + i / 2 % 2, column = i / 4 % 3 * 2 + i % 2;
        for (size_t j = 0; j < 32; j++)
            worst = fmax(worst,
                         fabs((double)x[i * 32 + j] - expected[(1 + row * 6 + column) * 32 + j]));
    }
    CHECK(worst < 1e-6);
    tower_free(t);
    free(m.buffer);
    input_close(m.file);
    input_close(data);
}

static void check_towers(void)
{
    struct subject qwen = {.folder = "qwen2vl/tied",
                           .names = qwen_names,
                           .merged = "merged",
                           .arch = {.hidden = 48,
                                    .vision = {.kind = VISION_QWEN2VL,
                                               .layers = 3,
                                               .used = 3,
                                               .hidden = 48,
                                               .intermediate = 96,
                                               .heads = 3,
                                               .channels = 3,
                                               .patch = 14,
                                               .temporal = 2,
                                               .merge = 2,
                                               .eps = 1e-6f,
                                               .projector_eps = 1e-6f,
                                               .qkv_bias = true,
                                               .activation = ACTIVATION_QUICK_GELU,
                                               .projector = 192}}};
    const struct image qwen_images[] = {{"wide", 1, 2, 8}, {"small", 1, 2, 2}, {"tall", 1, 8, 2}};
    check_model(&qwen, "hub", qwen_images, 3);
    struct subject intern = {.folder = "internvl/qknorm_select",
                             .names = intern_names,
                             .merged = "projected",
                             .shuffled = "shuffled",
                             .arch = {.hidden = 64,
                                      .vision = {.kind = VISION_INTERNVL,
                                                 .layers = 3,
                                                 .used = 2,
                                                 .hidden = 32,
                                                 .intermediate = 96,
                                                 .heads = 4,
                                                 .channels = 3,
                                                 .patch = 14,
                                                 .temporal = 1,
                                                 .merge = 2,
                                                 .side = 4,
                                                 .eps = 1e-6f,
                                                 .qk_eps = 1e-6f,
                                                 .projector_eps = 1e-5f,
                                                 .qk_norm = true,
                                                 .rms = true,
                                                 .activation = ACTIVATION_GELU,
                                                 .projector = 64}}};
    const struct image intern_images[] = {{"portrait", 3, 4, 4}};
    check_model(&intern, "original", intern_images, 1);
    check_positions(intern);
}

int main(int argc, char **argv)
{
    struct error e;
    (void)argc;
    find_golden(argv[0]);
    if (gemm_open(2, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return EXIT_FAILURE;
    }
    check_gelu();
    check_layernorm();
    check_bicubic();
    check_towers();
    return unit_end();
}
