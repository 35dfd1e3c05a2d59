/* Rules for how many of the largest eigenvalues of a matrix to keep (SWUDI, arXiv 2606.07289). */
#ifndef TV_RANK_RULE_H
#define TV_RANK_RULE_H

#include <stddef.h>

/* In the order of RANK_RULE_CHOICES. With y_i = sqrt(lam_i), in descending order: */
enum rank_rule {
    RANK_CUMVAR,             /* 1 + the number of i with lam_1 + .. + lam_i < fraction sum lam */
    RANK_RATIO,              /* floor(n fraction + 0.999) */
    RANK_ALL,                /* n */
    RANK_PARTICIPATION_SQRT, /* ceil((sum y)^2 / sum y^2) */
    RANK_PARTICIPATION,      /* ceil((sum lam)^2 / sum lam^2) */
    RANK_STABLE,             /* ceil(sum lam^2 / lam_1^2) */
    RANK_ENTROPY,            /* ceil(exp(-sum p ln p)), p = lam / sum lam */
    RANK_GAVISH_DONOHO       /* the number of y_i above the threshold for the lower median of y */
};
#define RANK_RULE_CHOICES                                                                          \
    "cumvar|ratio|all|participation-sqrt|participation|stable-rank|entropy|gavish-donoho"

/* The fraction of a rule if none is given: 0.85 of RANK_CUMVAR, 0.65 of RANK_RATIO. */
double rank_rule_default_fraction(enum rank_rule rule);
/* How many of n >= 1 eigenvalues, ascending and above 0, to keep: between 1 and n. `aspect` is the
 * shorter side of the matrix divided by the longer one. */
size_t rank_rule_count(enum rank_rule rule, double fraction, const double *eigenvalues, size_t n,
                       double aspect);

#endif
