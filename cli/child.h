// A program that the demo starts: its output goes to a file, it dies with us, it is ended by its
// process id and always reaped.
#ifndef CLI_CHILD_H
#define CLI_CHILD_H

#include <runnel/err.h>
#include <stdbool.h>
#include <sys/types.h>

#define CHILD_MAX_ARGS 64

struct child {
    const char *name; // for messages
    pid_t pid;        // 0: not running
    char log_path[512];
};

// argv[0] is the program: a path, or a name that is looked up in PATH. argv ends with NULL.
RN_MUST_CHECK int child_start(struct child *child, const char *name, const char *log_path,
                              char *const argv[], struct rn_err *err);
bool child_alive(struct child *child); // reaps it when it has ended
// SIGTERM, then SIGKILL after timeout_ms. True if it went by itself with status 0.
bool child_stop(struct child *child, int timeout_ms);
// The last lines of its output, for a message; text is returned.
const char *child_last_words(const struct child *child, char *text, size_t size);

// The path of a program: beside our own executable if it is there, else its bare name for PATH.
void child_find_program(char *out, size_t size, const char *name);
// A loopback TCP port that is free now; 0 on failure.
unsigned short child_free_port(void);

#endif
