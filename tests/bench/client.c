/* A client for the benchmark: calls through libvirt's own library, timed, on a number of connections at once.
 *
 *   bench_client MEASURE URI CONNECTIONS SECONDS-OR-COUNT [URI-OF-THE-LISTENER]
 *
 * Prints one line of JSON: calls per second and the median and 99th percentile of a call in microseconds. Measures that
 * change something (define, redefine, undefine, fill, clear) take a count of calls for each connection, the others seconds. */
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 256, SAMPLES_MAX = 200000, XML_MAX = 16384 };

struct worker;

struct measure {
    const char *name;
    bool is_counted;                        /* a number of calls, not a time */
    int (*prepare)(struct worker *worker);  /* NULL: nothing to do before the clock runs */
    int (*call)(struct worker *worker, unsigned turn);
};

struct worker {
    const struct measure *measure;
    const char *uri;
    unsigned number;        /* of the connection, from 0 */
    double amount;          /* seconds, or calls when the measure is counted */
    pthread_barrier_t *gate;
    virConnectPtr connection;
    virDomainPtr domain;    /* the one that is asked about */
    int fd;                 /* of the measure that speaks the protocol itself */
    uint32_t *samples_us;   /* the first SAMPLES_MAX of them */
    size_t n_calls;
    double seconds;
    bool has_failed;
    char reason[256];       /* libvirt keeps the last error for each thread */
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* About 6.3 KB, as virt-install writes for a usual guest: many devices, mostly of the same kind. */
static void format_domain(char xml[XML_MAX], const char *name, unsigned revision, bool is_small)
{
    int length = snprintf(xml, XML_MAX,
        "<domain type='qemu'><name>%s</name><description>revision %u</description><memory unit='MiB'>64</memory>"
        "<vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features><devices>", name, revision);

    for (unsigned i = 0; !is_small && i < 20; i++)
        length += snprintf(xml + length, (size_t)(XML_MAX - length),
            "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' discard='unmap'/>"
            "<source file='/var/lib/libvirt/images/%s-%u.img'/><target dev='vd%c' bus='virtio'/></disk>", name, i, (char)('a' + i));
    snprintf(xml + length, (size_t)(XML_MAX - length), "</devices></domain>");
}

static int define(struct worker *worker, const char *name, unsigned revision, bool is_small)
{
    char xml[XML_MAX];
    virDomainPtr domain;

    format_domain(xml, name, revision, is_small);
    domain = virDomainDefineXML(worker->connection, xml);
    if (domain == NULL)
        return -1;
    virDomainFree(domain);
    return 0;
}

static int prepare_one(struct worker *worker)
{
    char name[64];

    snprintf(name, sizeof(name), "asked-%u", worker->number);
    worker->domain = virDomainLookupByName(worker->connection, name);
    if (worker->domain == NULL && define(worker, name, 0, false) == 0)
        worker->domain = virDomainLookupByName(worker->connection, name);
    return worker->domain != NULL ? 0 : -1;
}

static int call_version(struct worker *worker, unsigned turn)
{
    unsigned long version;

    (void)turn;
    return virConnectGetLibVersion(worker->connection, &version);
}

static int call_lookup(struct worker *worker, unsigned turn)
{
    unsigned char uuid[VIR_UUID_BUFLEN];
    virDomainPtr domain;

    (void)turn;
    if (virDomainGetUUID(worker->domain, uuid) < 0)
        return -1;
    domain = virDomainLookupByUUID(worker->connection, uuid);
    if (domain == NULL)
        return -1;
    virDomainFree(domain);
    return 0;
}

static int call_xml(struct worker *worker, unsigned turn)
{
    char *xml = virDomainGetXMLDesc(worker->domain, 0);

    (void)turn;
    if (xml == NULL)
        return -1;
    free(xml);
    return 0;
}

static int call_list(struct worker *worker, unsigned turn)
{
    virDomainPtr *domains;
    int n = virConnectListAllDomains(worker->connection, &domains, 0);

    (void)turn;
    if (n < 0)
        return -1;
    for (int i = 0; i < n; i++)
        virDomainFree(domains[i]);
    free(domains);
    return 0;
}

static int call_open(struct worker *worker, unsigned turn)
{
    virConnectPtr connection = virConnectOpen(worker->uri);

    (void)turn;
    return connection != NULL && virConnectClose(connection) >= 0 ? 0 : -1;
}

static void changed_name(const struct worker *worker, unsigned turn, char name[64])
{
    snprintf(name, 64, "changed-%u-%u", worker->number, turn);
}

static int call_define(struct worker *worker, unsigned turn)
{
    char name[64];

    changed_name(worker, turn, name);
    return define(worker, name, turn, false);
}

static int call_redefine(struct worker *worker, unsigned turn)
{
    char xml[XML_MAX], uuid[VIR_UUID_STRING_BUFLEN], name[64], *place;
    virDomainPtr domain;
    char document[XML_MAX + 128];

    snprintf(name, sizeof(name), "asked-%u", worker->number);
    if (virDomainGetUUIDString(worker->domain, uuid) < 0)
        return -1;
    format_domain(xml, name, turn, false);
    place = strstr(xml, "<description>");
    snprintf(document, sizeof(document), "%.*s<uuid>%s</uuid>%s", (int)(place - xml), xml, uuid, place);
    domain = virDomainDefineXML(worker->connection, document);
    if (domain == NULL)
        return -1;
    virDomainFree(domain);
    return 0;
}

static int call_undefine(struct worker *worker, unsigned turn)
{
    char name[64];
    virDomainPtr domain;
    int rc;

    changed_name(worker, turn, name);
    domain = virDomainLookupByName(worker->connection, name);
    if (domain == NULL)
        return -1;
    rc = virDomainUndefine(domain);
    virDomainFree(domain);
    return rc;
}

/* Small definitions, so that a large number of them measures lists and start-up, not the parser. */
static int call_fill(struct worker *worker, unsigned turn)
{
    char name[64];

    snprintf(name, sizeof(name), "many-%d-%u-%u", (int)getpid(), worker->number, turn);
    return define(worker, name, turn, true);
}

/* ---- Calls in flight: what the daemon takes when the client does not wait for each answer -------------------------------
 * libvirt's library sends one call at a time for each connection, so these speak the protocol themselves. */
enum { IN_FLIGHT = 4, HEADER_BYTES = 28, REPLY_MAX = 4096 };
enum { PROGRAM = 0x20008086, CONNECT_OPEN = 1, AUTH_LIST = 66, LIB_VERSION = 157 };

static size_t put_call(uint8_t *at, uint32_t procedure, uint32_t serial, const uint32_t *words, size_t n_words)
{
    uint32_t header[] = { (uint32_t)(HEADER_BYTES + n_words * 4), PROGRAM, 1, procedure, 0, serial, 0 };

    for (size_t i = 0; i < HEADER_BYTES / 4; i++)
        header[i] = htonl(header[i]);
    memcpy(at, header, HEADER_BYTES);
    memcpy(at + HEADER_BYTES, words, n_words * 4);
    return HEADER_BYTES + n_words * 4;
}

static int read_all(int fd, uint8_t *bytes, size_t length)
{
    for (ssize_t n; length > 0; bytes += n, length -= (size_t)n)
        if ((n = read(fd, bytes, length)) <= 0)
            return -1;
    return 0;
}

/* The next answer; all of these are short, and have the status "ok". */
static int read_answer(int fd)
{
    uint8_t bytes[REPLY_MAX];
    uint32_t length, status;

    if (read_all(fd, bytes, 4) < 0)
        return -1;
    memcpy(&length, bytes, 4);
    length = ntohl(length);
    if (length < HEADER_BYTES || length > sizeof(bytes) || read_all(fd, bytes + 4, length - 4) < 0)
        return -1;
    memcpy(&status, bytes + HEADER_BYTES - 4, 4);
    return status == 0 ? 0 : -1;
}

static int prepare_pipeline(struct worker *worker)
{
    static const char uri[] = "qemu:///system";     /* 14 bytes and two of padding */
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *path = strstr(worker->uri, "socket=");
    uint32_t open[2 + sizeof(uri) / 4 + 2] = { htonl(1), htonl(sizeof(uri) - 1) };
    uint8_t bytes[256];
    size_t length;

    if (path == NULL)
        return -1;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path + 7);
    memcpy(open + 2, uri, sizeof(uri) - 1);
    worker->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (worker->fd < 0 || connect(worker->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -1;
    length = put_call(bytes, AUTH_LIST, 1, NULL, 0);
    if (write(worker->fd, bytes, length) != (ssize_t)length || read_answer(worker->fd) < 0)
        return -1;
    length = put_call(bytes, CONNECT_OPEN, 2, open, 2 + 4 + 1);
    return write(worker->fd, bytes, length) == (ssize_t)length ? read_answer(worker->fd) : -1;
}

/* IN_FLIGHT calls wait at the daemon all the time: each answer that comes is followed by a call. */
static int call_pipeline(struct worker *worker, unsigned turn)
{
    uint8_t bytes[IN_FLIGHT * HEADER_BYTES];
    size_t n = turn == 0 ? IN_FLIGHT : 1, length = 0;

    for (size_t i = 0; i < n; i++)
        length += put_call(bytes + length, LIB_VERSION, 3 + turn, NULL, 0);
    return write(worker->fd, bytes, length) == (ssize_t)length ? read_answer(worker->fd) : -1;
}

static const struct measure measures[] = {
    { "version",  false, NULL,        call_version },
    { "lookup",   false, prepare_one, call_lookup },
    { "xml",      false, prepare_one, call_xml },
    { "list",     false, NULL,        call_list },
    { "open",     false, NULL,        call_open },
    { "define",   true,  NULL,        call_define },
    { "redefine", true,  prepare_one, call_redefine },
    { "undefine", true,  NULL,        call_undefine },
    { "fill",     true,  NULL,        call_fill },
    { "pipeline", false, prepare_pipeline, call_pipeline },
};

static void *work(void *data)
{
    struct worker *worker = data;
    double begin, before, after;

    worker->connection = virConnectOpen(worker->uri);
    worker->has_failed = worker->connection == NULL ||
                         (worker->measure->prepare != NULL && worker->measure->prepare(worker) < 0);
    pthread_barrier_wait(worker->gate);
    begin = before = now();
    for (unsigned turn = 0; !worker->has_failed; turn++) {
        if (worker->measure->is_counted ? turn >= (unsigned)worker->amount : before - begin >= worker->amount)
            break;
        worker->has_failed = worker->measure->call(worker, turn) < 0;
        after = now();
        if (worker->n_calls < SAMPLES_MAX)
            worker->samples_us[worker->n_calls] = (uint32_t)((after - before) * 1e6);
        worker->n_calls++;
        before = after;
    }
    if (worker->has_failed)
        snprintf(worker->reason, sizeof(worker->reason), "%s", virGetLastErrorMessage());
    worker->seconds = before - begin;
    if (worker->fd > 0)
        close(worker->fd);
    if (worker->domain != NULL)
        virDomainFree(worker->domain);
    if (worker->connection != NULL)
        virConnectClose(worker->connection);
    return NULL;
}

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

    return (a > b) - (a < b);
}

static int report(struct worker *workers, size_t n_workers)
{
    size_t n = 0, n_samples = 0;
    double longest = 0;
    uint32_t *all = malloc(n_workers * SAMPLES_MAX * sizeof(*all));

    for (size_t i = 0; i < n_workers; i++) {
        size_t kept = workers[i].n_calls < SAMPLES_MAX ? workers[i].n_calls : SAMPLES_MAX;

        if (workers[i].has_failed)
            return fprintf(stderr, "connection %zu: %s\n", i, workers[i].reason), 1;
        memcpy(all + n_samples, workers[i].samples_us, kept * sizeof(*all));
        n_samples += kept;
        n += workers[i].n_calls;
        longest = workers[i].seconds > longest ? workers[i].seconds : longest;
    }
    if (n_samples == 0)
        return fprintf(stderr, "nothing was called\n"), 1;
    qsort(all, n_samples, sizeof(*all), compare);
    printf("{\"calls\": %zu, \"per_second\": %.1f, \"median_us\": %u, \"p99_us\": %u}\n", n, (double)n / longest,
           all[n_samples / 2], all[n_samples * 99 / 100]);
    free(all);
    return 0;
}

/* Time from the call that defines a domain, through one connection, to its event on another one. */
struct latency {
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    unsigned n_arrived;
    double last;
};

static int saw_event(virConnectPtr connection, virDomainPtr domain, int event, int detail, void *data)
{
    struct latency *latency = data;

    (void)connection;
    (void)domain;
    (void)detail;
    if (event != VIR_DOMAIN_EVENT_DEFINED)
        return 0;
    pthread_mutex_lock(&latency->lock);
    latency->n_arrived++;
    latency->last = now();
    pthread_cond_signal(&latency->arrived);
    pthread_mutex_unlock(&latency->lock);
    return 0;
}

static void *run_events(void *data)
{
    (void)data;
    for (;;)
        virEventRunDefaultImpl();
    return NULL;
}

static int measure_events(const char *uri, const char *listener_uri, unsigned count)
{
    struct latency latency = { .lock = PTHREAD_MUTEX_INITIALIZER, .arrived = PTHREAD_COND_INITIALIZER };
    struct worker worker = { .uri = uri };
    struct timespec until;
    virConnectPtr listener;
    pthread_t thread;
    uint32_t *samples = calloc(count, sizeof(*samples));

    virEventRegisterDefaultImpl();
    pthread_create(&thread, NULL, run_events, NULL);
    listener = virConnectOpen(listener_uri);
    worker.connection = virConnectOpen(uri);
    if (samples == NULL || listener == NULL || worker.connection == NULL ||
        virConnectDomainEventRegisterAny(listener, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(saw_event), &latency, NULL) < 0)
        return fprintf(stderr, "%s\n", virGetLastErrorMessage()), 1;
    for (unsigned turn = 0; turn < count; turn++) {
        char name[64];
        double begin = now();
        int rc = 0;

        snprintf(name, sizeof(name), "told-%u", turn);
        if (define(&worker, name, 0, true) < 0)
            return fprintf(stderr, "%s\n", virGetLastErrorMessage()), 1;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 10;
        pthread_mutex_lock(&latency.lock);
        while (latency.n_arrived <= turn && rc == 0)
            rc = pthread_cond_timedwait(&latency.arrived, &latency.lock, &until);
        samples[turn] = (uint32_t)((latency.last - begin) * 1e6);
        pthread_mutex_unlock(&latency.lock);
        if (rc != 0)
            return fprintf(stderr, "no event for %s within 10 s\n", name), 1;
        virDomainPtr domain = virDomainLookupByName(worker.connection, name);
        if (domain == NULL || virDomainUndefine(domain) < 0)
            return fprintf(stderr, "%s\n", virGetLastErrorMessage()), 1;
        virDomainFree(domain);
    }
    qsort(samples, count, sizeof(*samples), compare);
    printf("{\"calls\": %u, \"per_second\": 0, \"median_us\": %u, \"p99_us\": %u}\n", count, samples[count / 2], samples[count * 99 / 100]);
    return 0;
}

static void silent(void *data, virErrorPtr error)
{
    (void)data;
    (void)error;
}

int main(int argc, char **argv)
{
    static struct worker workers[CONNECTIONS_MAX];
    static pthread_t threads[CONNECTIONS_MAX];
    const struct measure *measure = NULL;
    pthread_barrier_t gate;
    unsigned n;

    if (argc < 5)
        return fprintf(stderr, "bench_client MEASURE URI CONNECTIONS SECONDS-OR-COUNT [LISTENER-URI]\n"), 2;
    virInitialize();
    virSetErrorFunc(NULL, silent);
    if (strcmp(argv[1], "event") == 0)
        return measure_events(argv[2], argc > 5 ? argv[5] : argv[2], (unsigned)atoi(argv[4]));
    for (size_t i = 0; i < sizeof(measures) / sizeof(measures[0]); i++)
        if (strcmp(measures[i].name, argv[1]) == 0)
            measure = &measures[i];
    n = (unsigned)atoi(argv[3]);
    if (measure == NULL || n == 0 || n > CONNECTIONS_MAX)
        return fprintf(stderr, "unknown measure '%s', or not 1 to %d connections\n", argv[1], CONNECTIONS_MAX), 2;

    pthread_barrier_init(&gate, NULL, n);
    for (unsigned i = 0; i < n; i++) {
        workers[i] = (struct worker){ .measure = measure, .uri = argv[2], .number = i, .amount = atof(argv[4]), .gate = &gate,
                                      .samples_us = malloc(SAMPLES_MAX * sizeof(uint32_t)) };
        if (workers[i].samples_us == NULL || pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
            return fprintf(stderr, "connection %u: no memory or thread\n", i), 1;
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return report(workers, n);
}
