#include "calibration.h"

#include "block_layout.h"
#include "finite_check.h"
#include "mpi.h"
#include "printable.h"
#include "source_sink_services.h"
#include "spool.h"
#include "stage.h"
#include "stage_rules.h"
#include "stdio_stages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct arch *arch_of(const struct calibration *c)
{
    return model_weights_arch(c->experts.base);
}

static bool teachers_use_own_vision_tower(const struct calibration *c)
{
    return c->options->teacher_vision == TEACHER_VISION_OWN;
}

/* ---- open ------------------------------------------------------------------------------------ */

/* For the history: the names of base and experts, whose fingerprints the header has. */
static void record_models_in_history(const struct calibration *c, struct stage *s)
{
    const struct base_and_experts *x = &c->experts;
    const char *base = model_source_name(model_weights_model_source(x->base));
    if (c->options->models.config)
        stage_record_file(s, "config", model_weights_config_hash(x->base));
    if (c->init.start_table)
        stage_record_file(s, "start", coefficient_table_hash(c->init.start_table));
    stage_record_option(s, arena_printf(&s->arena, "--base=%s", base));
    for (size_t k = 0; k < x->n; k++)
        if (x->files[k])
            stage_record_option(s, arena_printf(&s->arena, "--expert=%s", x->names[k]));
}

static int open_models(struct calibration *c, struct stage *s, struct error *e)
{
    const struct calibrate_options *o = c->options;
    if (base_and_experts_open(&c->experts, &o->models, s, c->header, e) ||
        coefficient_init_parse(&c->init, &o->init, o->default_init, o->max, e) ||
        stage_rules_check_models(&c->init.rules, "--init", c->header, e) ||
        (o->start_table && !(c->init.start_table = coefficient_table_read(o->start_table, e))))
        return -1;
    record_models_in_history(c, s);
    return 0;
}

/* Reads the files of --samples. The history records their hashes. */
static int read_samples(struct calibration *c, struct stage *s, struct error *e)
{
    const struct string_list *files = &c->options->samples;
    const struct sample_requirements requirements = {.arch = arch_of(c)};
    for (size_t i = 0; i < files->n; i++) {
        if (samples_read(&c->samples, files->items[i], &requirements, e))
            return -1;
        stage_record_file(s, "samples", c->samples.hash);
    }
    return 0;
}

static int select_samples(struct calibration *c, struct error *e)
{
    const struct calibrate_options *o = c->options;
    const struct training_sample_selection selection = {.experts = &c->experts,
                                                        .tasks = &o->tasks,
                                                        .per_task = o->per_task,
                                                        .held_out = o->held_out,
                                                        .response_only =
                                                            o->positions == POSITIONS_RESPONSE};
    if (training_samples_select(&c->training_samples, &c->samples, &selection, e))
        return -1;
    training_samples_assign_to_ranks(&c->training_samples, mpi_process_count(), mpi_rank());
    return 0;
}

static void set_task_weights(struct calibration *c)
{
    c->task_weights = mem_alloc(c->experts.n, sizeof *c->task_weights);
    for (size_t k = 0; k < c->experts.n; k++)
        if (!tensor_rules_find_value(&c->options->task_weight, c->experts.names[k], "", -1, -1,
                                     &c->task_weights[k]))
            c->task_weights[k] = 1;
}

static int parse_selected_hidden_states(struct calibration *c, struct error *e)
{
    size_t L = arch_of(c)->layers;
    c->hidden_states = mem_alloc(L + 1, sizeof *c->hidden_states);
    int failed =
        calibrate_options_parse_hidden_layers(c->options->hidden_layers, L, c->hidden_states, e);
    if (!c->options->models.need_teachers)
        memset(c->hidden_states, 0, (L + 1) * sizeof *c->hidden_states);
    return failed;
}

/* Reserves space for the task vectors that are read again: those of learned tensors; and where base
 * + task vector is the teacher, all that the model has. */
static int reserve_task_vectors(struct calibration *c, struct error *e)
{
    const struct common_options *limits = &c->stage->common;
    size_t n = c->header->n_tensors;
    bool *wanted = mem_alloc(n, sizeof *wanted), runs_vectors = false;
    for (size_t k = 0; k < c->experts.n; k++) {
        runs_vectors |= c->options->models.need_teachers && !c->experts.files[k];
        if (c->vectors_from_files)
            task_vectors_set_expert_file(c->task_vectors, k, c->experts.files[k]);
    }
    bool store = calibration_stores_vectors(c);
    for (size_t i = 0; i < n; i++)
        wanted[i] = store && c->merged.index[i] >= 0;
    enum weight_kind end = teacher_models_end_of_own_kinds(teachers_use_own_vision_tower(c));
    for (enum weight_kind kind = 0; kind < end && store && runs_vectors; kind++)
        for (size_t l = 0; l < weight_kind_layers(arch_of(c), kind); l++)
            if (task_vectors_find_stream_tensor(c->task_vectors, kind, l) >= 0)
                wanted[task_vectors_find_stream_tensor(c->task_vectors, kind, l)] = true;
    int failed =
        task_vectors_reserve_spool(c->task_vectors, wanted, limits->memory, limits->spool, e);
    free(wanted);
    return failed;
}

/* Checks that the disk has room for the task vectors and for the source's copy of a stream from a
 * pipe, and reports the sum on a terminal if it is large. */
static int check_temporary_files(const struct calibration *c, struct error *e)
{
    const struct common_options *limits = &c->stage->common;
    uint64_t vectors = task_vectors_stored_bytes(c->task_vectors);
    uint64_t size = vectors > limits->memory ? vectors : 0;
    if (calibration_stores_vectors(c))
        size += stdio_stages_copied_bytes(source_sink_services_source(c->stage));
    if (size == 0)
        return 0;
    if (size >= (uint64_t)1 << 30 && isatty(STDERR_FILENO))
        printable_note(c->stage->filter->name,
                       "temporary files in %s: %.1f GiB (none with a saved stream as standard "
                       "input)",
                       spool_folder_or_default(limits->spool), ldexp((double)size, -30));
    return spool_check_disk_space(limits->spool, size, e);
}

bool calibration_stores_vectors(const struct calibration *c)
{
    return !c->vectors_from_files && !c->saved_vectors;
}

static int check_saved_tensor_is_finite(const struct calibration *c, size_t index, struct error *e)
{
    const struct tensor *t = &c->header->tensors[index];
    struct block b = {0};
    int failed = 0;
    block_layout_allocate_arrays(&b, t->n_vectors);
    for (size_t k = 0; k < t->n_vectors; k++)
        b.data[k] = mem_alloc(tensor_block_elements(t), 8);
    for (size_t i = 0; i < tensor_block_count(t) && !failed; i++) {
        block_layout_set_to_block(&b, t, i);
        for (size_t k = 0; k < t->n_vectors; k++)
            saved_stream_read_elements(c->saved_vectors, index, k, b.first, b.n, b.data[k]);
        failed = finite_check_block(t, c->header, &b, e);
    }
    for (size_t k = 0; k < t->n_vectors; k++)
        free(b.data[k]);
    block_layout_free(&b);
    return failed;
}

/* Before training: the stream itself passes by afterwards. */
static int check_saved_stream_is_finite(const struct calibration *c, struct error *e)
{
    for (size_t i = 0; i < c->header->n_tensors && !finite_check_is_off(c->stage); i++)
        if (check_saved_tensor_is_finite(c, i, e))
            return -1;
    return 0;
}

/* A saved stream is read in its file. If that is not possible, its vectors are stored like those of
 * a pipe; reading it then reports the reason. */
static int open_saved_stream(struct calibration *c, struct error *e)
{
    const struct stage *source = source_sink_services_source(c->stage);
    bool reads_source = c->stage->in == source->out;
    const char *path = reads_source ? stdio_stages_find_stream_file(source) : NULL;
    struct error own = {0};
    if (!path || c->vectors_from_files || mpi_process_count() > 1)
        return 0;
    c->saved_vectors = saved_stream_open(path, c->stage->common.spool, 0, &own);
    if (c->saved_vectors) {
        task_vectors_set_saved_stream(c->task_vectors, c->saved_vectors);
        return check_saved_stream_is_finite(c, e);
    }
    if (own.printed)
        *e = own;
    return own.printed ? -1 : 0;
}

static int open_task_vectors(struct calibration *c, struct error *e)
{
    const struct base_and_experts *x = &c->experts;
    c->task_vectors = task_vectors_new(x->base, c->header, x->n, x->models, e);
    if (!c->task_vectors || learned_tensors_select(&c->merged, c->options, x->base, c->task_vectors,
                                                   c->header, c->stage->filter->name, e))
        return -1;
    c->names = (struct training_log_names){c->merged.names, x->names};
    coefficient_init_allocate(&c->init, c->merged.n, x->n);
    c->vectors_from_files = c->init.source != COEFFICIENT_INIT_STREAM &&
                            base_and_experts_files_match_stream(x, c->header);
    return open_saved_stream(c, e) || reserve_task_vectors(c, e) || check_temporary_files(c, e) ? -1
                                                                                                : 0;
}

int calibration_open(struct calibration *c, const struct calibrate_options *o, struct stage *s,
                     const struct header *h, struct error *e)
{
    c->options = o;
    c->stage = s;
    c->header = h;
    if (open_models(c, s, e) || parse_selected_hidden_states(c, e) || read_samples(c, s, e) ||
        select_samples(c, e))
        return -1;
    set_task_weights(c);
    return open_task_vectors(c, e);
}

/* ---- prepare --------------------------------------------------------------------------------- */

/* The images of samples that this process computes: those of one expert, or of all (expert -1). */
static bool *list_needed_images(const struct calibration *c, long expert)
{
    bool *wanted = mem_alloc(c->samples.images.n, sizeof *wanted);
    for (size_t i = 0; i < c->training_samples.n; i++) {
        const struct training_sample *x = &c->training_samples.list[i];
        bool own = !x->on_other_rank && (expert < 0 || x->expert == (size_t)expert);
        for (size_t j = 0; j < x->images.n; j++)
            wanted[x->images.indices[j]] |= own;
    }
    return wanted;
}

/* The features that a vision tower computes from these images. */
static struct image_features *run_vision_tower(const struct calibration *c, long expert,
                                               const struct arch *a, const struct weight_source *w,
                                               uint64_t memory, struct error *e)
{
    bool *wanted = list_needed_images(c, expert);
    struct image_features *f =
        image_features_compute(a, w, c->samples.images.images, c->samples.images.n, wanted, memory,
                               c->stage->common.spool, e);
    free(wanted);
    return f;
}

/* Runs expert k on its samples. Most fine-tuned models have the base's vision tower: then the
 * base's image features are valid for the expert, too. */
static int run_teacher_on_its_samples(struct calibration *c, size_t k, uint64_t memory,
                                      struct error *e)
{
    const struct arch *a = teacher_models_arch(c->teacher_weights, k);
    const struct weight_source *w = teacher_models_weight_source(c->teacher_weights, k);
    int shared = teachers_use_own_vision_tower(c)
                     ? image_features_are_valid_for_model(c->image_features, a, w, e)
                     : 1;
    merged_model_release_layer(c->merged_model); /* makes room for the expert's layer */
    struct image_features *own = shared == 0 ? run_vision_tower(c, (long)k, a, w, memory, e) : NULL;
    const struct image_features *f = shared == 1 ? c->image_features : own;
    int failed = f ? teacher_outputs_run_expert(c->teachers, k, a, w, f, e) : -1;
    image_features_free(own);
    if (!failed)
        teacher_models_release_layer(c->teacher_weights, k);
    return failed;
}

static int run_teachers(struct calibration *c, uint64_t memory, struct error *e)
{
    for (size_t k = 0; k < c->experts.n && c->options->models.need_teachers; k++)
        if (run_teacher_on_its_samples(c, k, memory, e))
            return -1;
    return 0;
}

/* The memory budget that is left after `size` bytes were stored with a limit of `limit` bytes of
 * memory: all of it if they went to a file. */
static uint64_t compute_remaining_budget(uint64_t budget, uint64_t limit, uint64_t size)
{
    return size <= limit ? budget - size : budget;
}

static struct teacher_outputs *create_teachers(const struct calibration *c, uint64_t memory)
{
    const struct teacher_outputs_inputs in = {.arch = arch_of(c),
                                              .experts = c->experts.n,
                                              .samples = c->training_samples.list,
                                              .n = c->training_samples.n,
                                              .hidden_states = c->hidden_states,
                                              .memory = memory,
                                              .spool = c->stage->common.spool};
    return teacher_outputs_new(&in);
}

static struct objective *create_objective(const struct calibration *c, uint64_t memory)
{
    struct objective_settings settings = c->options->objective;
    const struct objective_inputs in = {.arch = arch_of(c),
                                        .weights = merged_model_weight_source(c->merged_model),
                                        .merged_model = c->merged_model,
                                        .teachers = c->teachers,
                                        .samples = c->training_samples.list,
                                        .image_features = c->image_features,
                                        .longest = c->training_samples.longest,
                                        .memory = memory,
                                        .spool = c->stage->common.spool};
    settings.task_weights = c->task_weights;
    settings.hidden_states = c->hidden_states;
    for (size_t l = 0; l <= in.arch->layers; l++)
        settings.n_hidden_states += c->hidden_states[l];
    return objective_new(&in, &settings);
}

/* --memory is shared out in this order: task vectors, image features, teachers' states, the
 * objective. */
int calibration_prepare(struct calibration *c, struct error *e)
{
    const struct base_and_experts *x = &c->experts;
    const struct task_vector_source v = task_vectors_source(c->task_vectors);
    enum dtype rounding = c->header->input_rounding;
    uint64_t memory = c->stage->common.memory;
    memory = compute_remaining_budget(memory, memory, task_vectors_stored_bytes(c->task_vectors));
    c->merged_model = merged_model_new(x->base, &v, x->n, rounding);
    c->image_features = run_vision_tower(
        c, -1, arch_of(c), merged_model_weight_source(c->merged_model), memory / 2, e);
    if (mpi_any_failed(!c->image_features, e))
        return -1;
    memory = compute_remaining_budget(memory, memory / 2, image_features_bytes(c->image_features));
    c->teacher_weights =
        teacher_models_new(x, c->task_vectors, teachers_use_own_vision_tower(c), rounding);
    c->teachers = create_teachers(c, memory / 2);
    memory =
        compute_remaining_budget(memory, memory / 2, teacher_outputs_stored_bytes(c->teachers));
    c->objective = create_objective(c, memory);
    return mpi_any_failed(run_teachers(c, memory / 2, e), e);
}

/* ---- release and close ----------------------------------------------------------------------- */

void calibration_release(struct calibration *c)
{
    objective_free(c->objective);
    teacher_outputs_free(c->teachers);
    teacher_models_free(c->teacher_weights);
    merged_model_free(c->merged_model);
    image_features_free(c->image_features);
    c->objective = NULL;
    c->teachers = NULL;
    c->teacher_weights = NULL;
    c->merged_model = NULL;
    c->image_features = NULL;
}

void calibration_close(struct calibration *c)
{
    calibration_release(c);
    coefficients_free(&c->coefficients);
    coefficient_init_free(&c->init);
    task_vectors_free(c->task_vectors);
    saved_stream_close(c->saved_vectors);
    learned_tensors_free(&c->merged);
    samples_free(&c->samples);
    training_samples_free(&c->training_samples);
    base_and_experts_close(&c->experts);
    free(c->task_weights);
    free(c->hidden_states);
}
