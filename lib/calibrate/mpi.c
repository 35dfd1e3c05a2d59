#include "mpi.h"

#include "mem.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT_ONCE ((size_t)1 << 24) /* elements of one message; MPI counts in int */

/* OpenMPI's interface as its library has it: handles are addresses of these objects. */
struct mpi {
    int (*init)(int *argc, char ***argv, int wanted, int *provided);
    int (*finalize)(void);
    int (*size)(void *ranks, int *n);
    int (*rank)(void *ranks, int *own);
    int (*broadcast)(void *data, int n, void *type, int root, void *ranks);
    int (*reduce)(const void *from, void *to, int n, void *type, void *op, int root, void *ranks);
    void *world, *byte_type, *double_type, *sum;
};

#define SERIALIZED 2 /* MPI_THREAD_SERIALIZED: any thread, one at a time */

static struct mpi mpi;
static bool connected, agreed; /* agreed: on a failure */

/* ---- who we are ------------------------------------------------------------------------------ */

static size_t from_environment(const char *name, size_t otherwise)
{
    const char *text = getenv(name);
    return text ? (size_t)strtoul(text, NULL, 10) : otherwise;
}

size_t mpi_process_count(void)
{
    size_t n = from_environment("OMPI_COMM_WORLD_SIZE", 1);
    return n ? n : 1;
}

size_t mpi_rank(void)
{
    return from_environment("OMPI_COMM_WORLD_RANK", 0);
}

static int errors = -1; /* where standard error went before it was hushed */

void mpi_mute_stderr(void)
{
    int nowhere = mpi_rank() ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;
    if (nowhere < 0)
        return;
    errors = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    dup2(nowhere, STDERR_FILENO);
    close(nowhere);
}

void mpi_restore_stderr(void)
{
    if (errors < 0)
        return;
    dup2(errors, STDERR_FILENO);
    close(errors);
    errors = -1;
}

/* ---- the library ----------------------------------------------------------------------------- */

/* Its plugins look for its symbols among those of the process. */
static int load(struct error *e)
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
        return error_set(e, "several processes need OpenMPI, and libmpi.so.40 cannot be loaded "
                            "(Debian: apt-get install openmpi-bin)");
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *found = dlsym(library, symbols[i].name);
        if (!found)
            return error_set(e, "the libmpi.so.40 at hand has no %s", symbols[i].name);
        memcpy(symbols[i].to, &found, sizeof found);
    }
    return 0;
}

/* Variables of an mpirun that started another program, long ago, promise processes that are not
 * there. */
static int check_numbers(struct error *e)
{
    int n, own;
    if (mpi.size(mpi.world, &n) || mpi.rank(mpi.world, &own))
        return error_set(e, "OpenMPI does not number the processes");
    if ((size_t)n == mpi_process_count() && (size_t)own == mpi_rank())
        return 0;
    return error_set(e,
                     "OMPI_COMM_WORLD_SIZE promises %zu processes, of which this is number %zu; "
                     "OpenMPI has %d, and this is number %d",
                     mpi_process_count(), mpi_rank(), n, own);
}

int mpi_open(struct error *e)
{
    int provided;
    if (mpi_process_count() == 1 || connected)
        return 0;
    if (load(e))
        return -1;
    if (mpi.init(NULL, NULL, SERIALIZED, &provided) || provided < SERIALIZED)
        return error_set(e, "OpenMPI cannot connect the processes");
    connected = true;
    return check_numbers(e);
}

void mpi_close(bool ok)
{
    if (connected && (ok || agreed))
        mpi.finalize();
    connected = false;
}

/* ---- together -------------------------------------------------------------------------------- */

static void broadcast_from(size_t root, void *data, size_t size)
{
    for (size_t at = 0; at < size && connected; at += AT_ONCE) {
        size_t n = size - at < AT_ONCE ? size - at : AT_ONCE;
        mpi.broadcast((char *)data + at, (int)n, mpi.byte_type, (int)root, mpi.world);
    }
}

void mpi_broadcast(void *data, size_t size)
{
    broadcast_from(0, data, size);
}

/* Number 0 adds, for sums that are made in several places may differ in their last bits. */
void mpi_sum_over_ranks(double *x, size_t n)
{
    if (!connected)
        return;
    double *sum = mem_alloc(n, sizeof *sum);
    for (size_t at = 0; at < n; at += AT_ONCE) {
        size_t part = n - at < AT_ONCE ? n - at : AT_ONCE;
        mpi.reduce(x + at, sum + at, (int)part, mpi.double_type, mpi.sum, 0, mpi.world);
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
    agreed = true;
    return -1;
}

int mpi_check_equal(uint64_t value, const char *what, struct error *e)
{
    uint64_t first = value;
    mpi_broadcast(&first, sizeof first);
    int failed = value == first ? 0
                                : error_set(e, "process %zu of %zu has other %s than the first",
                                            mpi_rank() + 1, mpi_process_count(), what);
    return mpi_any_failed(failed, e);
}
