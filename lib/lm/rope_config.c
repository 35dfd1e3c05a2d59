#include "rope_config.h"

#include <math.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char *const type_names[] = {
    [ROPE_DEFAULT] = "default", [ROPE_LINEAR] = "linear", [ROPE_DYNAMIC] = "dynamic",
    [ROPE_LLAMA3] = "llama3",   [ROPE_YARN] = "yarn",
};

/* ---- scaling --------------------------------------------------------------------------------- */

static int read_rope_type(struct rope_parameters *r, const struct config_object *scaling,
                          struct error *e)
{
    const char *type = config_json_string(scaling, "rope_type");
    if (!type)
        type = config_json_string(scaling, "type");
    if (!type || strcmp(type, "mrope") == 0)
        type = "default";
    for (size_t i = 0; i < COUNT(type_names); i++)
        if (strcmp(type, type_names[i]) == 0) {
            r->type = (enum rope_type)i;
            return 0;
        }
    return error_set(e,
                     "%s: the rope scaling %s is not supported; supported are default, linear, "
                     "dynamic, llama3 and yarn",
                     scaling->file, type);
}

static int require_scaling_key(const struct config_object *scaling, const char *key,
                               const struct rope_parameters *r, struct error *e)
{
    return config_json_value(scaling, key)
               ? 0
               : error_set(e, "%s: %s is missing; the rope scaling %s needs it", scaling->file, key,
                           type_names[r->type]);
}

/* The attention factor of YaRN (arXiv 2309.00071, equation 22). */
static double yarn_attention_scale(double factor, double m)
{
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

static int read_yarn_scaling(struct rope_parameters *r, const struct config_object *scaling,
                             double positions, struct error *e)
{
    double m, m_all;
    if (config_json_read_positive(scaling, "factor", positions / r->original_positions, &r->factor,
                                  e) ||
        config_json_read_positive(scaling, "beta_fast", 32, &r->beta_fast, e) ||
        config_json_read_positive(scaling, "beta_slow", 1, &r->beta_slow, e) ||
        config_json_read_positive(scaling, "mscale", 0, &m, e) ||
        config_json_read_positive(scaling, "mscale_all_dim", 0, &m_all, e) ||
        config_json_read_flag(scaling, "truncate", true, &r->truncate, e))
        return -1;
    double usual = m > 0 && m_all > 0
                       ? yarn_attention_scale(r->factor, m) / yarn_attention_scale(r->factor, m_all)
                       : yarn_attention_scale(r->factor, 1);
    return config_json_read_positive(scaling, "attention_factor", usual, &r->attention_factor, e);
}

static int read_llama3_scaling(struct rope_parameters *r, const struct config_object *scaling,
                               struct error *e)
{
    if (require_scaling_key(scaling, "low_freq_factor", r, e) ||
        require_scaling_key(scaling, "high_freq_factor", r, e) ||
        config_json_read_positive(scaling, "low_freq_factor", 1, &r->low_freq_factor, e) ||
        config_json_read_positive(scaling, "high_freq_factor", 4, &r->high_freq_factor, e))
        return -1;
    return r->high_freq_factor > r->low_freq_factor
               ? 0
               : error_set(e, "%s: high_freq_factor must be above low_freq_factor", scaling->file);
}

static int read_rope_scaling(struct arch *a, const struct config_object *scaling, struct error *e)
{
    struct rope_parameters *r = &a->rope;
    double positions = (double)a->max_positions;
    if (read_rope_type(r, scaling, e))
        return -1;
    if (r->type == ROPE_DEFAULT)
        return 0;
    if (config_json_read_positive(scaling, "original_max_position_embeddings", positions,
                                  &r->original_positions, e))
        return -1;
    if (r->type == ROPE_YARN)
        return read_yarn_scaling(r, scaling, positions, e);
    if (require_scaling_key(scaling, "factor", r, e) ||
        config_json_read_positive(scaling, "factor", 1, &r->factor, e) ||
        (r->type == ROPE_LLAMA3 && read_llama3_scaling(r, scaling, e)))
        return -1;
    if (r->type == ROPE_DYNAMIC) { /* theta grows with sequences beyond the config's length */
        r->original_positions = positions;
        a->max_positions = (size_t)fmin(r->factor * positions, ROPE_CONFIG_MAX_POSITIONS);
    }
    return 0;
}

/* ---- M-RoPE ---------------------------------------------------------------------------------- */

static int read_mrope_section(struct arch *a, const struct config_object *scaling, struct error *e)
{
    static const char expected[] = "a list of three whole numbers above 0";
    const json_t *sections = config_json_value(scaling, "mrope_section");
    size_t sum = 0;
    if (json_array_size(sections) != COUNT(a->rope.mrope_section))
        return config_json_error(scaling, "mrope_section", expected, e);
    for (size_t i = 0; i < COUNT(a->rope.mrope_section); i++) {
        json_int_t n = json_integer_value(json_array_get(sections, i));
        if (n < 1 || n > (json_int_t)a->head_dim)
            return config_json_error(scaling, "mrope_section", expected, e);
        sum += a->rope.mrope_section[i] = (size_t)n;
    }
    return sum == a->head_dim / 2
               ? 0
               : error_set(e, "%s: mrope_section has %zu frequencies; heads of %zu values have %zu",
                           scaling->file, sum, a->head_dim, a->head_dim / 2);
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Some models of transformers 5 have an object of RoPE parameters for each type of layer. */
static int check_rope_not_per_layer(const struct config_object *scaling, struct error *e)
{
    json_t *object = (json_t *)scaling->object;
    for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i))
        if (json_is_object(json_object_iter_value(i)))
            return error_set(e, "%s: rope parameters that differ by layer (%s) are not supported",
                             scaling->file, json_object_iter_key(i));
    return 0;
}

int rope_config_read(struct arch *a, const struct config_object *c, double theta, bool mrope,
                     struct error *e)
{
    const char *key = config_json_value(c, "rope_scaling") ? "rope_scaling" : "rope_parameters";
    struct config_object scaling = {c->file, config_json_value(c, key)};
    a->rope = (struct rope_parameters){.type = ROPE_DEFAULT};
    if (scaling.object && !json_is_object(scaling.object))
        return config_json_error(c, key, "an object", e);
    if (check_rope_not_per_layer(&scaling, e) ||
        config_json_read_positive(c, "rope_theta", theta, &theta, e) ||
        config_json_read_positive(&scaling, "rope_theta", theta, &a->rope.theta, e) ||
        (scaling.object && read_rope_scaling(a, &scaling, e)))
        return -1;
    return mrope ? read_mrope_section(a, &scaling, e) : 0;
}
