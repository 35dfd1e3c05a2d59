/* How every program starts, before it opens a file. */
#ifndef TV_PROCESS_START_H
#define TV_PROCESS_START_H

/* Makes the use of a standard descriptor that is closed an error (no file that is opened later gets
 * its number), of a failed allocation in jansson the end of the process, and of output that cannot
 * be flushed at exit a failure. Names in archives are UTF-8, whatever the locale. `name` begins the
 * sentences; it is borrowed. */
void process_start(const char *name);

#endif
