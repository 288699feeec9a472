/* LD_PRELOAD: the wall clock of a process is wrong by as many seconds as the file CLOCK_OFF says, which is
 * read again at each look and need not be there. Clocks that nobody can set are right. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long off(void)
{
    const char *name = getenv("CLOCK_OFF");
    int before = errno;
    int file = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
    char text[24] = {0};
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) < 0)
            text[0] = 0;
        close(file);
    }
    errno = before;
    return strtol(text, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (syscall(SYS_clock_gettime, clock, now) != 0)
        return -1;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        now->tv_sec += off();
    return 0;
}
