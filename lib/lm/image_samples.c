#include "image_samples.h"

/* One image of a sample. */
struct image_entry {
    const struct sample *sample;
    const json_t *object;
    const struct arch *arch;
    size_t number;
};

static int bad(const struct image_entry *i, struct error *e, const char *sentence)
{
    return sample_error(i->sample, e, "image %zu: %s", i->number, sentence);
}

/* ---- the tensor ------------------------------------------------------------------------------ */

static int find_tensor(const struct image_entry *i, struct image *p, struct error *e)
{
    const char *name = json_string_value(json_object_get(i->object, "pixel_values"));
    if (!name)
        return bad(i, e, "pixel_values does not name a tensor");
    long found = model_source_find_tensor(p->file, name);
    if (found < 0)
        return sample_error(i->sample, e, "image %zu: there is no tensor %s", i->number, name);
    p->tensor = (size_t)found;
    enum dtype d = model_source_tensor(p->file, p->tensor)->dtype;
    return d == DTYPE_F32 || d == DTYPE_BF16 || d == DTYPE_F16
               ? 0
               : sample_error(i->sample, e, "image %zu: tensor %s is %s, not F32, BF16 or F16",
                              i->number, name, dtype_name(d));
}

static int wrong_shape(const struct image_entry *i, const struct ckpt_tensor *t, const char *needed,
                       struct error *e)
{
    struct arena a = {0};
    sample_error(i->sample, e, "image %zu: tensor %s is %s, not %s", i->number, t->name,
                 tensor_format_shape(&a, t->rank, t->shape), needed);
    arena_free(&a);
    return -1;
}

/* grid_thw, and (t h w, c) patches */
static int fit_patches(const struct image_entry *i, struct image *p, struct error *e)
{
    const struct vision_arch *v = &i->arch->vision;
    const struct ckpt_tensor *t = model_source_tensor(p->file, p->tensor);
    const json_t *grid = json_object_get(i->object, "grid_thw");
    size_t *sizes[] = {&p->slices, &p->height, &p->width};
    char needed[96];
    if (json_array_size(grid) != 3)
        return bad(i, e, "grid_thw is not there with three numbers");
    for (size_t k = 0; k < 3; k++) {
        json_int_t n = json_integer_value(json_array_get(grid, k));
        if (n < 1 || n > 1 << 16)
            return bad(i, e, "grid_thw does not hold sensible numbers");
        *sizes[k] = (size_t)n;
    }
    if (p->height % v->merge || p->width % v->merge)
        return sample_error(i->sample, e,
                            "image %zu: a grid of %zu x %zu patches cannot be merged by %zu x %zu",
                            i->number, p->height, p->width, v->merge, v->merge);
    size_t rows = p->slices * p->height * p->width;
    size_t columns = v->channels * v->temporal * v->patch * v->patch;
    snprintf(needed, sizeof needed, "(%zu, %zu) by its grid", rows, columns);
    return t->rank == 2 && t->shape[0] == rows && t->shape[1] == columns
               ? 0
               : wrong_shape(i, t, needed, e);
}

/* (tiles, channels, S, S) */
static int fit_tiles(const struct image_entry *i, struct image *p, struct error *e)
{
    const struct vision_arch *v = &i->arch->vision;
    const struct ckpt_tensor *t = model_source_tensor(p->file, p->tensor);
    size_t block = v->patch * v->merge;
    char needed[96];
    snprintf(needed, sizeof needed, "(tiles, %zu, S, S) with S a multiple of %zu", v->channels,
             block);
    if (t->rank != 4 || t->elements == 0 || t->shape[1] != v->channels ||
        t->shape[2] != t->shape[3] || t->shape[2] % block)
        return wrong_shape(i, t, needed, e);
    p->slices = t->shape[0];
    p->height = p->width = t->shape[2] / v->patch;
    return 0;
}

static int read_image(const struct image_entry *i, struct image *p, struct error *e)
{
    const struct vision_arch *v = &i->arch->vision;
    if (!json_is_object(i->object))
        return bad(i, e, "it is no JSON object");
    if (find_tensor(i, p, e) ||
        (v->kind == VISION_QWEN2VL ? fit_patches(i, p, e) : fit_tiles(i, p, e)))
        return -1;
    p->tokens = p->slices * p->height * p->width / (v->merge * v->merge);
    const json_t *tokens = json_object_get(i->object, "tokens");
    if (json_is_integer(tokens) && json_integer_value(tokens) == (json_int_t)p->tokens)
        return 0;
    return sample_error(i->sample, e, "image %zu: tokens is not %zu, as its tensor %s has it",
                        i->number, p->tokens, model_source_tensor(p->file, p->tensor)->name);
}

/* ---- the sample ------------------------------------------------------------------------------ */

static bool same(const struct image *a, const struct image *b)
{
    return a->file == b->file && a->tensor == b->tensor && a->slices == b->slices &&
           a->height == b->height;
}

/* The number of a picture, which may be in use already. */
static size_t add_picture(struct image_list *all, const struct image *p)
{
    for (size_t i = 0; i < all->n; i++)
        if (same(&all->images[i], p))
            return i;
    all->images = mem_resize(all->images, all->n + 1, sizeof *all->images);
    all->images[all->n] = *p;
    return all->n++;
}

static int read_token(struct sample *s, const json_t *object, const struct arch *a, struct error *e)
{
    const json_t *token = json_object_get(object, "image_token_id");
    json_int_t n = json_is_integer(token) ? json_integer_value(token) : -1;
    if (n < 0 || (uint64_t)n >= a->vocab)
        return sample_error(s, e, "image_token_id is not the id of a token");
    if (a->vision.image_token_id >= 0 && n != a->vision.image_token_id)
        return sample_error(s, e, "image_token_id is %lld, but by config.json it is %ld",
                            (long long)n, a->vision.image_token_id);
    s->images.token_id = (uint32_t)n;
    return 0;
}

/* Every image's tokens have their places; with M-RoPE those of one image stand together. */
static int check_places(const struct image_samples *c, const struct sample *s, struct error *e)
{
    const struct image *pictures = c->pictures->images;
    size_t places = 0, tokens = 0;
    for (size_t t = 0; t < s->n; t++)
        places += s->ids[t] == s->images.token_id;
    for (size_t i = 0; i < s->images.n; i++)
        tokens += pictures[s->images.indices[i]].tokens;
    if (places != tokens)
        return sample_error(s, e, "the images have %zu tokens, but there are %zu places for them",
                            tokens, places);
    for (size_t i = 0, t = 0; i < s->images.n && c->arch->vision.kind == VISION_QWEN2VL; i++) {
        while (s->ids[t] != s->images.token_id)
            t++;
        size_t end = t + pictures[s->images.indices[i]].tokens;
        for (; t < end; t++)
            if (s->ids[t] != s->images.token_id)
                return sample_error(s, e, "the tokens of image %zu do not stand together", i);
    }
    return 0;
}

int image_samples_read(const struct image_samples *c, struct sample *s, const json_t *object,
                       struct error *e)
{
    const json_t *list = json_object_get(object, "images");
    size_t n = json_array_size(list);
    if (list && !json_is_null(list) && !json_is_array(list))
        return sample_error(s, e, "images is not a list");
    if (n == 0)
        return 0;
    if (c->arch->vision.kind == VISION_NONE)
        return sample_error(s, e, "the sample has images, and the model takes none");
    if (!c->pixels)
        return sample_error(s, e,
                            "the sample has images, but there is no tensors.safetensors beside "
                            "samples.jsonl in a folder");
    size_t *which = arena_alloc(c->arena, n, sizeof *which);
    for (size_t k = 0; k < n; k++) {
        const struct image_entry i = {s, json_array_get(list, k), c->arch, k};
        struct image p = {.file = c->pixels};
        if (read_image(&i, &p, e))
            return -1;
        which[k] = add_picture(c->pictures, &p);
    }
    s->images.n = n;
    s->images.indices = which;
    return read_token(s, object, c->arch, e) || check_places(c, s, e) ? -1 : 0;
}
