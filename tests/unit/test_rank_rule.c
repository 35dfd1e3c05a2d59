/* The rules for ranks, on eigenvalues whose results can be computed by hand. */
#include "rank_rule.h"
#include "unit.h"

/* In descending order 9, 4, 1, 1, 1: sum 16, sum of squares 100, y = 3, 2, 1, 1, 1. */
static const double lam[] = {1, 1, 1, 4, 9};

static size_t count(enum rank_rule rule, double fraction)
{
    return rank_rule_count(rule, fraction, lam, 5, 0.5);
}

int main(void)
{
    /* 9/16, 13/16, 14/16, 15/16, 1 */
    CHECK(count(RANK_CUMVAR, 0.5) == 1 && count(RANK_CUMVAR, 0.5625) == 1);
    CHECK(count(RANK_CUMVAR, 0.6) == 2 && count(RANK_CUMVAR, 0.85) == 3);
    CHECK(count(RANK_CUMVAR, 1) == 5);
    CHECK(count(RANK_RATIO, 0.2) == 1 && count(RANK_RATIO, 0.201) == 2);
    CHECK(count(RANK_RATIO, 1e-9) == 1 && count(RANK_RATIO, 1) == 5);
    CHECK(count(RANK_ALL, 0) == 5);
    CHECK(count(RANK_PARTICIPATION_SQRT, 0) == 4); /* 64 / 16 */
    CHECK(count(RANK_PARTICIPATION, 0) == 3);      /* 256 / 100 */
    CHECK(count(RANK_STABLE, 0) == 2);             /* 100 / 81 */
    CHECK(count(RANK_ENTROPY, 0) == 4);            /* exp(1.190) = 3.29 */
    /* b = 1/2: w = 2.285, the median is 1. */
    CHECK(count(RANK_GAVISH_DONOHO, 0) == 1);
    CHECK(rank_rule_count(RANK_GAVISH_DONOHO, 0, lam, 5, 1) == 2); /* w = 1.195 */
    CHECK(rank_rule_count(RANK_GAVISH_DONOHO, 0, lam, 3, 1) == 1); /* none, but at least 1 */
    CHECK(rank_rule_count(RANK_STABLE, 0, lam + 4, 1, 1) == 1);
    CHECK(rank_rule_default_fraction(RANK_CUMVAR) == 0.85);
    CHECK(rank_rule_default_fraction(RANK_RATIO) == 0.65);
    return unit_end();
}
