/* LD_PRELOAD: syncs or reads of one kind of a process's files hang or fail, and all others do not.
 *
 * DISK_FAULTS names a file of rules, which is read again at each call and need not be there:
 *
 *     sync hang MANIFEST      fsync and fdatasync of files whose path contains MANIFEST hang
 *     read fail .sst          reads at an offset fail with EIO
 *
 * What hangs goes on when the rule is gone. Each fault adds a line to DISK_FAULTS.met. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum fault { NONE, HANG, FAIL };

/* What the rules say of this call; the path of its file, if they say anything. */
static enum fault ruled(const char *call, int fd, char path[PATH_MAX])
{
    const char *name = getenv("DISK_FAULTS");
    int file = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return NONE;
    char rules[1024];
    ssize_t length = read(file, rules, sizeof rules - 1);
    close(file);
    rules[length < 0 ? 0 : length] = 0;

    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;

    char *rest = NULL;
    for (char *line = strtok_r(rules, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char calls[8], what[8], part[64];
        if (sscanf(line, "%7s %7s %63s", calls, what, part) == 3 && strcmp(calls, call) == 0 &&
            strstr(path, part) != NULL)
            return strcmp(what, "hang") == 0 ? HANG : FAIL;
    }
    return NONE;
}

static void note(const char *call, const char *path)
{
    char name[PATH_MAX], line[PATH_MAX + 16];
    snprintf(name, sizeof name, "%s.met", getenv("DISK_FAULTS"));
    int file = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0)
        return;
    int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    if (write(file, line, (size_t)length) != length)
        abort();
    close(file);
}

/* Hangs as long as it must. True if the call fails, with errno set. */
static int fails(const char *call, int fd)
{
    int before = errno;
    char path[PATH_MAX];
    enum fault fault = ruled(call, fd, path);
    if (fault != NONE)
        note(call, path);
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    while (fault == HANG) {
        nanosleep(&pause, NULL);
        fault = ruled(call, fd, path);
    }
    errno = fault == FAIL ? EIO : before;
    return fault == FAIL;
}

/* The function of this name that stands behind ours. */
#define BEHIND(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd)
{
    return fails("sync", fd) ? -1 : BEHIND(fsync)(fd);
}

int fdatasync(int fd)
{
    return fails("sync", fd) ? -1 : BEHIND(fdatasync)(fd);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t offset)
{
    return fails("read", fd) ? -1 : BEHIND(pread)(fd, bytes, count, offset);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t offset)
{
    return fails("read", fd) ? -1 : BEHIND(pread64)(fd, bytes, count, offset);
}
