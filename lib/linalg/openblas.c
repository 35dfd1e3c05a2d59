#include "openblas.h"

#include "mem.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ADDRESS_SPACE ((size_t)256 << 20)

static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static void *library;

static void *open_library(void)
{
    static const char *const names[] = {"libopenblas.so.0", "libopenblas.so", "libopenblasp.so.0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *opened = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (opened)
            return opened;
    }
    return NULL;
}

/* OpenBLAS starts its own threads when it is loaded, unless this variable is 1. Its old value is
 * restored, because child processes inherit it. */
static void *open_library_single_threaded(void)
{
    static const char key[] = "OPENBLAS_NUM_THREADS";
    const char *before = getenv(key);
    char *copy = before ? mem_copy_text(before) : NULL;
    if (setenv(key, "1", 1))
        mem_exit();
    void *opened = open_library();
    if (copy ? setenv(key, copy, 1) : unsetenv(key))
        mem_exit();
    free(copy);
    return opened;
}

/* Where OpenBLAS gets no memory as it is loaded, it tries again without end. */
static int check_address_space(struct error *e)
{
    void *space =
        mmap(NULL, ADDRESS_SPACE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED)
        return error_set(e, "OpenBLAS needs %d MiB of address space (ulimit -v): %s",
                         (int)(ADDRESS_SPACE >> 20), strerror(errno));
    munmap(space, ADDRESS_SPACE);
    return 0;
}

static int load_library(struct error *e)
{
    if (library)
        return 0;
    if (check_address_space(e))
        return -1;
    library = open_library_single_threaded();
    if (!library)
        return error_set(e,
                         "cannot load libopenblas.so.0 (OpenBLAS), which matrix products need; on "
                         "Debian: apt-get install libopenblas0-pthread");
    void (*set_threads)(int);
    *(void **)&set_threads = dlsym(library, "openblas_set_num_threads");
    if (set_threads)
        set_threads(1);
    return 0;
}

void *openblas_function(const char *name, struct error *e)
{
    pthread_mutex_lock(&loading);
    int failed = load_library(e);
    pthread_mutex_unlock(&loading);
    if (failed)
        return NULL;
    void *function = dlsym(library, name);
    if (!function)
        error_set(e, "libopenblas.so.0 has no function %s", name);
    return function;
}

/* The result of a function without arguments that returns a text; "" if there is none. */
static const char *call_for_text(const char *name)
{
    struct error ignored;
    char *(*function)(void);
    *(void **)&function = openblas_function(name, &ignored);
    return function ? function() : "";
}

/* openblas_get_config returns "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ...". */
const char *openblas_description(void)
{
    static char text[128];
    static pthread_mutex_t describing = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&describing);
    if (!text[0]) {
        const char *config = call_for_text("openblas_get_config");
        const char *version = strncmp(config, "OpenBLAS ", 9) == 0 ? config + 9 : "?";
        const char *kernels = call_for_text("openblas_get_corename");
        if (library)
            snprintf(text, sizeof text, "OpenBLAS %.*s %s", (int)strcspn(version, " "), version,
                     *kernels ? kernels : "?");
    }
    pthread_mutex_unlock(&describing);
    return text[0] ? text : NULL;
}
