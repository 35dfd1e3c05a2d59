#include "fatal.h"

#include <pthread.h>
#include <stdatomic.h>
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

void fatal_add_action(struct fatal_action *a)
{
    pthread_mutex_lock(&list_lock);
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

static void print(const char *text)
{
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

void fatal_exit(const char *sentence)
{
    static atomic_flag begun = ATOMIC_FLAG_INIT;
    while (atomic_flag_test_and_set(&begun))
        pause(); /* another thread is ending the process */
    print(program);
    print(": ");
    print(sentence);
    print("\n");
    for (struct fatal_action *a = actions; a; a = a->next)
        a->run(a->data, program, sentence);
    _exit(exit_status);
}
