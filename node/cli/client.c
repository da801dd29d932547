/* The way to the daemon. Blocking, with one deadline for all. */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "node/cli/cli.h"
#include "proto/cluster.h"

enum { DEFAULT_TIMEOUT_MS = 60000, MESSAGE_MAX = 64 * 1024 * 1024 };

void cli_say_error(const struct cli *cli, unsigned number, const char *text)
{
    if (number == 0) /* of an older daemon */
        fprintf(cli->err, "error: %s\n", text);
    else
        fprintf(cli->err, "error VQ-%04u: %s\n", number, text);
}

int cli_fail(const struct cli *cli, enum vq_number number, const char *fmt, ...)
{
    va_list args;
    char *text;

    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    cli_say_error(cli, vq_numbers[number].number, text != NULL ? text : fmt);
    free(text);
    return vq_numbers[number].exit_code;
}

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int say_unreachable(struct cli *cli, int problem)
{
    if (problem == EACCES || problem == EPERM) {
        return cli_fail(cli, VQ_E_NOT_ROOT, "only root may do this (%s: %s)", cli->socket, strerror(problem));
    }
    return cli_fail(cli, VQ_E_NO_DAEMON, "virtquorumd does not answer at %s (%s). Start virtquorumd, or name its socket with --socket.",
                    cli->socket, strerror(problem));
}

static int open_socket(struct cli *cli, int *ret_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(cli->socket) >= sizeof(address.sun_path))
        return cli_usage_error(cli, "'%s' is too long for a socket", cli->socket);
    memcpy(address.sun_path, cli->socket, strlen(cli->socket) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        int problem = errno;
        if (fd >= 0)
            (void)close(fd); /* unused */
        return say_unreachable(cli, problem);
    }
    *ret_fd = fd;
    return CLI_OK;
}

/* 0 ready, else an exit code. */
static int wait_for(struct cli *cli, int fd, short events, uint64_t deadline_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now = now_ms();
        int n = now >= deadline_ms ? 0 : poll(&poll_fd, 1, (int)(deadline_ms - now > 60000 ? 60000 : deadline_ms - now));
        if (n > 0)
            return CLI_OK;
        if (n < 0 && errno != EINTR)
            return say_unreachable(cli, errno);
        if (now_ms() < deadline_ms)
            continue;
        return cli_fail(cli, VQ_E_NO_ANSWER, "no answer in time; the daemon may still be at it, see virtquorum status");
    }
}

static int send_all(struct cli *cli, int fd, const uint8_t *bytes, size_t length, uint64_t deadline_ms)
{
    int result = CLI_OK;

    while (result == CLI_OK && length > 0) {
        result = wait_for(cli, fd, POLLOUT, deadline_ms);
        if (result != CLI_OK)
            break;
        ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return say_unreachable(cli, errno);
        bytes += n > 0 ? n : 0;
        length -= n > 0 ? (size_t)n : 0;
    }
    return result;
}

static int read_all(struct cli *cli, int fd, uint8_t *bytes, size_t length, uint64_t deadline_ms)
{
    while (length > 0) {
        int result = wait_for(cli, fd, POLLIN, deadline_ms);
        if (result != CLI_OK)
            return result;
        ssize_t n = recv(fd, bytes, length, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            return cli_fail(cli, VQ_E_HUNG_UP, "the daemon hung up; see virtquorum status and its log");
        }
        bytes += n > 0 ? n : 0;
        length -= n > 0 ? (size_t)n : 0;
    }
    return CLI_OK;
}

static int send_request(struct cli *cli, int fd, const Vq__Control *request, uint64_t deadline_ms)
{
    size_t size = vq__control__get_packed_size(request);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 4);

    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(size >> (24 - 8 * i));
    (void)vq__control__pack(request, bytes + 4);
    return send_all(cli, fd, bytes, size + 4, deadline_ms);
}

static int read_reply(struct cli *cli, int fd, uint64_t deadline_ms, Vq__ControlReply **ret_reply)
{
    uint8_t head[4];
    int result = read_all(cli, fd, head, sizeof(head), deadline_ms);
    size_t size = 0;

    if (result != CLI_OK)
        return result;
    for (unsigned i = 0; i < 4; i++)
        size = size << 8 | head[i];
    VQ_AUTOFREE uint8_t *bytes = size > MESSAGE_MAX ? NULL : vq_calloc(1, size + 1);
    if (bytes != NULL && (result = read_all(cli, fd, bytes, size, deadline_ms)) != CLI_OK)
        return result;
    *ret_reply = bytes == NULL ? NULL : vq__control_reply__unpack(NULL, size, bytes);
    if (*ret_reply != NULL)
        return CLI_OK;
    return cli_fail(cli, VQ_E_OTHER_RELEASE, "the daemon's answer makes no sense: is it of another release?");
}

static void show(struct cli *cli, const Vq__ControlReply *reply)
{
    for (size_t i = 0; i < reply->n_checks; i++)
        if ((cli->given & CLI_OPT_QUIET) == 0)
            cli_print_check(cli, reply->checks[i]);
    if (reply->n_moves > 0)
        cli_show_moves(cli, reply);
    cli_show_problems(cli, reply);
    if (reply->progress[0] != '\0' && (cli->given & CLI_OPT_QUIET) == 0)
        fprintf(cli->err, "%s ...\n", reply->progress);
}

int cli_ask(struct cli *cli, Vq__Control *request, Vq__ControlReply **ret_reply)
{
    uint64_t timeout_ms = cli->wait_ms != 0 ? cli->wait_ms : cli->timeout_ms != 0 ? cli->timeout_ms : DEFAULT_TIMEOUT_MS;
    uint64_t deadline_ms = now_ms() + timeout_ms;
    Vq__ControlReply *reply = NULL;
    int fd = -1, result = open_socket(cli, &fd);

    if (result != CLI_OK)
        return result;
    request->protocol = 1;
    request->timeout_ms = cli->timeout_ms;
    result = send_request(cli, fd, request, deadline_ms);
    while (result == CLI_OK && (reply == NULL || !reply->done)) {
        vq__control_reply__free_unpacked(vq_take(reply), NULL);
        result = read_reply(cli, fd, deadline_ms, &reply);
        if (result == CLI_OK)
            show(cli, reply);
    }
    (void)close(fd); /* everything has been read */
    if (result == CLI_OK && reply->error[0] != '\0') {
        cli_say_error(cli, reply->number, reply->error);
        result = reply->exit_code != 0 ? reply->exit_code : CLI_FAILED;
    }
    if (result == CLI_OK)
        *ret_reply = reply;
    else
        vq__control_reply__free_unpacked(reply, NULL);
    return result;
}

/* ---- Names of hosts: looked up here, since the daemon waits for no name server ---- */

static bool is_numeric(const char *host)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *found = NULL;
    bool is_good = getaddrinfo(host, NULL, &hints, &found) == 0;

    if (is_good)
        freeaddrinfo(found);
    return is_good;
}

static char *look_up(struct cli *cli, const char *host)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *found;
    char text[NI_MAXHOST];
    int rc = getaddrinfo(host, NULL, &hints, &found);

    if (rc == 0) {
        rc = getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
        freeaddrinfo(found);
    }
    if (rc == 0)
        return vq_strdup(text);
    (void)cli_fail(cli, VQ_E_NO_HOST, "'%s': %s", host, gai_strerror(rc)); /* the caller knows its exit code */
    return NULL;
}

char *cli_resolve(struct cli *cli, const char *address)
{
    const char *colon = strrchr(address, ':');
    bool has_port = colon != NULL && strchr(address, ':') == colon;
    VQ_AUTOFREE char *host = has_port ? vq_strndup(address, (size_t)(colon - address)) : vq_strdup(address);

    if (address[0] == '\0' || address[0] == '[' || is_numeric(host))
        return vq_strdup(address);
    VQ_AUTOFREE char *numeric = look_up(cli, host);
    if (numeric == NULL)
        return NULL;
    bool is_v6 = strchr(numeric, ':') != NULL;
    return vq_asprintf(is_v6 && has_port ? "[%s]%s" : "%s%s", numeric, has_port ? colon : "");
}
