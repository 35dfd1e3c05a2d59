#include "result_stand_in.h"

#include "fs.h"
#include "predicted_output.h"
#include "shard_layout.h"
#include "spool.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The layout of one safetensors file with these tensors. */
static struct shard_layout *lay_out(const struct predicted_output *o, const char *name,
                                    struct arena *a, struct error *e)
{
    const char **names = arena_alloc(a, o->n, sizeof *names);
    enum dtype *dtypes = arena_alloc(a, o->n, sizeof *dtypes);
    size_t *ranks = arena_alloc(a, o->n, sizeof *ranks);
    const uint64_t **shapes = arena_alloc(a, o->n, sizeof *shapes);
    for (size_t i = 0; i < o->n; i++) {
        names[i] = o->tensors[i].name;
        dtypes[i] = o->tensors[i].dtype;
        ranks[i] = o->tensors[i].rank;
        shapes[i] = o->tensors[i].shape;
    }
    const struct shard_layout_spec spec = {.n = o->n,
                                           .names = names,
                                           .dtypes = dtypes,
                                           .ranks = ranks,
                                           .shapes = shapes,
                                           .shard_size = UINT64_MAX,
                                           .stem = "model",
                                           .single_file_name = "model.safetensors"};
    return shard_layout_new(&spec, name, e);
}

/* Writes the header; the data are a hole. */
static int write_file(int fd, const struct shard *s, const char *name, struct error *e)
{
    if (fs_write_at(fd, 0, s->header, s->header_size) ||
        ftruncate(fd, (off_t)(s->header_size + s->data_size)))
        return error_set(e, "cannot write a temporary file for %.200s: %s", name, strerror(errno));
    return 0;
}

static int make_stand_in(const struct translated_config *m, struct document_result *result,
                         const struct pipeline_options *run, struct arena *a, struct error *e)
{
    struct predicted_output o;
    if (predicted_output_compute(&o, m, &result->pipeline, result->dtype, run, a, e))
        return -1;
    struct shard_layout *l = lay_out(&o, result->name, a, e);
    int fd = l ? spool_open_temporary_file(run->spool, e) : -1;
    int failed = fd < 0 ? -1 : write_file(fd, &l->shards[0], result->name, e);
    shard_layout_free(l);
    if (failed && fd >= 0)
        close(fd);
    if (failed)
        return -1;
    result->stand_in_fd = fd;
    result->stand_in = arena_printf(a, "/dev/fd/%d", fd);
    return 0;
}

int result_stand_in_make_all(struct translated_config *m, const struct pipeline_options *run,
                             struct arena *a, struct error *e)
{
    for (size_t i = 0; i < m->n_results; i++)
        if (!m->results[i]->stand_in && make_stand_in(m, m->results[i], run, a, e))
            return -1;
    return 0;
}

void result_stand_in_close_all(struct translated_config *m)
{
    for (size_t i = 0; i < m->n_results; i++) {
        if (m->results[i]->stand_in)
            close(m->results[i]->stand_in_fd);
        m->results[i]->stand_in = NULL;
    }
}
