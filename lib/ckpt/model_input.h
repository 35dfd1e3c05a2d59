/* Weight files and archives that are recognized by content, and copied to an unlinked temporary
 * file where they cannot be mapped in place: compressed files, and input from pipes. The
 * model_files owns the copies. */
#ifndef TV_MODEL_INPUT_H
#define TV_MODEL_INPUT_H

#include "byte_input.h"
#include "file_format.h"
#include "weight_files.h"

/* The format of an open file; of a compressed file, that of its contents, or FILE_FORMAT_ARCHIVE if
 * they are damaged. */
int model_input_detect(int fd, const char *path, enum file_format *format, bool *is_compressed,
                       struct error *e);
/* Is this zip a weight file: a torch file or an .npz? 0: it is an archive; -1: it is damaged. */
int model_input_is_weight_zip(struct model_file *file, struct error *e);
/* Replaces a mapped .npz with compressed records by a decompressed copy, with a note; other files
 * stay. */
int model_input_decompress_npz(struct model_file *file, const char *spool, FILE *notes,
                               struct error *e);
/* Adds the weights of a compressed file, decompressed. Notes it. */
int model_input_add_compressed_file(struct model_files *f, struct weight_files *w, const char *path,
                                    const char *spool, struct error *e);
/* Adds the weights that arrive through a pipe: the files of an archive, or a weight file. Notes
 * that they were copied. */
int model_input_add_pipe(struct model_files *f, struct weight_files *w, struct byte_input *in,
                         const char *spool, struct error *e);

#endif
