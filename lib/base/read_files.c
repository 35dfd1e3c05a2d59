#include "read_files.h"

#include "mem.h"

#include <pthread.h>

/* The list grows until the process ends: a model that was closed is still an input of the run. */
static struct read_file {
    struct read_file *next;
    dev_t device;
    ino_t inode;
} * all;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static _Thread_local bool ignoring;

static bool contains(const struct stat *st)
{
    for (const struct read_file *f = all; f; f = f->next)
        if (f->device == st->st_dev && f->inode == st->st_ino)
            return true;
    return false;
}

void read_files_add(const struct stat *st)
{
    if (ignoring)
        return;
    struct read_file *f = mem_alloc(1, sizeof *f);
    pthread_mutex_lock(&lock);
    *f = (struct read_file){all, st->st_dev, st->st_ino};
    all = f;
    pthread_mutex_unlock(&lock);
}

void read_files_ignore(bool ignore)
{
    ignoring = ignore;
}

bool read_files_contains(const struct stat *st)
{
    pthread_mutex_lock(&lock);
    bool found = contains(st);
    pthread_mutex_unlock(&lock);
    return found;
}
