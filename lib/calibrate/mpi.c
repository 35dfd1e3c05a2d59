#include "mpi.h"

#include "decode.h"
#include "encode.h"
#include "mem.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_ELEMENTS ((size_t)1 << 24) /* of one message at most: MPI counts in int */

/* The functions and objects of libmpi that are used. OpenMPI's handles are addresses of objects. */
struct mpi {
    int (*init)(int *argc, char ***argv, int required, int *provided);
    int (*finalize)(void);
    int (*size)(void *comm, int *n);
    int (*rank)(void *comm, int *rank);
    int (*broadcast)(void *data, int n, void *type, int root, void *comm);
    int (*reduce)(const void *from, void *to, int n, void *type, void *op, int root, void *comm);
    void *world, *byte_type, *double_type, *sum;
};

#define THREAD_SERIALIZED 2 /* MPI_THREAD_SERIALIZED: any thread, one at a time */

static struct mpi mpi;
static bool connected;
static bool failed_everywhere; /* every rank has been notified of a failure */

/* ---- ranks ----------------------------------------------------------------------------------- */

static size_t read_number_from_environment(const char *name, size_t missing)
{
    const char *text = getenv(name);
    return text ? (size_t)strtoul(text, NULL, 10) : missing;
}

size_t mpi_process_count(void)
{
    size_t n = read_number_from_environment("OMPI_COMM_WORLD_SIZE", 1);
    return n ? n : 1;
}

size_t mpi_rank(void)
{
    return read_number_from_environment("OMPI_COMM_WORLD_RANK", 0);
}

static int muted_stderr = -1; /* a duplicate of standard error while it is muted */

void mpi_mute_stderr(void)
{
    int null = mpi_rank() ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;
    if (null < 0)
        return;
    muted_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    dup2(null, STDERR_FILENO);
    close(null);
}

void mpi_restore_stderr(void)
{
    if (muted_stderr < 0)
        return;
    dup2(muted_stderr, STDERR_FILENO);
    close(muted_stderr);
    muted_stderr = -1;
}

/* ---- libmpi ---------------------------------------------------------------------------------- */

/* RTLD_GLOBAL because OpenMPI's plugins look for its symbols among those of the process. */
static int load_library(struct error *e)
{
    const struct {
        const char *name;
        void *to;
    } symbols[] = {{"MPI_Init_thread", &mpi.init},        {"MPI_Finalize", &mpi.finalize},
                   {"MPI_Comm_size", &mpi.size},          {"MPI_Comm_rank", &mpi.rank},
                   {"MPI_Bcast", &mpi.broadcast},         {"MPI_Reduce", &mpi.reduce},
                   {"ompi_mpi_comm_world", &mpi.world},   {"ompi_mpi_byte", &mpi.byte_type},
                   {"ompi_mpi_double", &mpi.double_type}, {"ompi_mpi_op_sum", &mpi.sum}};
    void *library = dlopen("libmpi.so.40", RTLD_NOW | RTLD_GLOBAL);
    if (!library)
        return error_set(e, "cannot load libmpi.so.40 of OpenMPI, which mpirun needs "
                            "(Debian: apt-get install openmpi-bin)");
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *found = dlsym(library, symbols[i].name);
        if (!found)
            return error_set(e, "libmpi.so.40 has no %s; expected that of OpenMPI 4",
                             symbols[i].name);
        memcpy(symbols[i].to, &found, sizeof found);
    }
    return 0;
}

/* The environment may have variables of an mpirun that started another program, and whose processes
 * are not there. */
static int check_environment_matches_mpi(struct error *e)
{
    int n, rank;
    if (mpi.size(mpi.world, &n) || mpi.rank(mpi.world, &rank))
        return error_set(e, "OpenMPI cannot determine the rank of this process");
    if ((size_t)n == mpi_process_count() && (size_t)rank == mpi_rank())
        return 0;
    return error_set(
        e,
        "OMPI_COMM_WORLD_SIZE and OMPI_COMM_WORLD_RANK say %zu processes and rank %zu, "
        "but OpenMPI has %d and rank %d (unset them, or start calibrate with mpirun)",
        mpi_process_count(), mpi_rank(), n, rank);
}

int mpi_open(struct error *e)
{
    int provided;
    if (mpi_process_count() == 1 || connected)
        return 0;
    if (load_library(e))
        return -1;
    if (mpi.init(NULL, NULL, THREAD_SERIALIZED, &provided) || provided < THREAD_SERIALIZED)
        return error_set(e, "OpenMPI cannot connect the processes");
    connected = true;
    return check_environment_matches_mpi(e);
}

void mpi_close(bool ok)
{
    if (connected && (ok || failed_everywhere))
        mpi.finalize();
    connected = false;
}

/* ---- collective operations ------------------------------------------------------------------- */

static void broadcast_from(size_t root, void *data, size_t size)
{
    for (size_t at = 0; at < size && connected; at += MESSAGE_ELEMENTS) {
        size_t n = size - at < MESSAGE_ELEMENTS ? size - at : MESSAGE_ELEMENTS;
        mpi.broadcast((char *)data + at, (int)n, mpi.byte_type, (int)root, mpi.world);
    }
}

void mpi_broadcast(void *data, size_t size)
{
    broadcast_from(0, data, size);
}

/* Rank 0 adds and broadcasts: sums that several ranks compute may differ in their last bits. */
void mpi_sum_over_ranks(double *x, size_t n)
{
    if (!connected)
        return;
    double *sum = mem_alloc(n, sizeof *sum);
    for (size_t at = 0; at < n; at += MESSAGE_ELEMENTS) {
        size_t count = n - at < MESSAGE_ELEMENTS ? n - at : MESSAGE_ELEMENTS;
        mpi.reduce(x + at, sum + at, (int)count, mpi.double_type, mpi.sum, 0, mpi.world);
    }
    mpi_broadcast(sum, n * sizeof *sum);
    memcpy(x, sum, n * sizeof *sum);
    free(sum);
}

int mpi_any_failed(int failed, struct error *e)
{
    if (!connected)
        return failed ? -1 : 0;
    size_t count = mpi_process_count(), first = 0;
    double *flags = mem_alloc(count, sizeof *flags);
    flags[mpi_rank()] = failed != 0;
    mpi_sum_over_ranks(flags, count);
    while (first < count && flags[first] == 0)
        first++;
    free(flags);
    if (first == count)
        return 0;
    broadcast_from(first, e->text, sizeof e->text);
    e->printed = mpi_rank() != 0;
    failed_everywhere = true;
    return -1;
}

int mpi_check_equal_on_all_ranks(uint64_t value, const char *what, struct error *e)
{
    uint64_t first = value;
    mpi_broadcast(&first, sizeof first);
    int failed = value == first ? 0
                                : error_set(e, "process %zu of %zu has different %s than the first",
                                            mpi_rank() + 1, mpi_process_count(), what);
    return mpi_any_failed(failed, e);
}

/* ---- the header of a stream ------------------------------------------------------------------ */

void mpi_broadcast_header(const struct header *h)
{
    struct bytes encoded = {0};
    if (mpi_process_count() == 1)
        return;
    encode_header(&encoded, h);
    uint64_t size = encoded.size;
    mpi_broadcast(&size, sizeof size);
    mpi_broadcast(encoded.data, size);
    bytes_free(&encoded);
}

struct header *mpi_receive_header(struct error *e)
{
    uint64_t size = 0;
    mpi_broadcast(&size, sizeof size);
    unsigned char *encoded = mem_alloc(size, 1);
    mpi_broadcast(encoded, size);
    struct header *h = header_new();
    int failed = decode_header(encoded, size, h, e);
    free(encoded);
    if (!failed)
        return h;
    header_free(h);
    return NULL;
}
