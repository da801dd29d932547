/* A QEMU that runs no guest: speaks QMP on the socket that it was given, and misbehaves as its script says.
 *
 * The script lies beside the program ("<argv[0]>.script"), because the driver passes no environment on. One line each:
 *   silent                 accept, and never greet
 *   die_early TEXT         print TEXT and leave before anything else
 *   at N die               leave at the N-th command (qmp_capabilities is the first); connections count on
 *   at N silent            never answer it
 *   at N delay MS          answer it late
 *   at N close             close the connection instead
 *   at N garbage TEXT      say TEXT instead of the answer, then go on
 *   at N endless           say a line without an end
 *   refuse COMMAND         answer with an error
 *   ignore_term            SIGTERM does nothing
 *   status WORD            what query-status says
 *   incoming WORD...       after migrate-incoming: MIGRATION events with these words, one every 20 ms; "die" leaves, "pause"
 *                          waits half a second, "wait" goes on only when <argv[0]>.go is there, "later" after cont or migrate-recover
 *   outgoing WORD...       after migrate: MIGRATION events with these words, one every 10 ms; and "pass", "stop", "run", "viewers"
 *                          their events, "hold" goes on after migrate-continue, "wait" and "die" as above, "hang" does nothing more
 *   resumed WORD...        the same after a second migrate
 *   dump WORD              what DUMP_COMPLETED says of a dump of memory ("completed", "failed"); "hang": it never comes
 *   nmi WORD               an NMI makes the guest "panic", or its "watchdog" bark
 *   note COMMAND...        write these commands with their arguments into "<argv[0]>.said", a line each
 *   refuse_first COMMAND   answer with an error that says "in use", once
 *   agent                  from cont on somebody has the agent's channel open: what it hears goes into "<argv[0]>.asked", a line each
 *   agent_answer COMMAND WHAT   what the agent does instead of answering {"return": {}}; the script is read anew for each command:
 *                          JSON (as it is), "silent", "garbage", "endless", "late MS JSON", "close" (the socket), "shut" (the channel),
 *                          "event NAME" (QEMU says it, the agent nothing)
 * It is read anew for each connection.
 * The command fake-event has it say any event: {"name": NAME, "data": {...}}.
 * Asked without a monitor socket (to probe what the emulator can do), it becomes the real one. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LINES_MAX = 64, INPUT_BYTES = 1 << 20 };

static const char real_qemu[] = "/usr/bin/qemu-system-x86_64";

static const char *program;
static char *script[LINES_MAX];
static int n_lines;
static const char *uuid = "00000000-0000-0000-0000-000000000000";
static const char *status_word = "prelaunch";
static int client = -1;
static int n_commands;
static const char *migration_word = "none";
static bool has_refused;
static char *outgoing;       /* words that are still to come; NULL: no migration goes out */
static bool holds, was_running, is_incoming;
static bool ignores_term;
static int agent_listener = -1, agent = -1;
static char agent_alias[64]; /* of its channel */

static void read_script(void)
{
    char path[4096], line[1024];
    FILE *file;

    while (n_lines > 0)
        free(script[--n_lines]);
    (void)snprintf(path, sizeof(path), "%s.script", program);
    file = fopen(path, "re");
    while (file != NULL && n_lines < LINES_MAX && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        script[n_lines++] = strdup(line);
    }
    if (file != NULL)
        (void)fclose(file);
}

static const char *script_word(const char *word)
{
    size_t length = strlen(word);

    for (int i = 0; i < n_lines; i++)
        if (strncmp(script[i], word, length) == 0 && (script[i][length] == ' ' || script[i][length] == '\0'))
            return script[i] + length + (script[i][length] == ' ' ? 1 : 0);
    return NULL;
}

static const char *script_at(int n)
{
    char word[32];

    (void)snprintf(word, sizeof(word), "at %d", n);
    return script_word(word);
}

static void say(const char *text)
{
    for (size_t length = strlen(text); client >= 0 && length > 0;) {
        ssize_t n = send(client, text, length, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text += n;
        length -= (size_t)n;
    }
}

static void say_json(json_t *take)
{
    char *text = json_dumps(take, JSON_COMPACT);

    say(text);
    say("\r\n");
    free(text);
    json_decref(take);
}

static void event(const char *name, json_t *take_data)
{
    struct timespec now;
    json_t *message;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    message = json_pack("{s:s,s:{s:I,s:I}}", "event", name, "timestamp", "seconds", (json_int_t)now.tv_sec,
                        "microseconds", (json_int_t)(now.tv_nsec / 1000));
    if (take_data != NULL)
        (void)json_object_set_new(message, "data", take_data);
    say_json(message);
}

static json_t *answer_of(const char *command)
{
    if (strcmp(command, "query-migrate") == 0)
        return json_pack("{s:s,s:i,s:{s:i,s:i,s:i}}", "status", migration_word, "downtime", 7, "ram", "total", 33554432,
                         "transferred", 1048576, "remaining", 0);
    if (strcmp(command, "query-migrate-capabilities") == 0)
        return json_pack("[{s:s,s:b},{s:s,s:b},{s:s,s:b},{s:s,s:b}]", "capability", "events", "state", 0, "capability",
                         "late-block-activate", "state", 0, "capability", "pause-before-switchover", "state", 0,
                         "capability", "postcopy-ram", "state", 0);
    if (strcmp(command, "query-dump") == 0)
        return json_pack("{s:s,s:i,s:i}", "status", script_word("dump") != NULL ? script_word("dump") : "none", "total", 4096,
                         "completed", 1024);
    if (strcmp(command, "query-dump-guest-memory-capability") == 0)
        return json_pack("{s:[s,s]}", "formats", "elf", "kdump-zlib");
    if (strcmp(command, "query-status") == 0)
        return json_pack("{s:s,s:b}", "status", status_word, "running", strcmp(status_word, "running") == 0);
    if (strcmp(command, "query-uuid") == 0)
        return json_pack("{s:s}", "UUID", uuid);
    if (strcmp(command, "query-chardev") == 0 && agent_listener >= 0)
        return json_pack("[{s:o,s:s,s:b}]", "label", json_sprintf("char%s", agent_alias), "filename", "disconnected:unix",
                         "frontend-open", script_word("agent") != NULL && strcmp(status_word, "prelaunch") != 0);
    if (strcmp(command, "query-chardev") == 0)
        return json_array();
    if (strcmp(command, "query-cpus-fast") == 0)
        return json_pack("[{s:i,s:i}]", "cpu-index", 0, "thread-id", (int)getpid());
    if (strcmp(command, "query-current-machine") == 0)
        return json_pack("{s:b}", "wakeup-suspend-support", 1);
    return json_object();
}

static void run_again(void)
{
    if (!was_running || strcmp(status_word, "running") == 0)
        return;
    status_word = "running";
    event("RESUME", NULL);
}

static void migration_is(const char *word)
{
    migration_word = strdup(word);
    event("MIGRATION", json_pack("{s:s}", "status", word));
}

/* The next word of a migration that goes out. As the real one, it lets the CPUs run again when it has failed. */
static void send_word(void)
{
    char *rest = outgoing, *word = strtok_r(rest, " ", &rest), go[4096];

    (void)snprintf(go, sizeof(go), "%s.go", program);
    if (word == NULL || strcmp(word, "hang") == 0) {
        outgoing = NULL;
        return;
    }
    if (strcmp(word, "die") == 0)
        _exit(1);
    if ((strcmp(word, "hold") == 0 && holds) || (strcmp(word, "wait") == 0 && access(go, F_OK) < 0)) {
        word[strlen(word)] = *rest != '\0' ? ' ' : '\0'; /* again */
        return;
    }
    outgoing = rest;
    if (strcmp(word, "pass") == 0)
        event("MIGRATION_PASS", json_pack("{s:i}", "pass", 1));
    else if (strcmp(word, "run") == 0)
        run_again();
    else if (strcmp(word, "viewers") == 0)
        event("SPICE_MIGRATE_COMPLETED", NULL);
    else if (strcmp(word, "stop") == 0 && strcmp(status_word, "running") == 0) {
        was_running = true;
        status_word = "finish-migrate";
        event("STOP", NULL);
    } else if (strcmp(word, "stop") != 0 && strcmp(word, "hold") != 0 && strcmp(word, "wait") != 0) {
        migration_is(word);
        if (strcmp(word, "completed") == 0)
            status_word = "postmigrate";
        if (strcmp(word, "failed") == 0)
            run_again();
    }
}

static void begin_outgoing(void)
{
    static char words[1024];
    static bool is_resumed;
    const char *text = script_word(is_resumed && script_word("resumed") != NULL ? "resumed" : "outgoing");

    is_resumed = true;
    (void)snprintf(words, sizeof(words), "%s",
                   text != NULL ? text : "setup active pass stop pre-switchover hold device completed");
    outgoing = words;
    holds = true;
    was_running = false;
}

static void cancel_outgoing(void)
{
    if (strcmp(migration_word, "none") == 0 || strcmp(migration_word, "completed") == 0 ||
        strcmp(migration_word, "failed") == 0)
        return;
    outgoing = NULL;
    migration_is("cancelling");
    migration_is("cancelled");
    run_again();
}

static void pause_outgoing(void)
{
    outgoing = NULL;
    migration_is("postcopy-paused");
}

/* ---- The agent ---- */

static void channel_is(bool is_open)
{
    event("VSERPORT_CHANGE", json_pack("{s:s,s:b}", "id", agent_alias, "open", is_open));
}

static void agent_says(const char *text)
{
    size_t length = strlen(text);

    if (agent >= 0)
        (void)!send(agent, text, length, MSG_NOSIGNAL);
}

static void agent_notes(const char *line)
{
    char path[4096];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s.asked", program);
    file = fopen(path, "ae");
    if (file == NULL)
        return;
    (void)fprintf(file, "%s\n", line);
    (void)fclose(file);
}

static void agent_floods(void)
{
    static char block[64 * 1024];

    memset(block, 'x', sizeof(block));
    for (int i = 0; i < 20 * 16 && send(agent, block, sizeof(block), MSG_NOSIGNAL) > 0; i++)
        continue;
}

/* what the script says of a command; NULL: nothing. */
static const char *agent_script(const char *command)
{
    size_t length = strlen(command);

    for (int i = 0; i < n_lines; i++)
        if (strncmp(script[i], "agent_answer ", 13) == 0 && strncmp(script[i] + 13, command, length) == 0 &&
            script[i][13 + length] == ' ')
            return script[i] + 13 + length + 1;
    return NULL;
}

static void agent_does(const char *what)
{
    char *rest;

    if (strncmp(what, "late ", 5) == 0) {
        (void)poll(NULL, 0, (int)strtol(what + 5, &rest, 10));
        what = rest + 1;
    }
    if (strcmp(what, "silent") == 0)
        return;
    if (strcmp(what, "endless") == 0) {
        agent_floods();
    } else if (strcmp(what, "close") == 0) {
        (void)close(agent);
        agent = -1;
    } else if (strcmp(what, "shut") == 0) {
        channel_is(false);
    } else if (strncmp(what, "event ", 6) == 0) {
        event(what + 6, json_pack("{s:b}", "guest", 1));
    } else {
        agent_says(strcmp(what, "garbage") == 0 ? "\xfe{[not JSON" : what);
        agent_says("\n");
    }
}

static void agent_heard(char *line)
{
    json_t *message;
    const char *command, *what;
    char number[64];

    line += strspn(line, "\xff");
    message = json_loads(line, 0, NULL);
    command = json_string_value(json_object_get(message, "execute"));
    if (command == NULL) {
        agent_says("{\"error\": {\"class\": \"GenericError\", \"desc\": \"Invalid JSON syntax\"}}\n");
        json_decref(message);
        return;
    }
    read_script();
    what = agent_script(command);
    if (strcmp(command, "guest-sync-delimited") != 0)
        agent_notes(line);
    (void)snprintf(number, sizeof(number), "\xff{\"return\": %lld}\n",
                   (long long)json_integer_value(json_object_get(json_object_get(message, "arguments"), "id")));
    if (what != NULL)
        agent_does(what);
    else
        agent_says(strcmp(command, "guest-sync-delimited") == 0 ? number : "{\"return\": {}}\n");
    json_decref(message);
}

static void agent_is_spoken_to(void)
{
    static char input[INPUT_BYTES];
    static size_t length;
    ssize_t n = recv(agent, input + length, sizeof(input) - 1 - length, 0);
    char *newline;

    if (n <= 0) {
        (void)close(agent);
        agent = -1;
        length = 0;
        return;
    }
    length += (size_t)n;
    input[length] = '\0';
    while ((newline = memchr(input, '\n', length)) != NULL) {
        *newline = '\0';
        agent_heard(input);
        length -= (size_t)(newline + 1 - input);
        memmove(input, newline + 1, length + 1);
    }
}

static void agent_comes(void)
{
    int fd = accept4(agent_listener, NULL, NULL, SOCK_CLOEXEC);

    if (agent >= 0)
        (void)close(agent);
    agent = fd;
}

/* "socket,id=charchannel0,path=/.../org.qemu.guest_agent.0,server=on,wait=off" */
static void listen_for_agent(const char *chardev)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *path = strstr(chardev, "path="), *id = strstr(chardev, "id=char");
    size_t length = path != NULL ? strcspn(path + 5, ",") : 0;

    if (path == NULL || id == NULL || length < 22 || length >= sizeof(address.sun_path) ||
        strncmp(path + 5 + length - 22, "org.qemu.guest_agent.0", 22) != 0)
        return;
    memcpy(address.sun_path, path + 5, length);
    (void)snprintf(agent_alias, sizeof(agent_alias), "%.*s", (int)strcspn(id + 7, ","), id + 7);
    agent_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)unlink(address.sun_path);
    if (bind(agent_listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(agent_listener, 1) < 0) {
        (void)fprintf(stderr, "fake_qemu: %s: %s\n", address.sun_path, strerror(errno));
        _exit(1);
    }
}

/* ---- What QEMU does ---- */

static void dump_memory(void)
{
    const char *word = script_word("dump") != NULL ? script_word("dump") : "completed";

    if (strcmp(word, "hang") != 0)
        event("DUMP_COMPLETED", json_pack("{s:{s:s,s:i,s:i}}", "result", "status", word, "total", 4096, "completed", 4096));
}

static void inject_nmi(void)
{
    const char *word = script_word("nmi");

    if (word != NULL && strcmp(word, "panic") == 0) {
        status_word = "guest-panicked";
        event("GUEST_PANICKED", json_pack("{s:s}", "action", "pause"));
        event("STOP", NULL);
    } else if (word != NULL) {
        status_word = "watchdog";
        event("WATCHDOG", json_pack("{s:s}", "action", "pause"));
        event("STOP", NULL);
    }
}

static void effect_of(const char *command)
{
    if (strcmp(command, "dump-guest-memory") == 0)
        dump_memory();
    else if (strcmp(command, "inject-nmi") == 0)
        inject_nmi();
    if (strcmp(command, "migrate") == 0)
        begin_outgoing();
    else if (strcmp(command, "migrate-continue") == 0)
        holds = false;
    else if (strcmp(command, "migrate_cancel") == 0)
        cancel_outgoing();
    else if (strcmp(command, "migrate-pause") == 0)
        pause_outgoing();
    if (strcmp(command, "cont") == 0 && strcmp(status_word, "running") != 0) {
        status_word = "running";
        event("RESUME", NULL);
        if (script_word("agent") != NULL && agent_listener >= 0)
            channel_is(true);
    } else if (strcmp(command, "stop") == 0 && strcmp(status_word, "running") == 0) {
        status_word = "paused";
        event("STOP", NULL);
    } else if (strcmp(command, "system_reset") == 0) {
        event("RESET", json_pack("{s:b,s:s}", "guest", 0, "reason", "host-qmp-system-reset"));
    } else if (strcmp(command, "system_powerdown") == 0) {
        status_word = "shutdown";
        event("POWERDOWN", NULL);
        event("SHUTDOWN", json_pack("{s:b,s:s}", "guest", 1, "reason", "guest-shutdown"));
        event("STOP", NULL);
    }
}

/* The data come: told by words, since nobody sends any. */
static void receive(void)
{
    static char words[1024], *rest;
    char go[4096];
    const char *word;

    if (rest == NULL) {
        (void)snprintf(words, sizeof(words), "%s", script_word("incoming"));
        rest = words;
    }
    (void)snprintf(go, sizeof(go), "%s.go", program);
    while ((word = strtok_r(rest, " ", &rest)) != NULL) {
        (void)poll(NULL, 0, strcmp(word, "pause") == 0 ? 500 : 20);
        if (strcmp(word, "later") == 0)
            return;
        if (strcmp(word, "die") == 0) {
            (void)fprintf(stderr, "fake_qemu: load of migration failed: as told\n");
            _exit(1);
        }
        while (strcmp(word, "wait") == 0 && access(go, F_OK) < 0)
            (void)poll(NULL, 0, 10);
        if (strcmp(word, "pause") == 0 || strcmp(word, "wait") == 0)
            continue;
        migration_word = strdup(word);
        if (strcmp(word, "completed") == 0)
            status_word = "paused";
        event("MIGRATION", json_pack("{s:s}", "status", word));
    }
}

static void answer(const char *command, json_t *id)
{
    json_t *message;
    const char *refused = script_word("refuse"), *refused_once = script_word("refuse_first");

    effect_of(command);
    if (refused_once != NULL && !has_refused && strcmp(refused_once, command) == 0) {
        has_refused = true;
        message = json_pack("{s:{s:s,s:s}}", "error", "class", "GenericError", "desc", "Address already in use");
    } else if (refused != NULL && strcmp(refused, command) == 0) {
        message = json_pack("{s:{s:s,s:s}}", "error", "class", "GenericError", "desc", "the script refuses it");
    } else {
        message = json_pack("{s:o}", "return", answer_of(command));
    }
    if (id != NULL)
        (void)json_object_set(message, "id", id);
    say_json(message);
    if ((strcmp(command, "migrate-incoming") == 0 || strcmp(command, "cont") == 0 ||
         strcmp(command, "migrate-recover") == 0) && is_incoming && script_word("incoming") != NULL)
        receive();
}

static void command_came(const char *command, json_t *id)
{
    const char *what = script_at(++n_commands);

    if (what == NULL) {
        answer(command, id);
    } else if (strcmp(what, "die") == 0) {
        (void)fprintf(stderr, "fake_qemu: dying at command %d as told\n", n_commands);
        _exit(1);
    } else if (strcmp(what, "close") == 0) {
        (void)close(client);
        client = -1;
    } else if (strncmp(what, "delay ", 6) == 0) {
        (void)poll(NULL, 0, atoi(what + 6));
        answer(command, id);
    } else if (strncmp(what, "garbage ", 8) == 0) {
        say(what + 8);
        say("\n");
    } else if (strcmp(what, "endless") == 0) {
        for (int i = 0; i < 20 * 1024 * 1024 / 1024; i++) {
            char block[1025];

            memset(block, 'x', sizeof(block) - 1);
            block[sizeof(block) - 1] = '\0';
            say(block);
        }
    }
}

static void note(const char *command, const json_t *arguments)
{
    char path[4096], words[1024], *rest = words;
    const char *word;

    (void)snprintf(words, sizeof(words), "%s", script_word("note") != NULL ? script_word("note") : "");
    (void)snprintf(path, sizeof(path), "%s.said", program);
    while ((word = strtok_r(rest, " ", &rest)) != NULL) {
        FILE *file = strcmp(word, command) == 0 ? fopen(path, "ae") : NULL;
        char *text = json_dumps(arguments, JSON_COMPACT | JSON_SORT_KEYS);

        if (file != NULL) {
            (void)fprintf(file, "%s %s\n", command, text != NULL ? text : "");
            (void)fclose(file);
        }
        free(text);
    }
}

static void line_came(const char *line)
{
    json_t *message = json_loads(line, 0, NULL);
    const char *command = json_string_value(json_object_get(message, "execute"));
    json_t *arguments = json_object_get(message, "arguments");

    if (command != NULL && strcmp(command, "fake-event") == 0)
        event(json_string_value(json_object_get(arguments, "name")), json_incref(json_object_get(arguments, "data")));

    if (command != NULL)
        note(command, json_object_get(message, "arguments"));
    if (command != NULL)
        command_came(command, json_object_get(message, "id"));
    json_decref(message);
}

static void client_came(int listener)
{
    static const char greeting[] = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
                                   "\"package\": \"fake\"}, \"capabilities\": [\"oob\"]}}\r\n";
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0 || client >= 0) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    client = fd;
    read_script();
    if (script_word("status") != NULL)
        status_word = strdup(script_word("status"));
    if (script_word("silent") == NULL)
        say(greeting);
}

static void client_speaks(void)
{
    static char input[INPUT_BYTES];
    static size_t length;
    ssize_t n = recv(client, input + length, sizeof(input) - 1 - length, 0);
    char *newline;

    if (n <= 0) {
        (void)close(client);
        client = -1;
        length = 0;
        return;
    }
    length += (size_t)n;
    input[length] = '\0';
    while ((newline = strchr(input, '\n')) != NULL) {
        *newline = '\0';
        line_came(input);
        length -= (size_t)(newline + 1 - input);
        memmove(input, newline + 1, length + 1);
    }
}

static void terminate(void)
{
    if (ignores_term)
        return;
    event("SHUTDOWN", json_pack("{s:b,s:s}", "guest", 0, "reason", "host-signal"));
    _exit(0);
}

static int find_listener(int argc, char **argv)
{
    int listener = -1;

    for (int i = 1; i + 1 < argc; i++) {
        const char *fd = strstr(argv[i + 1], "fd=");

        if (strcmp(argv[i], "-uuid") == 0)
            uuid = argv[i + 1];
        if (strcmp(argv[i], "-incoming") == 0)
            is_incoming = true, status_word = "inmigrate";
        if (strcmp(argv[i], "-chardev") == 0 && strstr(argv[i + 1], "id=charmonitor") != NULL && fd != NULL)
            listener = atoi(fd + 3);
        else if (strcmp(argv[i], "-chardev") == 0)
            listen_for_agent(argv[i + 1]);
    }
    return listener;
}

int main(int argc, char **argv)
{
    int listener = find_listener(argc, argv), signals;
    const char *early;
    sigset_t term;

    if (listener < 0) {
        (void)execv(real_qemu, argv);
        return 127;
    }
    program = argv[0];
    read_script();
    early = script_word("die_early");
    if (early != NULL) {
        (void)fprintf(stderr, "fake_qemu: %s\n", early);
        return 1;
    }
    ignores_term = script_word("ignore_term") != NULL;
    (void)sigemptyset(&term);
    (void)sigaddset(&term, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &term, NULL);
    signals = signalfd(-1, &term, SFD_CLOEXEC);
    for (;;) {
        struct pollfd fds[] = { { .fd = signals, .events = POLLIN }, { .fd = listener, .events = POLLIN },
                                { .fd = client, .events = POLLIN }, { .fd = agent_listener, .events = POLLIN },
                                { .fd = agent, .events = POLLIN } };
        struct signalfd_siginfo info;

        int n = poll(fds, 5, outgoing != NULL ? 10 : -1);

        if (n < 0)
            continue;
        if (n == 0) {
            send_word();
            continue;
        }
        if (fds[0].revents != 0 && read(signals, &info, sizeof(info)) > 0)
            terminate();
        if (fds[1].revents != 0)
            client_came(listener);
        if (client >= 0 && fds[2].revents != 0)
            client_speaks();
        if (agent >= 0 && fds[4].revents != 0)
            agent_is_spoken_to();
        if (fds[3].revents != 0)
            agent_comes();
    }
}
