/* Finds folders that are installed with tv: beside it, or in the build tree. */
#ifndef TV_INSTALLED_FOLDER_H
#define TV_INSTALLED_FOLDER_H

/* A folder given by its two paths from the folder of the running program; NULL if there is neither.
 * To be freed. */
char *installed_folder_find(const char *installed, const char *built);

#endif
