/* The signals whose default action ends the process, caught by one handler that removes temporary
 * files first. SIGKILL cannot be caught; SIGBUS and SIGXFSZ are handled by the program. */
#ifndef TV_ENDING_SIGNALS_H
#define TV_ENDING_SIGNALS_H

/* Calls `handler` from here on for each of these signals that would end the process. */
void ending_signals_catch(void (*handler)(int));
/* Those that `handler` catches end the process again. */
void ending_signals_release(void (*handler)(int));
/* The last step of a handler: the signal ends the process. */
void ending_signals_raise(int signal_number);

#endif
