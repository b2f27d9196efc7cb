// See child.h.
#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void become(int log_fd, pid_t parent, char *const argv[])
{
    setpgid(0, 0); // Ctrl-C is ours; we stop the children in order
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(127);
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd >= 0)
        dup2(null_fd, STDIN_FILENO);
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    execvp(argv[0], argv);
    fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

int child_start(struct child *child, const char *name, const char *log_path, char *const argv[],
                struct rn_err *err)
{
    *child = (struct child){.name = name};
    snprintf(child->log_path, sizeof child->log_path, "%s", log_path);
    int log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        return rn_fail_errno(err, "cannot write %s", log_path);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become(log_fd, parent, argv);
    close(log_fd);
    if (pid < 0)
        return rn_fail_errno(err, "cannot start %s", name);
    child->pid = pid;
    return 0;
}

bool child_alive(struct child *child)
{
    int status;
    if (child->pid && waitpid(child->pid, &status, WNOHANG) != 0)
        child->pid = 0;
    return child->pid != 0;
}

bool child_stop(struct child *child, int timeout_ms)
{
    int status = -1;
    if (!child->pid)
        return false;
    kill(child->pid, SIGTERM);
    pid_t got = 0;
    for (int waited = 0; waited < timeout_ms; waited += 10) {
        got = waitpid(child->pid, &status, WNOHANG);
        if (got != 0)
            break;
        usleep(10000);
    }
    if (got == 0) {
        kill(child->pid, SIGKILL);
        waitpid(child->pid, &status, 0);
    }
    child->pid = 0;
    return got > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

const char *child_last_words(const struct child *child, char *text, size_t size)
{
    text[0] = 0;
    FILE *file = fopen(child->log_path, "r");
    if (!file)
        return text;
    if (fseek(file, 0, SEEK_END) == 0) {
        long end = ftell(file);
        long start = end > (long)size - 1 ? end - ((long)size - 1) : 0;
        if (fseek(file, start, SEEK_SET) == 0)
            text[fread(text, 1, size - 1, file)] = 0;
    }
    fclose(file);
    return text;
}

void child_find_program(char *out, size_t size, const char *name)
{
    char own[512];
    ssize_t len = readlink("/proc/self/exe", own, sizeof own - 1);
    if (len > 0) {
        own[len] = 0;
        char *slash = strrchr(own, '/');
        if (slash) {
            *slash = 0;
            int needed = snprintf(out, size, "%s/%s", own, name);
            if (needed > 0 && (size_t)needed < size && access(out, X_OK) == 0)
                return;
        }
    }
    snprintf(out, size, "%s", name);
}

unsigned short child_free_port(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    unsigned short port = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    if (bind(fd, (struct sockaddr *)&in, sizeof in) == 0 &&
        getsockname(fd, (struct sockaddr *)&in, &len) == 0)
        port = ntohs(in.sin_port);
    close(fd);
    return port;
}
