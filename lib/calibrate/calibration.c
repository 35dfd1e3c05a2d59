#include "calibration.h"

#include "pattern.h"
#include "mpi.h"
#include "run_context.h"
#include "stage.h"
#include "stage_rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct arch *arch_of(const struct calibration *c)
{
    return model_weights_arch(c->experts.base);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static bool matches(const char *const *globs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (pattern_matches(globs[i], name))
            return true;
    return false;
}

/* The published lists name what is kept: of both, norms, biases, embeddings, head and vision tower;
 * of Qwen2-VL all of `visual`, the projector too; of InternVL's projector the biases, for its norm
 * is called mlp1.0. */
static bool is_published(const struct calibration *c, enum weight_kind part)
{
    if (part < WEIGHT_TEXT_END)
        return part <= WEIGHT_DOWN;
    return arch_of(c)->vision.kind == VISION_INTERNVL &&
           (part == WEIGHT_PROJECTOR_NORM || part == WEIGHT_PROJECTOR_IN ||
            part == WEIGHT_PROJECTOR_OUT);
}

static bool stays_base(const struct calibration *c, enum weight_kind part, const char *name)
{
    const struct calibration_options *o = c->options;
    if (o->keep_base.n)
        return matches(o->keep_base.items, o->keep_base.n, name);
    if (o->published_names)
        return !is_published(c, part);
    return part > WEIGHT_DOWN && part != WEIGHT_PROJECTOR_IN && part != WEIGHT_PROJECTOR_OUT;
}

/* A pattern that matches nothing is likely a slip. */
static void tell_idle_globs(const struct calibration *c, const struct stage *s)
{
    const struct string_list *globs = &c->options->keep_base;
    for (size_t g = 0; g < globs->n; g++) {
        bool used = false;
        for (size_t i = 0; i < c->header->n_tensors && !used; i++)
            used = pattern_matches(globs->items[g], c->header->tensors[i].name);
        if (!used && globs->items[g][0])
            fprintf(stderr, "%s: warning: --keep-base %s matches no tensor\n", s->filter->name,
                    globs->items[g]);
    }
}

static void add_place(struct calibration *c, enum weight_kind part, size_t layer)
{
    long tensor = task_vectors_stream_tensor(c->task_vectors, part, layer);
    if (tensor < 0 || c->merged_index[tensor] >= 0 ||
        stays_base(c, part, c->header->tensors[tensor].name))
        return;
    c->merged_index[tensor] = (long)c->n_merged;
    c->tensor_names[c->n_merged] = c->header->tensors[tensor].name;
    c->merged_tensors[c->n_merged++] = (struct merged_tensor){part, layer, (size_t)tensor};
}

static int list_tensors(struct calibration *c, struct error *e)
{
    size_t n = c->header->n_tensors;
    c->merged_tensors = mem_alloc(n, sizeof *c->merged_tensors);
    c->tensor_names = mem_alloc(n, sizeof *c->tensor_names);
    c->merged_index = mem_alloc(n, sizeof *c->merged_index);
    for (size_t i = 0; i < n; i++)
        c->merged_index[i] = -1;
    add_place(c, WEIGHT_EMBEDDING, 0);
    for (size_t l = 0; l < arch_of(c)->layers; l++)
        for (enum weight_kind part = 0; part < WEIGHT_DECODER_LAYER_END; part++)
            add_place(c, part, l);
    for (enum weight_kind part = WEIGHT_FINAL_NORM; part < WEIGHT_PROJECTOR_END; part++)
        add_place(c, part, 0);
    coefficient_init_allocate(&c->init, c->n_merged, c->experts.n);
    return c->n_merged ? 0 : error_set(e, "no tensor of the stream is to be merged");
}

/* The end of the parts that are a teacher's own: those of the tower come last. */
static enum weight_kind taught_parts(const struct calibration *c)
{
    return c->options->teacher_vision == TEACHER_VISION_BASE ? WEIGHT_PROJECTOR_END : WEIGHT_KINDS;
}

/* Room for the vectors that will be read again: those that are merged, and where base + vector is
 * the teacher all that the model has. */
static int reserve(struct calibration *c, struct error *e)
{
    const struct common_options *limits = &c->stage->common;
    bool *wanted = mem_alloc(c->header->n_tensors, sizeof *wanted), own_files = true;
    for (size_t k = 0; k < c->experts.n; k++) {
        own_files &= c->experts.files[k] != NULL;
        if (c->vectors_from_files)
            task_vectors_set_expert_file(c->task_vectors, k, c->experts.files[k]);
    }
    for (size_t i = 0; i < c->header->n_tensors; i++)
        wanted[i] = !c->vectors_from_files && c->merged_index[i] >= 0;
    for (enum weight_kind part = 0; part < taught_parts(c) && !own_files; part++)
        for (size_t l = 0; l < weight_kind_layers(arch_of(c), part); l++)
            if (task_vectors_stream_tensor(c->task_vectors, part, l) >= 0)
                wanted[task_vectors_stream_tensor(c->task_vectors, part, l)] = true;
    int failed =
        task_vectors_reserve_spool(c->task_vectors, wanted, limits->memory, limits->spool, e);
    free(wanted);
    return failed;
}

/* ---- samples --------------------------------------------------------------------------------- */

static int read_samples(struct calibration *c, struct stage *s, struct error *e)
{
    const struct string_list *files = &c->options->samples;
    const struct sample_requirements limits = {.arch = arch_of(c)};
    for (size_t i = 0; i < files->n; i++) {
        if (samples_read(&c->samples, files->items[i], &limits, e))
            return -1;
        stage_record_operand(s, arena_printf(&s->arena, "--samples=xxh3:%016llx",
                                             (unsigned long long)c->samples.hash));
    }
    return 0;
}

/* TASK=MODEL */
static int read_task(struct calibration *c, const char *text, const char **task, size_t *of,
                     struct error *e)
{
    const char *name = strchr(text, '=');
    if (!name)
        return error_set(e, "--task: \"%s\" is not TASK=MODEL", text);
    long k = experts_find_by_name(&c->experts, name + 1, strlen(name + 1));
    if (k < 0)
        return error_set(e, "--task: the stream has no model %s", name + 1);
    *task = arena_copy_text_n(&c->samples.arena, text, (size_t)(name - text));
    *of = (size_t)k;
    return 0;
}

static int choose_samples(struct calibration *c, struct error *e)
{
    const struct calibration_options *o = c->options;
    struct arena *a = &c->samples.arena;
    const char **tasks = arena_alloc(a, o->tasks.n + 1, sizeof *tasks);
    size_t *of = arena_alloc(a, o->tasks.n + 1, sizeof *of);
    for (size_t i = 0; i < o->tasks.n; i++)
        if (read_task(c, o->tasks.items[i], &tasks[i], &of[i], e))
            return -1;
    const struct example_selection wanted = {.experts = c->experts.n,
                                             .names = c->experts.names,
                                             .renamed = o->tasks.n,
                                             .tasks = tasks,
                                             .of = of,
                                             .per_task = o->per_task,
                                             .held_out = o->held_out,
                                             .pictures = c->samples.images.images,
                                             .responses = o->responses};
    c->task_weights = mem_alloc(c->experts.n, sizeof *c->task_weights);
    for (size_t k = 0; k < c->experts.n; k++)
        if (!tensor_rules_find_value(&o->task_weight, c->experts.names[k], "", -1, -1,
                                     &c->task_weights[k]))
            c->task_weights[k] = 1;
    if (examples_select(&c->examples, &c->samples, &wanted, e))
        return -1;
    examples_assign_to_ranks(&c->examples, mpi_process_count(), mpi_rank());
    return 0;
}

/* "middle", "all", "none", or numbers of hidden states with commas between them. */
static int read_layers(struct calibration *c, struct error *e)
{
    const char *text = c->options->hidden_layers;
    size_t L = arch_of(c)->layers;
    c->hidden_states = mem_alloc(L + 1, sizeof *c->hidden_states);
    if (strcmp(text, "none") == 0)
        return 0;
    if (strcmp(text, "middle") == 0) {
        c->hidden_states[L / 2] = true;
        return 0;
    }
    if (strcmp(text, "all") == 0) {
        memset(c->hidden_states + 1, true, L * sizeof *c->hidden_states); /* every layer's output */
        return 0;
    }
    for (const char *at = text;; at++) {
        char *end;
        unsigned long l = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || l > L || (*end && *end != ','))
            return error_set(e,
                             "--hidden-layers: \"%s\" is not middle, all, none or a list of "
                             "numbers from 0 to %zu",
                             text, L);
        c->hidden_states[l] = true;
        at = end;
        if (!*at)
            return 0;
    }
}

/* ---- teachers -------------------------------------------------------------------------------- */

/* Base + vector k, all of its tensors, as a model. */
static struct merged_model *teach(const struct calibration *c, size_t k)
{
    const struct task_vector_source v = task_vectors_source(c->task_vectors);
    struct merged_model *m =
        merged_model_new(c->experts.base, &v, c->experts.n, c->header->input_rounding);
    for (enum weight_kind part = 0; part < taught_parts(c); part++)
        for (size_t l = 0; l < weight_kind_layers(arch_of(c), part); l++)
            if (task_vectors_stream_tensor(c->task_vectors, part, l) >= 0)
                merged_model_set_coefficients(m, part, l, 1,
                                              c->unit_coefficients + k * c->experts.n, NULL);
    return m;
}

/* What a tower makes of the pictures of expert k's examples, or of all examples (k -1). */
static struct image_features *look(const struct calibration *c, long k, const struct arch *a,
                                   const struct weight_source *w, uint64_t memory, struct error *e)
{
    const struct examples *x = &c->examples;
    bool *wanted = mem_alloc(c->samples.images.n, sizeof *wanted);
    for (size_t i = 0; i < x->n; i++)
        for (size_t j = 0; j < x->list[i].images.n; j++)
            wanted[x->list[i].images.indices[j]] |=
                !x->list[i].on_other_rank && (k < 0 || x->list[i].expert == (size_t)k);
    struct image_features *sights =
        image_features_compute(a, w, c->samples.images.images, c->samples.images.n, wanted, memory,
                               c->stage->common.spool, e);
    free(wanted);
    return sights;
}

/* Lets expert k compute on its samples. Fine-tuning mostly leaves the tower as it was: then what
 * the base's has seen will do. */
static int study_one(struct calibration *c, size_t k, const struct arch *a,
                     const struct weight_source *w, uint64_t memory, struct error *e)
{
    int shared = c->options->teacher_vision == TEACHER_VISION_BASE
                     ? 1
                     : image_features_valid_for(c->image_features, a, w, e);
    merged_model_release_layer(c->merged_model); /* an expert's layer is there now */
    struct image_features *own = shared == 0 ? look(c, (long)k, a, w, memory, e) : NULL;
    const struct image_features *sights = shared == 1 ? c->image_features : own;
    int failed = sights ? teachers_run_expert(c->teachers, k, a, w, sights, e) : -1;
    image_features_free(own);
    return failed;
}

/* Every expert: itself, or base + vector. */
static int study(struct calibration *c, uint64_t memory, struct error *e)
{
    for (size_t k = 0; k < c->experts.n; k++) {
        struct model_weights *own = c->experts.files[k];
        if (!own)
            c->teacher_models[k] = teach(c, k);
        if (study_one(c, k, own ? model_weights_arch(own) : arch_of(c),
                      own ? model_weights_weight_source(own)
                          : merged_model_weight_source(c->teacher_models[k]),
                      memory, e))
            return -1;
        if (own)
            model_weights_release_layer(own);
        else
            merged_model_release_layer(c->teacher_models[k]);
    }
    return 0;
}

/* What is left of memory when something of this size was allowed to take up to `most` of it. */
static uint64_t rest(uint64_t memory, uint64_t most, uint64_t size)
{
    return size <= most ? memory - size : memory; /* what is more went to a file */
}

int calibration_prepare(struct calibration *c, struct error *e)
{
    const struct common_options *limits = &c->stage->common;
    const struct examples *x = &c->examples;
    const struct task_vector_source v = task_vectors_source(c->task_vectors);
    uint64_t memory =
        rest(limits->memory, limits->memory, task_vectors_stored_bytes(c->task_vectors));
    struct objective_settings settings = c->options->objective;
    settings.task_weights = c->task_weights;
    settings.hidden = c->hidden_states;
    settings.hidden_count = 0;
    for (size_t l = 0; l <= arch_of(c)->layers; l++)
        settings.hidden_count += c->hidden_states[l];
    c->merged_model =
        merged_model_new(c->experts.base, &v, c->experts.n, c->header->input_rounding);
    c->image_features =
        look(c, -1, arch_of(c), merged_model_weight_source(c->merged_model), memory / 2, e);
    if (mpi_any_failed(!c->image_features, e))
        return -1;
    memory = rest(memory, memory / 2, image_features_bytes(c->image_features));
    c->teachers = teachers_new(arch_of(c), c->experts.n, x->list, x->n, c->hidden_states,
                               memory / 2, limits->spool);
    memory = rest(memory, memory / 2, teachers_stored_bytes(c->teachers));
    c->objective = objective_new(arch_of(c), c->merged_model, c->teachers, x->list,
                                 c->image_features, &settings, x->longest, memory, limits->spool);
    return mpi_any_failed(study(c, memory / 2, e), e);
}

static int check_losses(const struct calibration *c, const size_t *which, size_t n,
                        const struct loss *losses, struct error *e)
{
    for (size_t i = 0; i < n && !c->stage->common.allow_nonfinite; i++)
        if (!isfinite(losses[i].hidden) || !isfinite(losses[i].logit))
            return error_set(e, "the loss of sample %zu of task %s is not finite",
                             c->examples.sample_numbers[which[i]], c->examples.tasks[which[i]]);
    return 0;
}

/* Those of the n examples that are this process's. */
static int own_losses(const struct calibration *c, const size_t *which, size_t n, bool gradient,
                      struct loss *losses, struct error *e)
{
    size_t count = 0, *own = mem_alloc(n, sizeof *own);
    struct loss *computed = mem_alloc(n, sizeof *computed);
    for (size_t i = 0; i < n; i++)
        if (!c->examples.list[which[i]].on_other_rank)
            own[count++] = which[i];
    int failed =
        count && (objective_compute_losses(c->objective, own, count, gradient, computed, e) ||
                  check_losses(c, own, count, computed, e));
    for (size_t i = 0, at = 0; i < n; i++)
        losses[i] = c->examples.list[which[i]].on_other_rank ? (struct loss){0, 0} : computed[at++];
    free(own);
    free(computed);
    return failed;
}

/* The gradients that were there before are those of all processes: number 0 keeps them. */
int calibration_losses(const struct calibration *c, const size_t *which, size_t n, bool gradient,
                       struct loss *losses, struct error *e)
{
    const struct coefficients *all = &c->coefficients;
    run_context_stop_if_reader_gone(c->stage);
    if (gradient && mpi_rank() > 0)
        memset(all->gradient, 0, all->n_all * sizeof *all->gradient);
    if (mpi_any_failed(own_losses(c, which, n, gradient, losses, e), e))
        return -1;
    mpi_sum_over_ranks(&losses->hidden, n * sizeof *losses / sizeof(double));
    if (gradient)
        mpi_sum_over_ranks(all->gradient, all->n_all);
    return 0;
}

void calibration_release(struct calibration *c)
{
    for (size_t k = 0; c->teacher_models && k < c->experts.n; k++) {
        merged_model_free(c->teacher_models[k]);
        c->teacher_models[k] = NULL;
    }
    objective_free(c->objective);
    teachers_free(c->teachers);
    merged_model_free(c->merged_model);
    image_features_free(c->image_features);
    c->image_features = NULL;
    c->objective = NULL;
    c->teachers = NULL;
    c->merged_model = NULL;
}

/* ---- coefficients ---------------------------------------------------------------------------- */

/* Of each merged tensor: the first with which it shares its coefficients. */
static void share(const struct calibration *c, size_t *group)
{
    for (size_t j = 0; j < c->n_merged; j++) {
        group[j] = j;
        for (size_t i = 0; i < j && group[j] == j; i++) {
            bool layers = c->merged_tensors[i].part < WEIGHT_DECODER_LAYER_END &&
                          c->merged_tensors[j].part < WEIGHT_DECODER_LAYER_END;
            bool same = layers && c->merged_tensors[i].layer == c->merged_tensors[j].layer;
            if (c->options->per == PER_MODEL || (c->options->per == PER_LAYER && same))
                group[j] = i;
        }
    }
}

int calibration_init_coefficients(struct calibration *c, const size_t *chunks, bool moved,
                                  struct error *e)
{
    struct coefficients *all = &c->coefficients;
    size_t *group = mem_alloc(c->n_merged, sizeof *group);
    int failed = 0;
    share(c, group);
    coefficients_free(all);
    coefficients_new(all, c->n_merged, c->experts.n, group, chunks, c->options->max);
    for (size_t j = 0; j < c->n_merged; j++) {
        const struct merged_tensor *p = &c->merged_tensors[j];
        const struct coefficient_range *span = &all->ranges[j];
        for (size_t k = 0; k < c->experts.n && group[j] == j && !failed; k++)
            failed = coefficient_init_apply(&c->init, all, j, k, &c->header->tensors[p->tensor],
                                            c->experts.names[k], moved, e);
        merged_model_set_coefficients(c->merged_model, p->part, p->layer, span->chunks,
                                      all->alpha + span->first,
                                      span->frozen ? NULL : all->gradient + span->first);
    }
    free(group);
    return mpi_any_failed(failed, e);
}

const double *calibration_vector_weights(const struct calibration *c, size_t tensor,
                                         const struct vector *v, size_t *n)
{
    static const double zero = 0;
    long j = c->merged_index[tensor], k = task_vectors_expert_of_vector(c->task_vectors, v);
    *n = 1;
    if (j < 0 || k < 0)
        return &zero;
    const struct coefficient_range *span = &c->coefficients.ranges[j];
    *n = span->chunks;
    return c->coefficients.alpha + span->first + (size_t)k * span->chunks;
}

void calibration_write_table(const struct calibration *c, FILE *out)
{
    char number[32];
    fputs("tensor\tmodel\tchunk\tvalue\n", out);
    for (size_t i = 0; i < c->header->n_tensors; i++) {
        const struct tensor *t = &c->header->tensors[i];
        for (size_t v = 0; v < t->n_vectors && tensor_is_float(t); v++) {
            size_t n;
            const double *w = calibration_vector_weights(c, i, &t->vectors[v], &n);
            for (size_t chunk = 0; chunk < n; chunk++)
                fprintf(out, "%s\t%s\t%zu\t%s\n", t->name,
                        c->header->models[t->vectors[v].model].name, chunk,
                        number_format(w[chunk], number));
        }
    }
}

/* ---- around it ------------------------------------------------------------------------------- */

/* Base and experts are told apart by fingerprint, samples by hash. */
static void record(const struct calibration *c, struct stage *s)
{
    const struct experts *x = &c->experts;
    stage_record_operand(s, arena_printf(&s->arena, "--base=%s",
                                         model_source_name(model_weights_model_source(x->base))));
    for (size_t k = 0; k < x->n; k++)
        if (x->files[k])
            stage_record_operand(s, arena_printf(&s->arena, "--expert=%s", x->names[k]));
}

int calibration_open(struct calibration *c, const struct calibration_options *o, struct stage *s,
                     const struct header *h, struct error *e)
{
    c->options = o;
    c->stage = s;
    c->header = h;
    if (experts_open(&c->experts, &o->operands, s, h, e) ||
        coefficient_init_parse(&c->init, &o->init, o->otherwise, o->max, e) ||
        stage_rules_check_models(&c->init.rules, "--init", h, e) ||
        (o->start && !(c->init.start_table = coefficient_table_read(o->start, e))))
        return -1;
    record(c, s);
    tell_idle_globs(c, s);
    if (read_layers(c, e) || read_samples(c, s, e) || choose_samples(c, e))
        return -1;
    c->task_vectors = task_vectors_new(c->experts.base, h, c->experts.n, c->experts.models, e);
    if (!c->task_vectors || list_tensors(c, e))
        return -1;
    c->vectors_from_files =
        c->init.source != COEFFICIENT_INIT_STREAM && experts_match_stream(&c->experts, h);
    c->teacher_models = mem_alloc(c->experts.n, sizeof *c->teacher_models);
    c->unit_coefficients = mem_alloc(c->experts.n * c->experts.n, sizeof *c->unit_coefficients);
    for (size_t k = 0; k < c->experts.n; k++)
        c->unit_coefficients[k * c->experts.n + k] = 1;
    return reserve(c, e);
}

void calibration_close(struct calibration *c)
{
    calibration_release(c);
    coefficients_free(&c->coefficients);
    coefficient_init_free(&c->init);
    task_vectors_free(c->task_vectors);
    samples_free(&c->samples);
    examples_free(&c->examples);
    free(c->teacher_models);
    experts_close(&c->experts);
    free(c->merged_tensors);
    free(c->tensor_names);
    free(c->merged_index);
    free(c->task_weights);
    free(c->hidden_states);
    free(c->unit_coefficients);
}
