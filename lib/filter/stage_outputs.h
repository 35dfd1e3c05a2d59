/* The files that the stages of a pipeline write under names from the command line: two of them must
 * not have the same name, and none may be the standard output that carries the stream. */
#ifndef TV_STAGE_OUTPUTS_H
#define TV_STAGE_OUTPUTS_H

#include "stage.h"

/* An error if two of the stages' outputs, or one of them and the `report` (NULL: none), are the
 * same file, or if one is in the folder that another replaces. Pipes and devices may be given
 * twice. */
int stage_outputs_check_distinct(const struct stage *const *stages, size_t n, const char *report,
                                 struct error *e);

/* Does the stage at the end of a pipeline write a stream or an archive to standard output? */
bool stage_outputs_use_stdout(const struct stage *last);
/* An error if the file, pipe or device of an option is this process's standard output, which
 * carries the stream: both would be lost in it. /dev/null may be both. */
int stage_outputs_check_path_is_not_stdout(const char *option, const char *path, struct error *e);
/* The same for all outputs of a stage. */
int stage_outputs_check_not_stdout(const struct stage *s, struct error *e);
/* For a stage that will run in a process of its own, with a pipe to the next program: the same for
 * the descriptor of standard output, whatever it is now. */
int stage_outputs_check_not_pipe(const struct stage *s, struct error *e);

#endif
