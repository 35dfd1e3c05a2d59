#include "vector_history.h"

#include <string.h>

/* Steps after which the vectors of a stream are those that were extracted. */
static const char *const extraction_and_weights[] = {
    "tv-extract", "from-text", "join-streams", "stack",       "pick",
    "tv-rename",  "weigh",     "sce-weigh",    "model-stock", "calibrate"};

static bool is_extraction_or_sets_weights(const char *tool)
{
    for (size_t i = 0; i < sizeof extraction_and_weights / sizeof *extraction_and_weights; i++)
        if (strcmp(tool, extraction_and_weights[i]) == 0)
            return true;
    return false;
}

/* The histories of the streams that a step has read. The parents of other steps are those of the
 * models that they name. */
static size_t count_joined_streams(const struct history_step *s)
{
    bool joins = strcmp(s->tool, "join-streams") == 0 || strcmp(s->tool, "stack") == 0;
    return joins ? s->n_parents : 0;
}

bool vector_history_has_step(const struct history *h, const char *tool)
{
    for (size_t i = 0; i < h->n; i++) {
        const struct history_step *s = &h->steps[i];
        if (strcmp(s->tool, tool) == 0)
            return true;
        for (size_t p = 0; p < count_joined_streams(s); p++)
            if (vector_history_has_step(&s->parents[p], tool))
                return true;
    }
    return false;
}

const char *vector_history_find_change(const struct history *h)
{
    const char *found = NULL;
    for (size_t i = h->n; i > 0 && !found; i--) {
        const struct history_step *s = &h->steps[i - 1];
        if (!is_extraction_or_sets_weights(s->tool))
            return s->tool;
        for (size_t p = 0; p < count_joined_streams(s) && !found; p++)
            found = vector_history_find_change(&s->parents[p]);
    }
    return found;
}
