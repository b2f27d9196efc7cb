// See runnel/err.h.
#include <runnel/err.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

int rn_vfail(struct rn_err *err, int code, const char *format, va_list args)
{
    if (err) {
        err->code = code;
        vsnprintf(err->text, sizeof err->text, format, args);
    }
    return code;
}

int rn_fail(struct rn_err *err, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    rn_vfail(err, code, format, args);
    va_end(args);
    return code;
}

static int code_of_errno(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return RN_ENOSPC;
    case ENOMEM:
        return RN_ENOMEM;
    case ENOENT:
        return RN_ENOENT;
    case EEXIST:
        return RN_EEXIST;
    case EACCES:
    case EPERM:
        return RN_EACCESS;
    case EAGAIN:
    case EMFILE:
    case ENFILE:
        return RN_EAGAIN;
    default:
        return RN_EIO;
    }
}

int rn_fail_errno(struct rn_err *err, const char *format, ...)
{
    int number = errno;
    int code = code_of_errno(number);
    va_list args;
    va_start(args, format);
    rn_vfail(err, code, format, args);
    va_end(args);
    if (err) {
        size_t used = strlen(err->text);
        snprintf(err->text + used, sizeof err->text - used, ": %s", strerror(number));
    }
    return code;
}

int rn_err_prefix(struct rn_err *err, const char *format, ...)
{
    if (!err)
        return RN_EINVAL;
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list args;
    va_start(args, format);
    rn_vfail(err, err->code, format, args);
    va_end(args);
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", old);
    return err->code;
}
