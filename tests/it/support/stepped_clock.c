/* Shifts the wall clock of a process by the seconds in the file that CLOCK_STEP names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*next)(clockid_t, struct timespec *);
    if (!next)
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(clock, now);
    const char *path = getenv("CLOCK_STEP");
    int file = result == 0 && clock == CLOCK_REALTIME && path ? open(path, O_RDONLY) : -1;
    if (file >= 0) {
        char text[16] = "";
        if (read(file, text, sizeof text - 1) > 0)
            now->tv_sec += atol(text);
        close(file);
    }
    return result;
}
