#include "rank_rule.h"

#include <math.h>

double rank_rule_default_fraction(enum rank_rule rule)
{
    return rule == RANK_RATIO ? 0.65 : 0.85;
}

/* sum lam^p */
static double sum_powers(const double *lam, size_t n, double p)
{
    double sum = 0;
    for (size_t i = n; i-- > 0;)
        sum += p == 1 ? lam[i] : p == 2 ? lam[i] * lam[i] : sqrt(lam[i]);
    return sum;
}

static double count_cumulative(const double *lam, size_t n, double fraction)
{
    double sum = sum_powers(lam, n, 1), cumulative = 0;
    size_t count = 1;
    for (size_t i = n; i-- > 0; count++) {
        cumulative += lam[i];
        if (!(cumulative / sum < fraction))
            break;
    }
    return (double)count;
}

static double effective_rank_by_entropy(const double *lam, size_t n)
{
    double sum = sum_powers(lam, n, 1), entropy = 0;
    for (size_t i = n; i-- > 0;)
        entropy -= lam[i] / sum * (double)logl((long double)(lam[i] / sum));
    return (double)expl((long double)entropy);
}

/* Gavish and Donoho 2014, arXiv 1305.5870, with their threshold for the median; mu stands for the
 * square root of the median of the Marchenko-Pastur distribution. */
static double count_above_gavish_donoho(const double *lam, size_t n, double b)
{
    double mu = b < 0.9999 ? sqrt(fmax((1 - b) * (1 - b) + b, 1e-3)) : sqrt(2 + sqrt(3));
    double w = sqrt(2 * (b + 1) + 8 * b / (b + 1 + sqrt(b * b + 14 * b + 1)));
    double threshold = w / fmax(mu, 1e-3) * sqrt(lam[(n - 1) / 2]);
    size_t count = 0;
    while (count < n && sqrt(lam[n - 1 - count]) > threshold)
        count++;
    return (double)count;
}

static double compute_count(enum rank_rule rule, double fraction, const double *lam, size_t n,
                            double aspect)
{
    double sum = sum_powers(lam, n, 1), largest = lam[n - 1];
    switch (rule) {
    case RANK_CUMVAR:
        return count_cumulative(lam, n, fraction);
    case RANK_RATIO:
        return floor((double)n * fraction + 0.999);
    case RANK_PARTICIPATION_SQRT:
        return ceil(sum_powers(lam, n, 0.5) * sum_powers(lam, n, 0.5) / sum);
    case RANK_PARTICIPATION:
        return ceil(sum * sum / sum_powers(lam, n, 2));
    case RANK_STABLE:
        return ceil(sum_powers(lam, n, 2) / (largest * largest));
    case RANK_ENTROPY:
        return ceil(effective_rank_by_entropy(lam, n));
    case RANK_GAVISH_DONOHO:
        return count_above_gavish_donoho(lam, n, aspect);
    case RANK_ALL:
        break;
    }
    return (double)n;
}

size_t rank_rule_count(enum rank_rule rule, double fraction, const double *eigenvalues, size_t n,
                       double aspect)
{
    double count = compute_count(rule, fraction, eigenvalues, n, aspect);
    return count < 1 ? 1 : count > (double)n ? n : (size_t)count;
}
