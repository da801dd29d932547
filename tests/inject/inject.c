/* Makes the n-th system call or allocation of a process fail. Loaded into the daemon by LD_PRELOAD, behind the address
 * sanitizer's library where there is one (which keeps allocations to itself).
 *
 * VQ_INJECT names a file with a struct control, mapped by both sides: the test says which kinds of calls count and which of
 * them fails with what, and reads how many there were. Without the file everything is as ever. Children count nothing.
 *
 * Not failed is what only our own mistakes can make fail: epoll_ctl, and reads and writes of eventfds and pipes, for which
 * libuv ends the process; and what has no way to tell (close, munmap). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* In the order of KINDS in errno_sweep.py. */
enum kind {
    OPEN, READ, WRITE, FLUSH, RENAME, REMOVE, MKDIR, ALLOCATE, MAP, AIO, SOCKET, BIND, LISTEN, CONNECT, ACCEPT, SEND, RECEIVE,
    FORK, DESCRIPTOR, MALLOC,
};

struct control {
    _Atomic uint32_t kinds;  /* bit (1 << kind): it counts */
    int32_t error;
    _Atomic uint64_t at;     /* this one fails, counted from 1; 0: none */
    uint32_t and_all_later;  /* and whatever comes after it */
    uint32_t is_log_only;    /* of files only those in a directory "raft" */
    _Atomic uint64_t hits;
    _Atomic uint64_t failed;
    char site[240];          /* who made the call that failed first */
};

static struct control *control;
static _Thread_local bool is_inside; /* looking for a name allocates */

static void in_child(void)
{
    control = NULL;
}

__attribute__((constructor)) static void load(void)
{
    const char *path = getenv("VQ_INJECT");
    int fd = path == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);

    if (fd < 0)
        return;
    void *map = (void *)syscall(SYS_mmap, NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)syscall(SYS_close, fd);
    if (map == MAP_FAILED)
        return;
    (void)pthread_atfork(NULL, NULL, in_child);
    control = map;
}

static void note_site(void *caller)
{
    Dl_info info;

    is_inside = true;
    if (dladdr(caller, &info) != 0)
        (void)snprintf(control->site, sizeof(control->site), "%s %s+%#zx", info.dli_fname, info.dli_sname == NULL ? "" : info.dli_sname,
                       (size_t)((char *)caller - (char *)info.dli_fbase));
    is_inside = false;
}

static bool fails(enum kind kind, void *caller)
{
    uint64_t at, hit;

    if (control == NULL || is_inside || (control->kinds & UINT32_C(1) << kind) == 0)
        return false;
    hit = ++control->hits;
    at = control->at;
    if (at == 0 || hit < at || (hit > at && control->and_all_later == 0))
        return false;
    if (control->failed++ == 0)
        note_site(caller);
    errno = control->error;
    return true;
}

/* Regular files and sockets; see above. */
static bool is_worth(int fd)
{
    char link[32], path[512];
    struct stat st;

    if (control == NULL || is_inside || control->kinds == 0 || syscall(SYS_fstat, fd, &st) != 0)
        return false;
    if (!S_ISREG(st.st_mode))
        return S_ISSOCK(st.st_mode) && control->is_log_only == 0;
    if (control->is_log_only == 0)
        return true;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlink, link, path, sizeof(path) - 1);
    path[length < 0 ? 0 : length] = '\0';
    return strstr(path, "/raft/") != NULL;
}

static bool is_socket(int fd)
{
    struct stat st;

    return control != NULL && syscall(SYS_fstat, fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

#define CALLER __builtin_return_address(0)
#define REAL(name) __extension__({                              \
    static __typeof__(&name) real_##name;                       \
    if (real_##name == NULL) {                                  \
        is_inside = true;                                       \
        real_##name = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        is_inside = false;                                      \
    }                                                           \
    real_##name; })

/* ---- Files ---- */

static mode_t mode_of(int flags, va_list args)
{
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? (mode_t)va_arg(args, int) : 0;
}

#define OPENING(name, ...)                                                          \
    va_list args;                                                   \
    va_start(args, flags);                                          \
    mode_t mode = mode_of(flags, args);                             \
    va_end(args);                                                   \
    return fails(OPEN, CALLER) ? -1 : REAL(name)(__VA_ARGS__, flags, mode)

int open(const char *path, int flags, ...) { OPENING(open, path); }
int open64(const char *path, int flags, ...) { OPENING(open64, path); }
int openat(int at, const char *path, int flags, ...) { OPENING(openat, at, path); }
int openat64(int at, const char *path, int flags, ...) { OPENING(openat64, at, path); }

#define PASS(type, kind, condition, name, ...) \
    return (condition) && fails(kind, CALLER) ? (type)-1 : REAL(name)(__VA_ARGS__)

ssize_t read(int fd, void *buffer, size_t size) { PASS(ssize_t, READ, is_worth(fd), read, fd, buffer, size); }
ssize_t pread(int fd, void *b, size_t n, off_t at) { PASS(ssize_t, READ, is_worth(fd), pread, fd, b, n, at); }
ssize_t pread64(int fd, void *b, size_t n, off64_t at) { PASS(ssize_t, READ, is_worth(fd), pread64, fd, b, n, at); }
ssize_t preadv(int fd, const struct iovec *v, int n, off_t at) { PASS(ssize_t, READ, is_worth(fd), preadv, fd, v, n, at); }
ssize_t write(int fd, const void *b, size_t n) { PASS(ssize_t, WRITE, is_worth(fd), write, fd, b, n); }
ssize_t writev(int fd, const struct iovec *v, int n) { PASS(ssize_t, WRITE, is_worth(fd), writev, fd, v, n); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t at) { PASS(ssize_t, WRITE, is_worth(fd), pwrite, fd, b, n, at); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t at) { PASS(ssize_t, WRITE, is_worth(fd), pwrite64, fd, b, n, at); }
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at) { PASS(ssize_t, WRITE, is_worth(fd), pwritev, fd, v, n, at); }
ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at) { PASS(ssize_t, WRITE, is_worth(fd), pwritev64, fd, v, n, at); }
int fsync(int fd) { PASS(int, FLUSH, true, fsync, fd); }
int fdatasync(int fd) { PASS(int, FLUSH, true, fdatasync, fd); }
int msync(void *start, size_t size, int flags) { PASS(int, FLUSH, true, msync, start, size, flags); }
int rename(const char *from, const char *to) { PASS(int, RENAME, true, rename, from, to); }
int renameat(int a, const char *from, int b, const char *to) { PASS(int, RENAME, true, renameat, a, from, b, to); }
int link(const char *from, const char *to) { PASS(int, RENAME, true, link, from, to); }
int unlink(const char *path) { PASS(int, REMOVE, true, unlink, path); }
int unlinkat(int at, const char *path, int flags) { PASS(int, REMOVE, true, unlinkat, at, path, flags); }
int rmdir(const char *path) { PASS(int, REMOVE, true, rmdir, path); }
int mkdir(const char *path, mode_t mode) { PASS(int, MKDIR, true, mkdir, path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { PASS(int, MKDIR, true, mkdirat, at, path, mode); }
int ftruncate(int fd, off_t size) { PASS(int, ALLOCATE, true, ftruncate, fd, size); }
int ftruncate64(int fd, off64_t size) { PASS(int, ALLOCATE, true, ftruncate64, fd, size); }

int posix_fallocate(int fd, off_t at, off_t size)
{
    return fails(ALLOCATE, CALLER) ? control->error : REAL(posix_fallocate)(fd, at, size);
}

int posix_fallocate64(int fd, off64_t at, off64_t size)
{
    return fails(ALLOCATE, CALLER) ? control->error : REAL(posix_fallocate64)(fd, at, size);
}

void *mmap(void *where, size_t size, int rights, int flags, int fd, off_t at)
{
    return fd >= 0 && fails(MAP, CALLER) ? MAP_FAILED : REAL(mmap)(where, size, rights, flags, fd, at);
}

/* libraft submits its writes by number. */
long syscall(long number, ...)
{
    va_list args;
    long a[6];

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    enum kind kind = number == SYS_io_submit || number == SYS_io_setup || number == SYS_io_getevents ? AIO : DESCRIPTOR;
    bool counts = kind == AIO || number == SYS_pidfd_open;
    if (counts && fails(kind, CALLER))
        return -1;
    return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- Sockets ---- */

int socket(int family, int type, int protocol) { PASS(int, SOCKET, true, socket, family, type, protocol); }
int socketpair(int f, int t, int p, int pair[2]) { PASS(int, SOCKET, true, socketpair, f, t, p, pair); }
int bind(int fd, const struct sockaddr *address, socklen_t size) { PASS(int, BIND, true, bind, fd, address, size); }
int listen(int fd, int backlog) { PASS(int, LISTEN, true, listen, fd, backlog); }
int connect(int fd, const struct sockaddr *address, socklen_t size) { PASS(int, CONNECT, true, connect, fd, address, size); }
int accept(int fd, struct sockaddr *address, socklen_t *size) { PASS(int, ACCEPT, true, accept, fd, address, size); }
int accept4(int fd, struct sockaddr *a, socklen_t *n, int flags) { PASS(int, ACCEPT, true, accept4, fd, a, n, flags); }
ssize_t send(int fd, const void *b, size_t n, int flags) { PASS(ssize_t, SEND, is_socket(fd), send, fd, b, n, flags); }
ssize_t sendmsg(int fd, const struct msghdr *m, int flags) { PASS(ssize_t, SEND, is_socket(fd), sendmsg, fd, m, flags); }
ssize_t recv(int fd, void *b, size_t n, int flags) { PASS(ssize_t, RECEIVE, is_socket(fd), recv, fd, b, n, flags); }
ssize_t recvmsg(int fd, struct msghdr *m, int flags) { PASS(ssize_t, RECEIVE, is_socket(fd), recvmsg, fd, m, flags); }

/* ---- Processes and descriptors ---- */

pid_t fork(void) { PASS(pid_t, FORK, true, fork); }
int pipe2(int ends[2], int flags) { PASS(int, DESCRIPTOR, true, pipe2, ends, flags); }
int dup(int fd) { PASS(int, DESCRIPTOR, true, dup, fd); }
int eventfd(unsigned value, int flags) { PASS(int, DESCRIPTOR, true, eventfd, value, flags); }
int epoll_create1(int flags) { PASS(int, DESCRIPTOR, true, epoll_create1, flags); }
int inotify_init1(int flags) { PASS(int, DESCRIPTOR, true, inotify_init1, flags); }

/* ---- Memory. By glibc's own names: looking for the real ones would itself allocate. ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) { return fails(MALLOC, CALLER) ? NULL : __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return fails(MALLOC, CALLER) ? NULL : __libc_calloc(n, size); }
void *realloc(void *memory, size_t size) { return fails(MALLOC, CALLER) ? NULL : __libc_realloc(memory, size); }
void *aligned_alloc(size_t alignment, size_t size) { return fails(MALLOC, CALLER) ? NULL : __libc_memalign(alignment, size); }

void *reallocarray(void *memory, size_t n, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes) || fails(MALLOC, CALLER)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(memory, bytes);
}
