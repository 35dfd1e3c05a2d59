#include "bicubic.h"

#include <math.h>
#include <string.h>

#define A (-0.75f)

/* The four cells around a point between cells, and their weights. */
struct taps {
    size_t cell[4];
    float weight[4];
};

/* The convolution kernel at a distance x below 1, and from 1 to 2. */
static float cubic_kernel_near(float x)
{
    return ((A + 2) * x - (A + 3)) * x * x + 1;
}

static float cubic_kernel_far(float x)
{
    return ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;
}

/* Cell i of `out` cells is at (i + 1/2) in / out - 1/2 among `in` cells. */
static struct taps compute_interpolation_taps(size_t i, size_t in, size_t out)
{
    float point = ((float)i + 0.5f) * ((float)in / (float)out) - 0.5f, cell = floorf(point);
    float t = point - cell;
    struct taps taps = {.weight = {cubic_kernel_far(t + 1), cubic_kernel_near(t),
                                   cubic_kernel_near(1 - t), cubic_kernel_far(2 - t)}};
    for (int j = 0; j < 4; j++) {
        long at = (long)cell + j - 1;
        taps.cell[j] = at < 0 ? 0 : (size_t)at < in ? (size_t)at : in - 1;
    }
    return taps;
}

void bicubic_resize(const float *from, size_t side, size_t d, size_t height, size_t width,
                    float *to)
{
    memset(to, 0, height * width * d * sizeof *to);
    for (size_t i = 0; i < height * width; i++) {
        struct taps y = compute_interpolation_taps(i / width, side, height),
                    x = compute_interpolation_taps(i % width, side, width);
        for (int j = 0; j < 16; j++) {
            const float *cell = from + (y.cell[j / 4] * side + x.cell[j % 4]) * d;
            float weight = y.weight[j / 4] * x.weight[j % 4];
            for (size_t k = 0; k < d; k++)
                to[i * d + k] += weight * cell[k];
        }
    }
}
