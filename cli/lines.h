// Lines of line protocol from a stream, in bounded memory: a newline within the quotes of a text
// value does not end a line, as in InfluxDB.
#ifndef CLI_LINES_H
#define CLI_LINES_H

#include <runnel/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define LINES_MAX 262144 // bytes of a line

struct lines {
    FILE *file;
    char *data; // LINES_MAX bytes
    size_t at, len;
    bool eof;
    uint64_t number; // of physical lines read so far
};

RN_MUST_CHECK int lines_init(struct lines *in, FILE *file, struct rn_err *err);
void lines_release(struct lines *in);
// 1: a line without its newline, borrowed until the next call, and the number it begins with;
// 0: the end; RN_ELIMIT: a line that is too long was left out; RN_EIO.
RN_MUST_CHECK int lines_next(struct lines *in, char **line, size_t *len, uint64_t *number,
                             struct rn_err *err);

#endif
