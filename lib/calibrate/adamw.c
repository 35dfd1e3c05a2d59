#include "adamw.h"

#include "mem.h"

#include <math.h>
#include <stdlib.h>

void adamw_new(struct adamw *a, const struct adamw_settings *s, size_t n)
{
    *a = (struct adamw){.settings = *s, .n = n, .cycle_length = s->t0};
    a->m = mem_alloc(n, sizeof *a->m);
    a->v = mem_alloc(n, sizeof *a->v);
}

void adamw_free(struct adamw *a)
{
    free(a->m);
    free(a->v);
    a->m = a->v = NULL;
}

/* eta_min + (lr - eta_min) (1 + cos(pi T_cur / T_i)) / 2 */
double adamw_learning_rate(const struct adamw *a)
{
    double lowest = a->settings.eta_min * a->settings.lr;
    double angle = acos(-1) * (double)a->since_restart / (double)a->cycle_length;
    return lowest + (a->settings.lr - lowest) * (1 + cos(angle)) / 2;
}

double adamw_clip_gradient(const struct adamw *a, double *g)
{
    double squares = 0;
    for (size_t i = 0; i < a->n; i++)
        squares += g[i] * g[i];
    double norm = sqrt(squares), scale = a->settings.clip / (norm + 1e-6);
    for (size_t i = 0; i < a->n && a->settings.clip > 0 && scale < 1; i++)
        g[i] *= scale;
    return norm;
}

void adamw_step(struct adamw *a, double *r, const double *g)
{
    const struct adamw_settings *s = &a->settings;
    double lr = adamw_learning_rate(a), n = (double)++a->updates;
    double m_correction = 1 - pow(s->beta1, n), v_correction = 1 - pow(s->beta2, n);
    for (size_t i = 0; i < a->n; i++) {
        r[i] *= 1 - lr * s->weight_decay;
        a->m[i] = s->beta1 * a->m[i] + (1 - s->beta1) * g[i];
        a->v[i] = s->beta2 * a->v[i] + (1 - s->beta2) * g[i] * g[i];
        r[i] -= lr / m_correction * a->m[i] / (sqrt(a->v[i]) / sqrt(v_correction) + s->eps);
    }
    if (++a->since_restart >= a->cycle_length) {
        a->since_restart -= a->cycle_length;
        a->cycle_length *= s->tmult;
    }
}
