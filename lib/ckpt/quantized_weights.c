#include "quantized_weights.h"

#include "notes.h"
#include "quantization_config.h"
#include "scaled_codes.h"
#include "unsupported_quantization.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct resolution {
    struct tensor_list *l;
    struct quantization_config q;
    bool has_i8_codes; /* I8 tensors are codes */
    bool has_codes;    /* some tensor is quantized, or may be */
    long *scales;      /* [tensor]: the tensor with its scales; -1: none */
};

/* ---- roles of tensors ------------------------------------------------------------------------ */

static bool is_quantized(const struct resolution *r, const struct stored_tensor *t)
{
    return t->dtype == DTYPE_F8_E4M3 || t->dtype == DTYPE_F8_E5M2 ||
           (r->has_i8_codes && t->dtype == DTYPE_I8);
}

/* Numbers for activations and for the KV cache, which only a quantized model uses. */
static bool is_activation_scale(const char *name)
{
    static const char *const suffixes[] = {".input_scale", ".input_scale_ub", ".activation_scale",
                                           ".k_scale",     ".v_scale",        ".q_scale",
                                           ".output_scale"};
    for (size_t i = 0; i < COUNT(suffixes); i++)
        if (tensor_list_stem_length(name, suffixes[i]))
            return true;
    return false;
}

static int check_zero_points(const struct resolution *r, const struct stored_tensor *t,
                             struct error *e)
{
    size_t size;
    const unsigned char *bytes = stored_tensors_byte_range(t, 0, t->elements, &size);
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return error_set(e,
                             "%s: tensor %.200s is not zero; asymmetric quantization cannot be "
                             "merged, use the unquantized model it was made from",
                             r->l->path, t->name);
    return 0;
}

/* The number of bytes of the weight's name, if the name is one of its scales; otherwise 0. */
static size_t weight_name_length(const char *name)
{
    size_t length = tensor_list_stem_length(name, "_scale_inv");
    return length ? length : tensor_list_stem_length(name, "_scale");
}

/* Tensor i is named like scales: of a quantized weight, or of none. */
static int assign_scales(struct resolution *r, size_t i, struct error *e)
{
    struct tensor_list *l = r->l;
    const char *name = l->tensors[i]->name;
    size_t length = weight_name_length(name);
    long weight = tensor_list_find(l, name, length, "");
    bool is_weight_scale = length >= 6 && strncmp(name + length - 6, "weight", 6) == 0;
    if (weight >= 0 && is_quantized(r, l->tensors[weight])) {
        if (r->scales[weight] >= 0)
            return error_set(e, "%s: the weight %.200s has two scales, %.200s and %.200s", l->path,
                             l->tensors[weight]->name, l->tensors[r->scales[weight]]->name, name);
        r->scales[weight] = (long)i;
        l->omitted[i] = true;
    } else if (!r->has_codes) {
        l->omitted[i] = is_weight_scale && weight >= 0; /* of a quantization that was undone */
    } else if (is_weight_scale && weight >= 0) {
        return error_set(
            e, "%s: tensor %.200s has scales, but %.200s is %s, which is not quantized", l->path,
            name, l->tensors[weight]->name, dtype_name(l->tensors[weight]->dtype));
    } else if (is_weight_scale) {
        return error_set(e, "%s: tensor %.200s has scales, but the weight is missing", l->path,
                         name);
    }
    return 0;
}

static int assign_role(struct resolution *r, size_t i, struct error *e)
{
    const struct stored_tensor *t = r->l->tensors[i];
    if (is_activation_scale(t->name)) {
        r->l->omitted[i] = true;
        return 0;
    }
    if (tensor_list_stem_length(t->name, "_zero_point")) {
        r->l->omitted[i] = true;
        return check_zero_points(r, t, e);
    }
    return weight_name_length(t->name) ? assign_scales(r, i, e) : 0;
}

/* ---- encodings ------------------------------------------------------------------------------- */

/* Without a config, codes without scales are numbers in a small format; with one, they are only
 * numbers where they are not a matrix. */
static int set_encoding(struct resolution *r, size_t i, struct arena *a, struct error *e)
{
    struct stored_tensor *t = r->l->tensors[i];
    const struct stored_tensor *scales = r->scales[i] < 0 ? NULL : r->l->tensors[r->scales[i]];
    if (!scales && r->q.is_present && t->rank >= 2)
        return error_set(e, "%s: the weight %.200s is %s, but has no scales (%.200s_scale)",
                         r->l->path, t->name, dtype_name(t->dtype), t->name);
    if (!scales && t->dtype == DTYPE_I8)
        return 0;
    return scaled_codes_set_encoding(r->l->path, &r->q, t, scales, a, e);
}

static int resolve(struct resolution *r, struct arena *a, struct error *e)
{
    for (size_t i = 0; i < r->l->n; i++)
        r->scales[i] = -1;
    for (size_t i = 0; i < r->l->n; i++)
        if (assign_role(r, i, e))
            return -1;
    for (size_t i = 0; i < r->l->n; i++)
        if (!r->l->omitted[i] && is_quantized(r, r->l->tensors[i]) && set_encoding(r, i, a, e))
            return -1;
    return 0;
}

static bool has_quantized_tensor(const struct resolution *r)
{
    for (size_t i = 0; i < r->l->n; i++)
        if (is_quantized(r, r->l->tensors[i]))
            return true;
    return false;
}

int quantized_weights_resolve(struct tensor_list *l, struct model_files *files, FILE *notes,
                              struct error *e)
{
    struct resolution r = {.l = l};
    if (quantization_config_read(&r.q, files, &files->arena, e) ||
        unsupported_quantization_check(&r.q, l, e))
        return -1;
    r.has_i8_codes = strcmp(r.q.format, "int-quantized") == 0;
    r.has_codes = has_quantized_tensor(&r);
    if (r.q.is_present && !r.has_codes)
        notes_print(notes,
                    "%s describes a quantization%s%.100s, but no tensor is quantized; it is "
                    "ignored",
                    r.q.file, *r.q.method ? " by " : "", r.q.method);
    if (!r.q.is_present && !r.has_codes)
        return 0;
    r.scales = mem_alloc(l->n, sizeof *r.scales);
    int failed = resolve(&r, &files->arena, e);
    free(r.scales);
    return failed;
}

/* ---- description ----------------------------------------------------------------------------- */

#define MAX_LISTED 6 /* formats */

/* The names of the formats, each once, in the order of the tensors. */
static const char *list_formats(const struct tensor_list *l, struct arena *a)
{
    const char *names[MAX_LISTED], *text = NULL;
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        const struct tensor_encoding *c = l->tensors[i]->encoding;
        size_t known = 0;
        if (!c || !c->name)
            continue;
        while (known < n && strcmp(names[known], c->name) != 0)
            known++;
        if (known < n)
            continue;
        if (n == MAX_LISTED)
            return arena_printf(a, "%s, ...", text);
        names[n++] = c->name;
        text = arena_printf(a, "%s%s%s", text ? text : "", text ? ", " : "", c->name);
    }
    return text;
}

const char *quantized_weights_describe(const struct tensor_list *l, struct arena *a)
{
    double squares = 0, elements = 0;
    const char *formats = list_formats(l, a);
    for (size_t i = 0; formats && i < l->n; i++) {
        const struct tensor_encoding *c = l->tensors[i]->encoding;
        if (!c || !c->name)
            continue;
        squares += (double)l->tensors[i]->elements * c->relative_error * c->relative_error;
        elements += (double)l->tensors[i]->elements;
    }
    return squares > 0
               ? arena_printf(a, "%s, error %.1f %%", formats, 100 * sqrt(squares / elements))
               : formats;
}
