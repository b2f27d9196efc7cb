// Files: whole reads with a maximum, durable atomic replacement, folders.
#ifndef RUNNEL_FILE_H
#define RUNNEL_FILE_H

#include <runnel/buf.h>
#include <runnel/err.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// Appends the whole file to out; RN_ELIMIT if it does not fit.
RN_MUST_CHECK int rn_file_read(const char *path, struct rn_buf *out, struct rn_err *err);
// Temporary file beside it, write, fsync, rename, fsync of the folder.
RN_MUST_CHECK int rn_file_replace(const char *path, struct rn_span content, mode_t mode,
                                  struct rn_err *err);
RN_MUST_CHECK int rn_mkdirs(const char *path, mode_t mode, struct rn_err *err); // like mkdir -p
RN_MUST_CHECK int rn_remove_tree(const char *path, struct rn_err *err); // never follows links
// "%s/%s" with a check that it fits.
RN_MUST_CHECK int rn_path_join(char *out, size_t size, const char *folder, const char *name,
                               struct rn_err *err);
// Sorted names of a folder's entries that end in `suffix`, at most max, each freed by the caller
// with rn_names_free.
RN_MUST_CHECK int rn_names_list(const char *folder, const char *suffix, int max, char ***names,
                                int *count, struct rn_err *err);
void rn_names_free(char **names, int count);

#endif
