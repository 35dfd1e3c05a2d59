#include "rope.h"

#include "parallel_for.h"
#include "simd.h"

#include <math.h>

/* Each step is rounded to F32 where transformers rounds it: at position 30000, an angle whose
 * frequency was rounded once, from F64, is off by 1e-3. */

/* ---- frequencies ----------------------------------------------------------------------------- */

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* YaRN (arXiv 2309.00071), section 3.2: the index of the frequency that rotates `rotations` times
 * over the positions of pretraining. */
static double yarn_frequency_index(const struct rope_parameters *r, size_t D, double rotations)
{
    return (double)D * log(r->original_positions / (rotations * 2 * M_PI)) / (2 * log(r->theta));
}

/* Frequencies below the ramp are kept, those above it are interpolated. */
static void scale_frequencies_yarn(const struct rope_parameters *r, size_t D, float *inv)
{
    double low = yarn_frequency_index(r, D, r->beta_fast),
           high = yarn_frequency_index(r, D, r->beta_slow);
    low = fmax(r->truncate ? floor(low) : low, 0);
    high = fmin(r->truncate ? ceil(high) : high, (double)D - 1);
    if (low == high)
        high += 0.001;
    for (size_t j = 0; j < D / 2; j++) {
        float ramp = (float)clamp((float)((double)j - low) / (float)(high - low), 0, 1);
        float power = powf((float)r->theta, (float)(2 * j) / (float)D);
        float kept = 1.0f / power, interpolated = 1.0f / ((float)r->factor * power);
        inv[j] = interpolated * ramp + kept * (1 - ramp);
    }
}

/* Llama 3.1: long wavelengths are interpolated, short ones kept, those between are blended. */
static void scale_frequencies_llama3(const struct rope_parameters *r, size_t D, float *inv)
{
    float longest = (float)(r->original_positions / r->low_freq_factor);
    float shortest = (float)(r->original_positions / r->high_freq_factor);
    for (size_t j = 0; j < D / 2; j++) {
        float wave = (float)(2 * M_PI) / inv[j];
        float smooth = ((float)r->original_positions / wave - (float)r->low_freq_factor) /
                       (float)(r->high_freq_factor - r->low_freq_factor);
        if (wave > longest)
            inv[j] /= (float)r->factor;
        else if (wave >= shortest)
            inv[j] = (1 - smooth) * inv[j] / (float)r->factor + smooth * inv[j];
    }
}

void rope_compute_frequencies(const struct rope_parameters *r, size_t D, size_t T, float *inv)
{
    double theta = r->theta;
    if (r->type == ROPE_DYNAMIC && (double)T > r->original_positions)
        theta *= pow(r->factor * (double)T / r->original_positions - (r->factor - 1),
                     (double)D / (double)(D > 2 ? D - 2 : 1));
    for (size_t j = 0; j < D / 2; j++)
        inv[j] = 1.0f / powf((float)theta, (float)(2 * j) / (float)D);
    if (r->type == ROPE_YARN)
        scale_frequencies_yarn(r, D, inv);
    if (r->type == ROPE_LLAMA3)
        scale_frequencies_llama3(r, D, inv);
    for (size_t j = 0; j < D / 2 && r->type == ROPE_LINEAR; j++)
        inv[j] /= (float)r->factor;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* M-RoPE: whether frequency j follows the position in time (0), height (1) or width (2). */
static size_t mrope_axis_of_frequency(const struct rope_parameters *r, size_t j)
{
    if (j < r->mrope_section[0])
        return 0;
    return j < r->mrope_section[0] + r->mrope_section[1] ? 1 : 2;
}

void rope_compute_tables(const struct arch *a, size_t T, const uint32_t *positions, float *cos_,
                         float *sin_)
{
    size_t half = a->head_dim / 2;
    float scale = a->rope.type == ROPE_YARN ? (float)a->rope.attention_factor : 1;
    float *inv = cos_; /* the first row holds the frequencies; it is overwritten last */
    rope_compute_frequencies(&a->rope, a->head_dim, T, inv);
    for (size_t t = T; t-- > 0;)
        for (size_t j = 0; j < half; j++) {
            size_t at = positions ? positions[mrope_axis_of_frequency(&a->rope, j) * T + t] : t;
            float angle = (float)at * inv[j];
            sin_[t * half + j] = sinf(angle) * scale;
            cos_[t * half + j] = cosf(angle) * scale;
        }
}

/* ---- rotation -------------------------------------------------------------------------------- */

struct rotation {
    float *x;
    const float *cos_, *sin_;
    float sign; /* 1: forward, -1: backward */
    size_t heads, D;
};

/* One head of one token: rotates the pair (x_j, x_{j + D/2}) by the angle of frequency j. */
TV_HOT static void rotate_head(float *x, const float *c, const float *s, float sign, size_t half)
{
    float *restrict low = x, *restrict high = x + half;
    for (size_t j = 0; j < half; j++) {
        float a = low[j], b = high[j];
        low[j] = a * c[j] - sign * b * s[j];
        high[j] = b * c[j] + sign * a * s[j];
    }
}

static void rotate_token(void *context, size_t t, size_t thread)
{
    const struct rotation *r = context;
    size_t half = r->D / 2;
    for (size_t h = 0; h < r->heads; h++)
        rotate_head(r->x + (t * r->heads + h) * r->D, r->cos_ + t * half, r->sin_ + t * half,
                    r->sign, half);
}

void rope_forward(float *x, const float *cos_, const float *sin_, size_t T, size_t heads, size_t D)
{
    parallel_for(T, heads * D, rotate_token, &(struct rotation){x, cos_, sin_, 1, heads, D});
}

/* The transpose of a rotation is the rotation by the opposite angle. */
void rope_backward(float *dx, const float *cos_, const float *sin_, size_t T, size_t heads,
                   size_t D)
{
    parallel_for(T, heads * D, rotate_token, &(struct rotation){dx, cos_, sin_, -1, heads, D});
}
