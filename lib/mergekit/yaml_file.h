/* Reads the documents of a YAML file, each as a yaml_tree that lives during the call of a function.
 * An error names the file and the line. */
#ifndef TV_YAML_FILE_H
#define TV_YAML_FILE_H

#include "yaml_tree.h"

/* Reads one document, whose root is not null; returns 0, or -1 with the error set. */
typedef int yaml_file_document(void *context, struct yaml_tree *t, const yaml_node_t *root);

/* Reads the file `path`, or standard input if it is "-", of up to 16 MiB. Strings go to the arena;
 * `tool` is the command, for warnings. A file without a document is an error. */
int yaml_file_read(const char *path, const char *tool, yaml_file_document *read, void *context,
                   struct arena *a, struct error *e);
/* What messages call a file. */
const char *yaml_file_name(const char *path);

#endif
