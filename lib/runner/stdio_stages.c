#include "stdio_stages.h"

#include "block_layout.h"
#include "reader.h"
#include "source_sink_services.h"
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the reader ------------------------------------------------------------------------------ */

struct input {
    struct reader *reader;
    int fd;
    bool is_rewindable;
};

/* Opens the operand, or standard input. `name` is its name in messages. */
static int open_operand_or_stdin(const struct stage *s, const char **name, struct error *e)
{
    if (s->operands.n && strcmp(s->operands.items[0], "-") != 0) {
        *name = s->operands.items[0];
        int fd = open(*name, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? error_set(e, "cannot open %s: %s", *name, strerror(errno)) : fd;
    }
    *name = "standard input";
    if (isatty(STDIN_FILENO))
        return error_set(e,
                         "standard input is a terminal; pipe a tensor stream into it (see --help)");
    return STDIN_FILENO;
}

static int open_reader(struct stage *s, struct header *h, struct error *e)
{
    struct input *in = s->data = mem_alloc(1, sizeof *in);
    const char *name;
    in->fd = open_operand_or_stdin(s, &name, e);
    if (in->fd < 0)
        return -1;
    in->reader = reader_open(in->fd, name, e);
    if (!in->reader)
        return -1;
    struct header *copy = header_copy(reader_header(in->reader));
    *h = *copy; /* the arena goes with it */
    free(copy);
    return 0;
}

static int read_stream_tensor_header(struct job *job, struct error *e)
{
    struct input *in = job->stage->data;
    struct tensor t;
    int more = reader_next_tensor(in->reader, job->arena, &t, e);
    if (more == 0)
        return error_set(e, "broken stream: it ends before its last tensor");
    if (more < 0)
        return -1;
    *job->out = t;
    return PLAN_TRANSFORM;
}

static int read_block_payload(const struct job *job, struct block *b, struct error *e)
{
    struct input *in = job->stage->data;
    for (size_t k = 0; k < b->n_vectors; k++)
        if (reader_read_payload(in->reader, b->data[k], dtype_bytes(b->dtypes[k], b->n), e))
            return -1;
    return 0;
}

static int rewind_reader(struct stage *s, struct error *e)
{
    struct input *in = s->data;
    bool copied;
    if (in->is_rewindable)
        return reader_rewind(in->reader, e);
    in->is_rewindable = true;
    return reader_make_rewindable(in->reader, s->common.spool, &copied, e);
}

static int make_reader_stoppable(struct stage *s)
{
    struct input *in = s->data;
    return reader_make_stoppable(in->reader);
}

static void stop_reader(struct stage *s)
{
    struct input *in = s->data;
    reader_stop(in->reader);
}

/* Reads the stream's end, which alone proves that the stream is complete. */
static int read_stream_end(struct stage *s, struct reader *r, struct error *e)
{
    struct arena a = {0};
    struct tensor t;
    int failed = reader_next_tensor(r, &a, &t, e) ? -1 : 0;
    s->lacks_checksums = reader_lacks_checksums(r);
    const struct end_record *end = reader_end_record(r);
    for (size_t i = 0; !failed && i < end->n_hashes; i++)
        source_sink_services_add_model_hash(s, end->hashed_models[i], end->hashes[i]);
    arena_free(&a);
    return failed;
}

static int close_reader(struct stage *s, bool ok, struct error *e)
{
    struct input *in = s->data;
    int failed = in->reader && ok ? read_stream_end(s, in->reader, e) : 0;
    reader_close(in->reader);
    if (in->fd > STDIN_FILENO)
        close(in->fd);
    free(in);
    return failed;
}

const struct filter stdio_stages_reader = {
    .name = "reader",
    .role = ROLE_SOURCE,
    .max_operands = 1,
    .raw_payload = true,
    .open = open_reader,
    .begin_tensor = read_stream_tensor_header,
    .source.fill_block = read_block_payload,
    .source.rewind = rewind_reader,
    .source.make_stoppable = make_reader_stoppable,
    .source.stop_reading = stop_reader,
    .close = close_reader,
};

/* ---- the source of a run --------------------------------------------------------------------- */

const char *stdio_stages_find_stream_file(const struct stage *source)
{
    struct stat st;
    bool reads_stdin = source->filter == &stdio_stages_reader && source->operands.n == 0;
    return reads_stdin && fstat(STDIN_FILENO, &st) == 0 && S_ISREG(st.st_mode) ? "/proc/self/fd/0"
                                                                               : NULL;
}

uint64_t stdio_stages_copied_bytes(const struct stage *source)
{
    uint64_t bytes = 0;
    if (source->filter != &stdio_stages_reader || stdio_stages_find_stream_file(source))
        return 0;
    for (size_t i = 0; i < source->out->n_tensors; i++) {
        const struct tensor *t = &source->out->tensors[i];
        bytes += block_layout_payload_bytes(t, tensor_elements(t));
    }
    return bytes;
}

/* ---- the writer ------------------------------------------------------------------------------ */

void stdio_stages_prepare_writer(struct stage *s)
{
    if (!isatty(STDOUT_FILENO))
        s->data = writer_open(STDOUT_FILENO, "standard output");
}

static int open_writer(struct stage *s, struct header *h, struct error *e)
{
    /* mpirun gives a program its own terminal, and passes on its output there. */
    if (isatty(STDOUT_FILENO) && !getenv("OMPI_COMM_WORLD_RANK"))
        return error_set(e, "standard output is a terminal; send the tensor stream to a pipe or a "
                            "file (tv-view shows it as text)");
    if (!s->data)
        s->data = writer_open(STDOUT_FILENO, "standard output");
    return writer_write_header(s->data, h, e);
}

static int write_tensor_header(struct job *job, struct error *e)
{
    return writer_write_tensor(job->stage->data, job->out, e) ? -1 : PLAN_TRANSFORM;
}

static int write_block_payload(struct job *job, const struct block *b, struct error *e)
{
    for (size_t k = 0; k < b->n_vectors; k++) {
        size_t size = dtype_bytes(b->dtypes[k], b->n);
        if (writer_write_payload(job->stage->data, b->data[k], size, e))
            return -1;
        job->stage->bytes_written += size;
    }
    return 0;
}

static int write_tensor_trailer(struct job *job, bool ok, struct error *e)
{
    return ok ? writer_write_tensor_trailer(job->stage->data, e) : 0;
}

static bool writer_lost_its_reader(const struct stage *s)
{
    return writer_is_reader_gone(s->data);
}

/* Ends the stream of a failed run with an error record, so that the next program receives the
 * cause. */
static int close_failed_writer(struct writer *w, const struct error *failure)
{
    struct error ignored;
    if (w)
        writer_write_error_record(w, failure->stage, failure->text);
    return writer_close(w, &ignored);
}

static int close_writer(struct stage *s, bool ok, struct error *e)
{
    struct writer *w = s->data;
    if (!ok)
        return close_failed_writer(w, e);
    const char *const *models;
    const uint64_t *hashes;
    size_t n = source_sink_services_get_model_hashes(s, &models, &hashes);
    int failed = writer_write_end_record(w, n, (const char **)models, hashes, e);
    return writer_close(w, e) || failed ? -1 : 0;
}

const struct filter stdio_stages_writer = {
    .name = "writer",
    .role = ROLE_SINK,
    .raw_payload = true,
    .open = open_writer,
    .begin_tensor = write_tensor_header,
    .sink.consume_block = write_block_payload,
    .end_tensor = write_tensor_trailer,
    .sink.reader_gone = writer_lost_its_reader,
    .sink.reports_failed_run = true,
    .close = close_writer,
};

/* ---- no stream ------------------------------------------------------------------------------- */

static int open_empty_source(struct stage *s, struct header *h, struct error *e)
{
    h->kind = KIND_WEIGHTS;
    return 0;
}

static const struct filter empty_source = {
    .name = "nothing",
    .max_operands = 1,
    .role = ROLE_SOURCE,
    .open = open_empty_source,
};

const struct filter *stdio_stages_empty_source(const char *operand, struct error *e)
{
    return &empty_source;
}
