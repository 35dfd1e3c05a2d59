#include "sample_image_reader.h"

/* An entry of the list `images`. */
struct image_entry {
    const struct sample *sample;
    const json_t *object;
    const struct arch *arch;
    size_t index;
};

static int image_entry_error(const struct image_entry *i, struct error *e, const char *sentence)
{
    return sample_error(i->sample, e, "image %zu: %s", i->index, sentence);
}

/* ---- the tensor ------------------------------------------------------------------------------ */

static int find_pixel_tensor(const struct image_entry *i, struct image *image, struct error *e)
{
    const char *name = json_string_value(json_object_get(i->object, "pixel_values"));
    if (!name)
        return image_entry_error(i, e, "pixel_values must name a tensor");
    long found = model_source_find_tensor(image->file, name);
    if (found < 0)
        return sample_error(i->sample, e, "image %zu: tensors.safetensors has no tensor %s",
                            i->index, name);
    image->tensor = (size_t)found;
    enum dtype d = model_source_tensor(image->file, image->tensor)->dtype;
    return d == DTYPE_F32 || d == DTYPE_BF16 || d == DTYPE_F16
               ? 0
               : sample_error(i->sample, e, "image %zu: tensor %s is %s; expected F32, BF16 or F16",
                              i->index, name, dtype_name(d));
}

static int pixel_shape_error(const struct image_entry *i, const struct ckpt_tensor *t,
                             const char *expected, struct error *e)
{
    struct arena a = {0};
    sample_error(i->sample, e, "image %zu: tensor %s has shape %s; expected %s", i->index, t->name,
                 tensor_format_shape(&a, t->rank, t->shape), expected);
    arena_free(&a);
    return -1;
}

/* ---- Qwen2-VL -------------------------------------------------------------------------------- */

/* grid_thw: patches in time, height and width. */
static int read_grid_thw(const struct image_entry *i, struct image *image, struct error *e)
{
    size_t *sizes[] = {&image->slices, &image->height, &image->width};
    const json_t *grid = json_object_get(i->object, "grid_thw");
    size_t merge = i->arch->vision.merge_size;
    if (json_array_size(grid) != 3)
        return image_entry_error(i, e, "grid_thw must be a list of three numbers");
    for (size_t k = 0; k < 3; k++) {
        json_int_t n = json_integer_value(json_array_get(grid, k));
        if (n < 1 || n > 1 << 16)
            return image_entry_error(i, e, "grid_thw must hold whole numbers from 1 to 65536");
        *sizes[k] = (size_t)n;
    }
    if (image->height % merge || image->width % merge)
        return sample_error(i->sample, e,
                            "image %zu: its grid of %zu x %zu patches is not a multiple of the "
                            "merge size %zu",
                            i->index, image->height, image->width, merge);
    return 0;
}

/* A tensor (t h w, c), a row for each patch. */
static int read_qwen2vl_patches(const struct image_entry *i, struct image *image, struct error *e)
{
    const struct ckpt_tensor *t = model_source_tensor(image->file, image->tensor);
    size_t columns = arch_values_per_patch(&i->arch->vision);
    char expected[96];
    if (read_grid_thw(i, image, e))
        return -1;
    size_t rows = image->slices * image->height * image->width;
    snprintf(expected, sizeof expected, "(%zu, %zu) by its grid_thw", rows, columns);
    return t->rank == 2 && t->shape[0] == rows && t->shape[1] == columns
               ? 0
               : pixel_shape_error(i, t, expected, e);
}

/* ---- InternVL -------------------------------------------------------------------------------- */

/* A tensor (tiles, channels, S, S). */
static int read_internvl_tiles(const struct image_entry *i, struct image *image, struct error *e)
{
    const struct vision_arch *v = &i->arch->vision;
    const struct ckpt_tensor *t = model_source_tensor(image->file, image->tensor);
    size_t multiple = v->patch_size * v->merge_size;
    char expected[96];
    snprintf(expected, sizeof expected, "(tiles, %zu, S, S) with S a multiple of %zu", v->channels,
             multiple);
    if (t->rank != 4 || t->elements == 0 || t->shape[1] != v->channels ||
        t->shape[2] != t->shape[3] || t->shape[2] % multiple)
        return pixel_shape_error(i, t, expected, e);
    image->slices = t->shape[0];
    image->height = image->width = t->shape[2] / v->patch_size;
    return 0;
}

/* ---- one image ------------------------------------------------------------------------------- */

static int read_image_entry(const struct image_entry *i, struct image *image, struct error *e)
{
    const struct vision_arch *v = &i->arch->vision;
    if (!json_is_object(i->object))
        return image_entry_error(i, e, "it must be a JSON object");
    if (find_pixel_tensor(i, image, e) ||
        (v->kind == VISION_QWEN2VL ? read_qwen2vl_patches(i, image, e)
                                   : read_internvl_tiles(i, image, e)))
        return -1;
    image->tokens = image->slices * image->height * image->width / (v->merge_size * v->merge_size);
    const json_t *tokens = json_object_get(i->object, "tokens");
    if (json_is_integer(tokens) && json_integer_value(tokens) == (json_int_t)image->tokens)
        return 0;
    return sample_error(i->sample, e, "image %zu: tokens must be %zu for its tensor %s", i->index,
                        image->tokens, model_source_tensor(image->file, image->tensor)->name);
}

/* Returns the image's index in the list, to which it is added if it is new. */
static size_t add_distinct_image(const struct sample_image_reader *r, const struct image *image)
{
    struct image_list *list = r->images;
    const char *key = arena_printf(r->arena, "%p %zu %zu %zu", (const void *)image->file,
                                   image->tensor, image->slices, image->height);
    size_t found = name_index_add(&list->index, key, list->n, r->arena);
    if (found < list->n)
        return found;
    if (list->n == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 16;
        list->images = mem_resize(list->images, list->capacity, sizeof *list->images);
    }
    list->images[list->n++] = *image;
    return found;
}

/* ---- image tokens ---------------------------------------------------------------------------- */

static int read_image_token_id(struct sample *s, const json_t *object, const struct arch *a,
                               struct error *e)
{
    const json_t *token = json_object_get(object, "image_token_id");
    json_int_t n = json_is_integer(token) ? json_integer_value(token) : -1;
    if (n < 0 || (uint64_t)n >= a->vocab)
        return sample_error(s, e, "image_token_id must be a token id below %zu", a->vocab);
    if (a->vision.image_token_id >= 0 && n != a->vision.image_token_id)
        return sample_error(s, e, "image_token_id is %lld, but config.json says %ld", (long long)n,
                            a->vision.image_token_id);
    s->images.token_id = (uint32_t)n;
    return 0;
}

/* M-RoPE needs the tokens of one image next to each other. */
static int check_images_contiguous(const struct sample_image_reader *r, const struct sample *s,
                                   struct error *e)
{
    size_t t = 0;
    for (size_t i = 0; i < s->images.n; i++) {
        while (s->ids[t] != s->images.token_id)
            t++;
        size_t end = t + r->images->images[s->images.indices[i]].tokens;
        for (; t < end; t++)
            if (s->ids[t] != s->images.token_id)
                return sample_error(s, e, "the tokens of image %zu are not contiguous", i);
    }
    return 0;
}

static int check_image_token_count(const struct sample_image_reader *r, const struct sample *s,
                                   struct error *e)
{
    size_t ids = 0, tokens = 0;
    for (size_t t = 0; t < s->n; t++)
        ids += s->ids[t] == s->images.token_id;
    for (size_t i = 0; i < s->images.n; i++)
        tokens += r->images->images[s->images.indices[i]].tokens;
    if (ids != tokens)
        return sample_error(
            s, e, "the images have %zu tokens, but input_ids has image_token_id %zu times", tokens,
            ids);
    return r->arch->vision.kind == VISION_QWEN2VL ? check_images_contiguous(r, s, e) : 0;
}

/* ---- a sample -------------------------------------------------------------------------------- */

int sample_image_reader_read(const struct sample_image_reader *r, struct sample *s,
                             const json_t *object, struct error *e)
{
    const json_t *list = json_object_get(object, "images");
    size_t n = json_array_size(list);
    if (list && !json_is_null(list) && !json_is_array(list))
        return sample_error(s, e, "images must be a list");
    if (n == 0)
        return 0;
    if (r->arch->vision.kind == VISION_NONE)
        return sample_error(s, e, "the sample has images, but the model has no vision tower");
    if (!r->pixels)
        return sample_error(s, e,
                            "the sample has images, but there is no tensors.safetensors with their "
                            "pixel values; put both in a folder, this file as samples.jsonl");
    size_t *indices = arena_alloc(r->arena, n, sizeof *indices);
    for (size_t k = 0; k < n; k++) {
        const struct image_entry i = {s, json_array_get(list, k), r->arch, k};
        struct image image = {.file = r->pixels};
        if (read_image_entry(&i, &image, e))
            return -1;
        indices[k] = add_distinct_image(r, &image);
    }
    s->images.n = n;
    s->images.indices = indices;
    return read_image_token_id(s, object, r->arch, e) || check_image_token_count(r, s, e) ? -1 : 0;
}
