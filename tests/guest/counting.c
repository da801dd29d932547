/* The guest that tests watch while they move and kill it: the first and only process of its system.
 *
 * Disk: every vq.interval ms the next count is written to the next sector of /dev/vda, past all caches. Sector 0 is
 * left for the first fault. A sector that is written already, or a last sector that is not as it was written, says that
 * somebody else writes, or that a write was lost: it is told there, and the counting ends.
 *
 * UDP: each count that is on the disk is sent to vq.collector=ADDRESS:PORT; two copies of one memory send the same
 * counts. Port 7 echoes.
 *
 * TCP: port 7777 answers each line with the line, the epoch, the last count, and the MiB that were dirtied. "dirty N"
 * sets how many MiB/s of vq.area=MIB are dirtied (vq.dirty=N: from the start).
 *
 * The epoch is drawn anew at each boot. A count on the disk is "epoch count nonce", in a sector of zeros; two copies of
 * one memory do not have the nonce in common. The address is vq.address=ADDRESS, with 24 bits of network. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <net/if.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

enum { SECTOR = 512, CHUNK = 1048576, PAGE = 4096, SLICE_MS = 5, ECHO_PORT = 7, LINE_PORT = 7777, LINE_MAX = 128 };

static char command_line[4096];
static uint64_t epoch;
static _Atomic uint64_t counted, dirtied_pages;
static _Atomic unsigned dirty_mib_s;

static void say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)fputs("counting: ", stdout);
    (void)vprintf(format, arguments);
    (void)fputs("\n", stdout);
    (void)fflush(stdout);
    va_end(arguments);
}

static void sleep_until(struct timespec *next, unsigned ms)
{
    next->tv_nsec += (long)ms * 1000000;
    next->tv_sec += next->tv_nsec / 1000000000;
    next->tv_nsec %= 1000000000;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL) == EINTR)
        ;
}

static void now(struct timespec *time)
{
    (void)clock_gettime(CLOCK_MONOTONIC, time);
}

/* A word of the kernel's command line: the text behind key=, or "". */
static const char *option(const char *key)
{
    static char value[128];
    char pattern[32];

    value[0] = '\0';
    (void)snprintf(pattern, sizeof(pattern), " %s=", key);
    const char *found = strstr(command_line, pattern);
    if (found != NULL)
        (void)sscanf(found + strlen(pattern), "%127s", value);
    return value;
}

static unsigned number(const char *key, unsigned otherwise)
{
    const char *text = option(key);

    return text[0] == '\0' ? otherwise : (unsigned)strtoul(text, NULL, 10);
}

/* ---- The system ---- */

static void load_modules(void)
{
    char line[128];
    FILE *list = fopen("/modules/order", "r");

    while (list != NULL && fgets(line, sizeof(line), list) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        int handle = open(line, O_RDONLY | O_CLOEXEC);
        if (handle < 0 || syscall(SYS_finit_module, handle, "", 0) != 0)
            say("module %s: %s", line, strerror(errno));
        if (handle >= 0)
            (void)close(handle);
    }
    if (list != NULL)
        (void)fclose(list);
}

static void set_address(int handle, unsigned long request, const char *address)
{
    struct ifreq interface = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&interface.ifr_addr;

    (void)snprintf(interface.ifr_name, IFNAMSIZ, "eth0");
    in->sin_family = AF_INET;
    if (inet_pton(AF_INET, address, &in->sin_addr) != 1 || ioctl(handle, request, &interface) != 0)
        say("address %s: %s", address, strerror(errno));
}

static void set_up_network(void)
{
    struct ifreq interface = {0};
    int handle = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    set_address(handle, SIOCSIFADDR, option("vq.address"));
    set_address(handle, SIOCSIFNETMASK, "255.255.255.0");
    (void)snprintf(interface.ifr_name, IFNAMSIZ, "eth0");
    interface.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(handle, SIOCSIFFLAGS, &interface) != 0)
        say("eth0: %s", strerror(errno));
    (void)close(handle);
}

static void set_up_system(void)
{
    (void)mount("proc", "/proc", "proc", 0, NULL);
    (void)mount("sysfs", "/sys", "sysfs", 0, NULL);
    (void)mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    int console = open("/dev/console", O_RDWR);
    for (int standard = 0; standard < 3 && console >= 0; standard++)
        (void)dup2(console, standard);
    FILE *file = fopen("/proc/cmdline", "r");
    command_line[0] = ' ';
    if (file == NULL || fgets(command_line + 1, sizeof(command_line) - 1, file) == NULL)
        say("no command line");
    if (file != NULL)
        (void)fclose(file);
    load_modules();
    if (option("vq.address")[0] != '\0')
        set_up_network();
}

/* ---- The disk ---- */

struct disk {
    int handle;
    uint64_t sectors, next;
    char *sector, *last; /* what is about to be written and what was written last; aligned for O_DIRECT */
    char *seen;
};

static char *aligned(size_t size)
{
    void *room = NULL;

    if (posix_memalign(&room, PAGE, size) != 0)
        abort();
    memset(room, 0, size);
    return room;
}

static bool is_empty(const char *sector)
{
    static const char zeros[SECTOR];

    return memcmp(sector, zeros, SECTOR) == 0;
}

/* The first fault stays: it explains those that follow from it. */
static void fault(const struct disk *disk, const char *format, ...)
{
    va_list arguments;

    if (pread(disk->handle, disk->seen, SECTOR, 0) == SECTOR && is_empty(disk->seen)) {
        va_start(arguments, format);
        (void)vsnprintf(disk->seen, SECTOR, format, arguments);
        va_end(arguments);
        if (pwrite(disk->handle, disk->seen, SECTOR, 0) != SECTOR)
            say("the fault could not be written: %s", strerror(errno));
    }
    say("fault: %.200s", disk->seen);
}

static bool disk_open(struct disk *disk)
{
    uint64_t size = 0;

    disk->handle = open("/dev/vda", O_RDWR | O_DIRECT | O_SYNC | O_CLOEXEC);
    if (disk->handle < 0 || ioctl(disk->handle, BLKGETSIZE64, &size) != 0) {
        say("no disk: %s", strerror(errno));
        return false;
    }
    disk->sectors = size / SECTOR;
    disk->sector = aligned(SECTOR);
    disk->last = aligned(SECTOR);
    disk->seen = aligned(SECTOR);
    return true;
}

/* Counts of earlier boots stay where they are. */
static bool disk_find_end(struct disk *disk)
{
    char *chunk = aligned(CHUNK);
    bool found = false;

    for (uint64_t at = 0; !found && at < disk->sectors; at += CHUNK / SECTOR) {
        ssize_t length = pread(disk->handle, chunk, CHUNK, (off_t)(at * SECTOR));
        if (length <= 0)
            break;
        for (uint64_t i = at == 0 ? 1 : 0; !found && i < (uint64_t)length / SECTOR; i++) {
            found = is_empty(chunk + i * SECTOR);
            disk->next = at + i;
            if (!found)
                memcpy(disk->last, chunk + i * SECTOR, SECTOR);
        }
    }
    free(chunk);
    return found;
}

/* False: the counting is over. */
static bool disk_append(struct disk *disk, uint64_t count, uint64_t nonce)
{
    if (disk->next >= disk->sectors) {
        say("the disk is full");
        return false;
    }
    if (disk->next > 1 && (pread(disk->handle, disk->seen, SECTOR, (off_t)((disk->next - 1) * SECTOR)) != SECTOR ||
                           memcmp(disk->seen, disk->last, SECTOR) != 0)) {
        fault(disk, "sector %" PRIu64 " is not as written before count %" PRIu64 " of %016" PRIx64, disk->next - 1,
              count, epoch);
        return false;
    }
    if (pread(disk->handle, disk->seen, SECTOR, (off_t)(disk->next * SECTOR)) != SECTOR || !is_empty(disk->seen)) {
        fault(disk, "sector %" PRIu64 " is taken before count %" PRIu64 " of %016" PRIx64, disk->next, count, epoch);
        return false;
    }
    memset(disk->sector, 0, SECTOR);
    (void)snprintf(disk->sector, SECTOR, "%016" PRIx64 " %" PRIu64 " %016" PRIx64 "\n", epoch, count, nonce);
    if (pwrite(disk->handle, disk->sector, SECTOR, (off_t)(disk->next * SECTOR)) != SECTOR) {
        fault(disk, "count %" PRIu64 " of %016" PRIx64 " was not written: %s", count, epoch, strerror(errno));
        return false;
    }
    memcpy(disk->last, disk->sector, SECTOR);
    disk->next++;
    return true;
}

static int open_collector(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char text[64];

    (void)snprintf(text, sizeof(text), "%s", option("vq.collector"));
    char *port = strchr(text, ':');
    if (port == NULL)
        return -1;
    *port++ = '\0';
    address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    int handle = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1 ||
        connect(handle, (const struct sockaddr *)&address, sizeof(address)) != 0)
        say("collector %s: %s", text, strerror(errno));
    return handle;
}

static void *count_run(void *unused)
{
    (void)unused;
    struct disk disk = {0};
    struct timespec next;
    unsigned interval = number("vq.interval", 20);
    int collector = open_collector();
    bool has_disk = disk_open(&disk);

    if (has_disk && !disk_find_end(&disk)) {
        say("the disk has no room");
        return NULL;
    }
    now(&next);
    for (uint64_t count = 1;; count++) {
        uint64_t nonce = __rdtsc();
        if (has_disk && !disk_append(&disk, count, nonce))
            return NULL;
        atomic_store(&counted, count);
        char text[LINE_MAX];
        int length = snprintf(text, sizeof(text), "%016" PRIx64 " %" PRIu64 " %016" PRIx64, epoch, count, nonce);
        if (collector >= 0)
            (void)send(collector, text, (size_t)length, MSG_DONTWAIT);
        sleep_until(&next, interval);
    }
}

/* ---- Memory ---- */

/* Noise, so that no page is a page of zeros. */
static void fill(uint64_t *words, size_t n)
{
    uint64_t state = epoch | 1;

    for (size_t i = 0; i < n; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words[i] = state;
    }
}

static void *dirty_run(void *unused)
{
    (void)unused;
    struct timespec next;
    size_t pages = (size_t)number("vq.area", 0) * (1048576 / PAGE), at = 0;
    double debt = 0;

    if (pages == 0)
        return NULL;
    char *area = aligned(pages * PAGE);
    fill((uint64_t *)(void *)area, pages * PAGE / sizeof(uint64_t));
    say("memory is filled");
    atomic_store(&dirty_mib_s, number("vq.dirty", 0));
    now(&next);
    for (;; sleep_until(&next, SLICE_MS)) {
        debt += atomic_load(&dirty_mib_s) * (1048576.0 / PAGE) * SLICE_MS / 1000;
        /* A processor that is held back does not make good for it later. */
        if (debt > (double)pages)
            debt = (double)pages;
        for (; debt >= 1; debt--, at = (at + 1) % pages) {
            ++*(volatile uint64_t *)(void *)(area + at * PAGE);
            atomic_fetch_add(&dirtied_pages, 1);
        }
    }
}

/* ---- Network ---- */

static int bound(int type, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int handle = socket(AF_INET, type | SOCK_CLOEXEC, 0), yes = 1;

    (void)setsockopt(handle, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(handle, (const struct sockaddr *)&address, sizeof(address)) != 0)
        say("port %u: %s", port, strerror(errno));
    return handle;
}

static void *echo_run(void *unused)
{
    (void)unused;
    int handle = bound(SOCK_DGRAM, ECHO_PORT);
    char text[LINE_MAX];

    while (handle >= 0) {
        struct sockaddr_in from;
        socklen_t size = sizeof(from);
        ssize_t length = recvfrom(handle, text, sizeof(text), 0, (struct sockaddr *)&from, &size);
        if (length > 0)
            (void)sendto(handle, text, (size_t)length, 0, (const struct sockaddr *)&from, size);
    }
    return NULL;
}

static void *lines_run(void *data)
{
    FILE *in = fdopen((int)(intptr_t)data, "r+");
    char line[LINE_MAX];

    while (in != NULL && fgets(line, sizeof(line), in) != NULL) {
        unsigned rate;
        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "dirty %u", &rate) == 1)
            atomic_store(&dirty_mib_s, rate);
        char answer[2 * LINE_MAX];
        int length = snprintf(answer, sizeof(answer), "%s %016" PRIx64 " %" PRIu64 " %" PRIu64 "\n", line, epoch,
                              atomic_load(&counted), atomic_load(&dirtied_pages) / (1048576 / PAGE));
        if (send(fileno(in), answer, (size_t)length, MSG_NOSIGNAL) != length)
            break;
    }
    if (in != NULL)
        (void)fclose(in);
    return NULL;
}

static void begin(void *(*run)(void *), void *data)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, data) != 0)
        say("no thread");
    else
        (void)pthread_detach(thread);
}

int main(void)
{
    set_up_system();
    while (getrandom(&epoch, sizeof(epoch), 0) != sizeof(epoch))
        ;
    begin(count_run, NULL);
    begin(dirty_run, NULL);
    begin(echo_run, NULL);
    say("epoch %016" PRIx64, epoch);
    int listener = bound(SOCK_STREAM, LINE_PORT);
    if (listen(listener, 16) != 0)
        say("port %u: %s", LINE_PORT, strerror(errno));
    for (;;) {
        int handle = accept(listener, NULL, NULL);
        if (handle >= 0)
            begin(lines_run, (void *)(intptr_t)handle);
        else
            (void)usleep(100000);
    }
}
