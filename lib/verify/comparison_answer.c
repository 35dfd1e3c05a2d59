#include "comparison_answer.h"

#include "source_sink_services.h"
#include "stage.h"
#include "standard_output.h"

#include <string.h>

/* Is it noted that the input has another fingerprint? */
static bool has_note_of_input(const struct string_list *notes, const char *model)
{
    static const char before[] = "input ";
    size_t n = strlen(model);
    for (size_t i = 0; i < notes->n; i++) {
        const char *name = notes->items[i] + sizeof before - 1;
        if (strncmp(notes->items[i], before, sizeof before - 1) == 0 &&
            strncmp(name, model, n) == 0 && name[n] == ':')
            return true;
    }
    return false;
}

/* Notes the inputs whose full hash is not the recorded one, or not recorded: fingerprints are
 * samples. */
static void note_other_inputs(struct stage *s, struct comparison_answer *o,
                              const struct recorded_merge *merge)
{
    const char *const *models;
    const uint64_t *hashes;
    size_t n = source_sink_services_get_model_hashes(s, &models, &hashes);
    for (size_t i = 0; i < n; i++) {
        char hash[17];
        const char *recorded = recorded_merge_hash(merge, models[i]);
        if (has_note_of_input(&o->notes, models[i]))
            continue;
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)hashes[i]);
        if (!recorded)
            string_list_append(&o->notes, &s->arena,
                               arena_printf(&s->arena,
                                            "input %s: the merged model does not record its full "
                                            "hash",
                                            models[i]));
        else if (strcmp(recorded, hash) != 0)
            string_list_append(&o->notes, &s->arena,
                               arena_printf(&s->arena,
                                            "input %s: its tensors have the full hash %s, the "
                                            "merged model has %s",
                                            models[i], hash, recorded));
    }
}

int comparison_answer_print(struct stage *s, struct comparison_answer *a,
                            struct comparison_report *r, const struct recorded_merge *merge,
                            struct error *e)
{
    bool equal = comparison_report_is_equal(r);
    note_other_inputs(s, a, merge);
    if (!equal && a->other_version)
        string_list_append(&a->notes, &s->arena, a->other_version);
    r->carried_weights = a->carried_weights;
    if (a->json)
        comparison_report_print_json(r, &a->inputs, &a->notes);
    else
        comparison_report_print(r, &a->inputs, &a->notes);
    s->exit_status = equal ? 0 : COMPARISON_DIFFERENT;
    return standard_output_flush(e);
}
