/* Faults of the system, by LD_PRELOAD: a clock that jumps, locks that do not work, a disk
 * on which the n-th writing call fails, or is the last thing the process does.
 *
 * CONTROL is a file of int64 in native order, given when this is compiled:
 *   [0] nanoseconds to add to CLOCK_REALTIME    [1] errno of flock, 0: it works
 * Every process that has the shim sees a change of it at once.  Failing calls are
 * armed by the process itself, through ctypes, and only below a directory it names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static volatile int64_t *control;

__attribute__((constructor)) static void begin(void) {
    int fd = open(CONTROL, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    void *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) control = at;
    close(fd);
}

/* ---------------------------------------------------------------- the clock */

int clock_gettime(clockid_t which, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int said = real(which, now);
    if (!said && control && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
        int64_t ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + control[0];
        now->tv_sec = ns / 1000000000;
        now->tv_nsec = ns % 1000000000;
    }
    return said;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

int flock(int fd, int operation) {
    REAL(int, "flock", int, int);
    if (control && control[1]) { errno = (int)control[1]; return -1; }
    return real(fd, operation);
}

/* ---------------------------------------------------------------- the disk */

static char below[512];
static int64_t left, seen;
static int fault, dies;

/* The `at`-th call from now on below `directory` fails with `error`, or, with `error` 0,
 * kills the process before it is done; `at` 0: none does, they are only counted. */
void fault_arm(const char *directory, int64_t at, int error) {
    strncpy(below, directory, sizeof below - 1);
    left = at; seen = 0; fault = error; dies = !error;
}

int64_t fault_seen(void) { return seen; }

static int hit_path(const char *path) {
    if (!below[0] || strncmp(path, below, strlen(below))) return 0;
    seen++;
    if (!left || --left) return 0;
    if (dies) kill(getpid(), SIGKILL);
    errno = fault;
    return 1;
}

static int hit(int fd) {
    char link[64], path[512];
    if (!below[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return hit_path(path);
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return hit(fd) ? -1 : real(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return hit(fd) ? -1 : real(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return hit(fd) ? -1 : real(fd, data, size, at);
}
int fsync(int fd) {
    REAL(int, "fsync", int);
    return hit(fd) ? -1 : real(fd);
}
int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return hit(fd) ? -1 : real(fd);
}
int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    return hit(fd) ? -1 : real(fd, size);
}
int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    return hit(fd) ? -1 : real(fd, size);
}
int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return hit_path(to) ? -1 : real(from, to);
}
int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    return hit_path(path) ? -1 : real(path);
}
