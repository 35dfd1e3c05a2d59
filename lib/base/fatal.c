#include "fatal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A signal handler has no other way to find these. */
static const char *_Atomic program = "tvtools";
static atomic_int exit_status = 1;
static struct fatal_action *_Atomic actions;
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;

void fatal_set_program(const char *name, int status)
{
    program = name;
    exit_status = status;
}

static void run_actions(const char *sentence)
{
    for (struct fatal_action *a = actions; a; a = a->next)
        a->run(a->data, program, sentence);
}

/* At the first end of the process; a second one waits for it. */
static void begin_end(void)
{
    static atomic_flag begun = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set(&begun))
        pause(); /* another thread is ending the process */
}

/* A library has ended the process, and said why. */
static void end_at_exit(int status, void *unused)
{
    if (status == 0 || !actions)
        return;
    begin_end();
    run_actions(status == 2 ? "invalid command line" : "ended by a library");
}

void fatal_add_action(struct fatal_action *a)
{
    static bool is_registered;
    pthread_mutex_lock(&list_lock);
    if (!is_registered)
        on_exit(end_at_exit, NULL);
    is_registered = true;
    a->next = actions;
    actions = a;
    pthread_mutex_unlock(&list_lock);
}

void fatal_remove_action(struct fatal_action *a)
{
    pthread_mutex_lock(&list_lock);
    if (actions == a)
        actions = a->next;
    else
        for (struct fatal_action *b = actions; b; b = b->next)
            if (b->next == a)
                b->next = a->next;
    pthread_mutex_unlock(&list_lock);
}

/* One write, so that the lines of several processes do not mix. */
static void print(const char *sentence)
{
    const char *parts[] = {program, ": ", sentence, "\n"};
    char line[512];
    size_t size = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t n = strnlen(parts[i], sizeof line - 1 - size);
        memcpy(line + size, parts[i], n);
        size += n;
    }
    ssize_t ignored = write(STDERR_FILENO, line, size);
    (void)ignored;
}

void fatal_exit(const char *sentence)
{
    begin_end();
    print(sentence);
    run_actions(sentence);
    _exit(exit_status);
}
