#include "rope.h"

#include "simd.h"
#include "parallel_for.h"

#include <math.h>

/* The steps below are rounded to F32 where transformers rounds them: at position 30000 a frequency
 * that was rounded from F64 is off by 1e-3. */

static double limit(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* YaRN (arXiv 2309.00071), section 3.2: the index of the frequency that turns `rotations` times
 * over the trained length. */
static double yarn_index(const struct rope_parameters *r, size_t D, double rotations)
{
    return (double)D * log(r->original_positions / (rotations * 2 * M_PI)) / (2 * log(r->theta));
}

static void yarn(const struct rope_parameters *r, size_t D, float *inv)
{
    double low = yarn_index(r, D, r->beta_fast), high = yarn_index(r, D, r->beta_slow);
    low = fmax(r->truncate ? floor(low) : low, 0);
    high = fmin(r->truncate ? ceil(high) : high, (double)D - 1);
    if (low == high)
        high += 0.001;
    for (size_t j = 0; j < D / 2; j++) {
        float ramp = (float)limit((float)((double)j - low) / (float)(high - low), 0, 1);
        float power = powf((float)r->theta, (float)(2 * j) / (float)D);
        float kept = 1.0f / power, stretched = 1.0f / ((float)r->factor * power);
        inv[j] = stretched * ramp + kept * (1 - ramp);
    }
}

/* Llama 3.1: long waves are stretched, short ones kept, those between blended. */
static void llama3(const struct rope_parameters *r, size_t D, float *inv)
{
    float longest = (float)(r->original_positions / r->low_freq_factor),
          shortest = (float)(r->original_positions / r->high_freq_factor);
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

void rope_frequencies(const struct rope_parameters *r, size_t D, size_t T, float *inv)
{
    double theta = r->theta;
    if (r->type == ROPE_DYNAMIC && (double)T > r->original_positions)
        theta *= pow(r->factor * (double)T / r->original_positions - (r->factor - 1),
                     (double)D / (double)(D > 2 ? D - 2 : 1));
    for (size_t j = 0; j < D / 2; j++)
        inv[j] = 1.0f / powf((float)theta, (float)(2 * j) / (float)D);
    if (r->type == ROPE_YARN)
        yarn(r, D, inv);
    if (r->type == ROPE_LLAMA3)
        llama3(r, D, inv);
    for (size_t j = 0; j < D / 2 && r->type == ROPE_LINEAR; j++)
        inv[j] /= (float)r->factor;
}

/* The row of positions from which frequency j takes its own. */
static size_t section_of(const struct rope_parameters *r, size_t j)
{
    if (j < r->mrope_section[0])
        return 0;
    return j < r->mrope_section[0] + r->mrope_section[1] ? 1 : 2;
}

void rope_tables(const struct arch *a, size_t T, const uint32_t *positions, float *cos_,
                 float *sin_)
{
    size_t half = a->head_dim / 2;
    float scale = a->rope.type == ROPE_YARN ? (float)a->rope.attention_factor : 1;
    /* The first row's places hold the frequencies until they are the last to be overwritten. */
    float *inv = cos_;
    rope_frequencies(&a->rope, a->head_dim, T, inv);
    for (size_t t = T; t-- > 0;)
        for (size_t j = 0; j < half; j++) {
            size_t at = positions ? positions[section_of(&a->rope, j) * T + t] : t;
            float angle = (float)at * inv[j];
            sin_[t * half + j] = sinf(angle) * scale;
            cos_[t * half + j] = cosf(angle) * scale;
        }
}

/* One head of one token: the pair (x_j, x_{j + D/2}) turns by the angle of j. */
TV_HOT static void turn(float *x, const float *c, const float *s, float sign, size_t half)
{
    float *restrict low = x, *restrict high = x + half;
    for (size_t j = 0; j < half; j++) {
        float a = low[j], b = high[j];
        low[j] = a * c[j] - sign * b * s[j];
        high[j] = b * c[j] + sign * a * s[j];
    }
}

struct turns {
    float *x;
    const float *cos_, *sin_;
    float sign;
    size_t heads, D;
};

static void turn_token(void *context, size_t t, size_t member)
{
    const struct turns *r = context;
    size_t half = r->D / 2;
    for (size_t h = 0; h < r->heads; h++)
        turn(r->x + (t * r->heads + h) * r->D, r->cos_ + t * half, r->sin_ + t * half, r->sign,
             half);
}

static void turn_all(float *x, const float *c, const float *s, float sign, size_t T, size_t heads,
                     size_t D)
{
    parallel_for(T, heads * D, turn_token, &(struct turns){x, c, s, sign, heads, D});
}

void rope_forward(float *x, const float *cos_, const float *sin_, size_t T, size_t heads, size_t D)
{
    turn_all(x, cos_, sin_, 1, T, heads, D);
}

/* A rotation's transpose turns the other way. */
void rope_backward(float *dx, const float *cos_, const float *sin_, size_t T, size_t heads,
                   size_t D)
{
    turn_all(dx, cos_, sin_, -1, T, heads, D);
}
