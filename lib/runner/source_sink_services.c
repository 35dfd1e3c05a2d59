#include "source_sink_services.h"

#include "runner_state.h"

void source_sink_services_add_model_hash(struct stage *s, const char *model, uint64_t hash)
{
    collected_hashes_add_model(&s->runner->hashes, model, hash);
}

size_t source_sink_services_get_model_hashes(const struct stage *s, const char *const **models,
                                             const uint64_t **hashes)
{
    const struct collected_hashes *all = &s->runner->hashes;
    *models = all->models;
    *hashes = all->model_hashes;
    return all->n_models;
}

void source_sink_services_add_tensor_hash(struct stage *s, const char *model, size_t index,
                                          uint64_t hash)
{
    struct runner *r = s->runner;
    const struct tensor_hash found = {
        .model = s->out->models[header_find_model(s->out, model)].name,
        .index = index,
        .sink_index = runner_state_find_sink_index(r, index),
        .hash = hash,
    };
    collected_hashes_add_tensor(&r->hashes, &found);
}

size_t source_sink_services_get_tensor_hashes(const struct stage *s,
                                              const struct tensor_hash **hashes)
{
    *hashes = s->runner->hashes.tensors;
    return s->runner->hashes.n_tensors;
}

const char *source_sink_services_find_model_scope_stage(const struct stage *s)
{
    const struct runner *r = s->runner;
    for (size_t i = 1; i < r->n_stages; i++)
        if (runner_state_stage_scope(r->stages[i]) == SCOPE_MODEL)
            return r->stages[i]->filter->name;
    return NULL;
}

bool source_sink_services_has_model_fingerprints(const struct stage *s)
{
    const struct runner *r = s->runner;
    const struct header *h = r->headers[0];
    bool has = !runner_state_source_is_one_pass(r);
    for (size_t i = 0; has && i < h->n_models; i++)
        has = h->models[i].has_fingerprint;
    return has;
}

bool source_sink_services_lacks_checksums(const struct stage *s)
{
    return s->runner->stages[0]->lacks_checksums;
}

const struct stage *source_sink_services_source(const struct stage *s)
{
    return s->runner->stages[0];
}

void source_sink_services_exit_if_reader_gone(const struct stage *s)
{
    runner_state_exit_if_reader_gone(s->runner);
}
