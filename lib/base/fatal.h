/* The end of a process where no error can be returned: out of memory, or a mapped file that was
 * truncated. fatal_exit prints one sentence, runs the actions that were added, and ends the process
 * without running exit handlers, because other threads may be at work and locks may be held. The
 * actions also run if a library calls exit, as libarchive does when memory runs out and argp does
 * on a wrong command line.
 *
 * An action belongs to its caller and must live until fatal_remove_action. Its function may only
 * make system calls that a signal handler may make. */
#ifndef TV_FATAL_H
#define TV_FATAL_H

struct fatal_action {
    void (*run)(void *data, const char *program, const char *sentence);
    void *data;
    struct fatal_action *next;
};

/* The name in front of the sentence, and the exit status. By default "tvtools" and 1. */
void fatal_set_program(const char *name, int status);
void fatal_add_action(struct fatal_action *a);
void fatal_remove_action(struct fatal_action *a);
/* A signal handler may call it. */
_Noreturn void fatal_exit(const char *sentence);

#endif
