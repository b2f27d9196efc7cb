// Errors: a negative code is returned, the words go into a struct rn_err.
//
// Every function that can fail returns int (0 or a positive result on success, a negative
// enum rn_code on failure) and is must-check. The library never logs: the caller that decides
// what to do about the error also decides whether to log its text.
#ifndef RUNNEL_ERR_H
#define RUNNEL_ERR_H

#include <stdarg.h>

#define RN_MUST_CHECK   __attribute__((warn_unused_result))
#define RN_PRINTF(f, a) __attribute__((format(printf, f, a)))

enum rn_code {
    RN_OK = 0,
    RN_EINVAL = -1,        // the caller's or the user's value is not acceptable
    RN_EFORMAT = -2,       // bytes that came from outside are malformed
    RN_ELIMIT = -3,        // a maximum was hit
    RN_ENOENT = -4,        // there is no such thing
    RN_EEXIST = -5,        // it is there already
    RN_EIO = -6,           // the system refused: errno is in the text
    RN_ENOMEM = -7,        // out of memory
    RN_ECORRUPT = -8,      // stored data is damaged
    RN_ESTATE = -9,        // not possible now
    RN_EAGAIN = -10,       // try again later
    RN_EACCESS = -11,      // not allowed, or a signature does not verify
    RN_EUNSUPPORTED = -12, // known to the protocol, not to this program
    RN_ENOSPC = -13,       // the disk or the budget is full
    RN_ECONFLICT = -14,    // same name, other content
};

// Words for the user. Caller's storage; an untouched one may hold anything.
struct rn_err {
    int code;       // the enum rn_code that was returned
    char text[240]; // always terminated, truncated if longer
};

// Fills *err (which may be NULL) and returns code, so that `return rn_fail(err, RN_EINVAL, ...)`.
int rn_fail(struct rn_err *err, int code, const char *format, ...) RN_PRINTF(3, 4);
int rn_vfail(struct rn_err *err, int code, const char *format, va_list args) RN_PRINTF(3, 0);

// The same for a system call that failed: appends ": " and strerror(errno). Maps ENOSPC, ENOMEM,
// ENOENT, EEXIST, EACCES/EPERM to their codes, EAGAIN and too many open files to RN_EAGAIN, and
// everything else to RN_EIO.
int rn_fail_errno(struct rn_err *err, const char *format, ...) RN_PRINTF(2, 3);

// Puts "words: " in front of the text that is there already; returns err->code.
int rn_err_prefix(struct rn_err *err, const char *format, ...) RN_PRINTF(2, 3);

#endif
