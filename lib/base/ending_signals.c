#include "ending_signals.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

static bool ends_process(int signal_number)
{
    static const int others[] = {SIGKILL, SIGSTOP, SIGCHLD,  SIGCONT, SIGTSTP, SIGTTIN,
                                 SIGTTOU, SIGURG,  SIGWINCH, SIGBUS,  SIGXFSZ};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (signal_number == others[i])
            return false;
    return true;
}

/* Replaces the handler of each signal that would end the process by `after`, if it is `before`. */
static void replace_handlers(void (*before)(int), void (*after)(int))
{
    struct sigaction action = {.sa_handler = after}, old;
    sigemptyset(&action.sa_mask);
    for (int i = 1; i <= SIGRTMAX; i++)
        if (ends_process(i) && sigaction(i, NULL, &old) == 0 && old.sa_handler == before)
            sigaction(i, &action, NULL);
}

void ending_signals_catch(void (*handler)(int))
{
    replace_handlers(SIG_DFL, handler);
}

void ending_signals_release(void (*handler)(int))
{
    replace_handlers(handler, SIG_DFL);
}

void ending_signals_raise(int signal_number)
{
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}
