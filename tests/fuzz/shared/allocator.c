/* The count of allocated bytes: by AddressSanitizer's hooks, or, in a build without sanitizers, by
 * an allocator in front of the C library's, which all libraries use. */
#include "fuzz.h"

long fuzz_live, fuzz_peak;

static void count_bytes(long n)
{
    long live = __atomic_add_fetch(&fuzz_live, n, __ATOMIC_RELAXED);
    if (live > __atomic_load_n(&fuzz_peak, __ATOMIC_RELAXED))
        __atomic_store_n(&fuzz_peak, live, __ATOMIC_RELAXED);
}

#if __has_feature(address_sanitizer)

#include <sanitizer/allocator_interface.h>

static void count_malloc(const volatile void *p, size_t size)
{
    count_bytes((long)size);
}

static void count_free(const volatile void *p)
{
    if (p)
        count_bytes(-(long)__sanitizer_get_allocated_size((const void *)p));
}

bool fuzz_count_allocations(void)
{
    return __sanitizer_install_malloc_and_free_hooks(count_malloc, count_free);
}

#else

#include <errno.h>
#include <malloc.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

/* A larger allocation is a finding, as with libFuzzer's -malloc_limit_mb. */
#define LARGEST_ALLOCATION ((size_t)512 << 20)

static void *counted(void *p)
{
    size_t size = p ? malloc_usable_size(p) : 0;
    if (size > LARGEST_ALLOCATION)
        abort();
    count_bytes((long)size);
    return p;
}

void *malloc(size_t size)
{
    return counted(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
    return counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t size)
{
    long before = p ? (long)malloc_usable_size(p) : 0;
    void *q = __libc_realloc(p, size);
    if (q || size == 0)
        count_bytes(-before);
    return counted(q);
}

void *memalign(size_t alignment, size_t size)
{
    return counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **p, size_t alignment, size_t size)
{
    void *q = memalign(alignment, size);
    *p = q ? q : *p;
    return q ? 0 : ENOMEM;
}

void free(void *p)
{
    if (p)
        count_bytes(-(long)malloc_usable_size(p));
    __libc_free(p);
}

bool fuzz_count_allocations(void)
{
    return true;
}

#endif
