/* For tests of store and raft: directories that vanish, and commands as packed entries. */
#pragma once

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "conf/base/memory.h"
#include "proto/cluster.pb-c.h"
#include "store/store.h"

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A directory on memory where there is one. free() the name after remove_tree(). */
static inline char *make_tree(void)
{
    char *path = vq_strdup(access("/dev/shm", W_OK) == 0 ? "/dev/shm/vq-test-XXXXXX" : "/tmp/vq-test-XXXXXX");

    assert_non_null(mkdtemp(path));
    return path;
}

/* Builders keep the messages in static memory of one command at a time. */
struct command_parts {
    Vq__Command command;
    uint8_t request_id[16];
    uint8_t uuid[16];
    Vq__DomainDefine define;
    Vq__DomainUndefine undefine;
    Vq__DomainSettings settings;
    Vq__DomainRun run;
    Vq__DomainState state;
    Vq__DomainOwner owner;
    Vq__DomainRename rename;
    Vq__DomainMove move;
    Vq__DomainMoveEnd move_end;
    Vq__DomainDefine kept;
    Vq__NodeRecord node;
    Vq__NodePut node_put;
    Vq__NodeRemove node_remove;
    Vq__NodeSetRole node_set_role;
    Vq__NodeDrain node_drain;
    Vq__TokenPut token_put;
    Vq__TokenUse token_use;
    Vq__SettingPut setting;
    Vq__ClusterInit init;
};

static inline void number_bytes(uint8_t bytes[16], uint64_t number, uint8_t tag)
{
    memset(bytes, tag, 16);
    memcpy(bytes, &number, sizeof(number));
}

#define NAME_CASE(member, type, CASE)                        \
    parts->command.change_case = VQ__COMMAND__CHANGE_##CASE; \
    parts->command.member = &parts->type

static inline void begin_command(struct command_parts *parts, uint64_t request, uint64_t uuid)
{
    memset(parts, 0, sizeof(*parts));
    vq__command__init(&parts->command);
    number_bytes(parts->request_id, request, 0x5a);
    number_bytes(parts->uuid, uuid, 0xd0);
    parts->command.request_id = (ProtobufCBinaryData){16, parts->request_id};
    parts->command.proposer = 1;
    parts->command.time_ms = 1000000 + request;
}

static inline void make_define(struct command_parts *parts, uint64_t request, uint64_t uuid, const char *name)
{
    begin_command(parts, request, uuid);
    vq__domain_define__init(&parts->define);
    parts->define.driver = "qemu";
    parts->define.uuid = (ProtobufCBinaryData){16, parts->uuid};
    parts->define.name = (char *)name;
    parts->define.owner = 1;
    parts->define.xml = (ProtobufCBinaryData){12, (uint8_t *)"<domain/>   "};
    parts->define.max_memory_kib = 2048;
    parts->define.memory_kib = 1024;
    parts->define.vcpus = 1;
    parts->define.max_vcpus = 2;
    parts->define.persistent = true;
    NAME_CASE(domain_define, define, DOMAIN_DEFINE);
}

static inline void make_undefine(struct command_parts *parts, uint64_t request, uint64_t uuid)
{
    begin_command(parts, request, uuid);
    vq__domain_undefine__init(&parts->undefine);
    parts->undefine.uuid = (ProtobufCBinaryData){16, parts->uuid};
    NAME_CASE(domain_undefine, undefine, DOMAIN_UNDEFINE);
}

static inline void make_run(struct command_parts *parts, uint64_t request, uint64_t uuid, uint64_t node)
{
    begin_command(parts, request, uuid);
    vq__domain_run__init(&parts->run);
    parts->run.uuid = (ProtobufCBinaryData){16, parts->uuid};
    parts->run.node = node;
    parts->run.if_generation = 1;
    NAME_CASE(domain_run, run, DOMAIN_RUN);
}

static inline void make_state(struct command_parts *parts, uint64_t request, uint64_t uuid, uint64_t node, uint64_t run,
                              uint32_t state, int32_t id)
{
    begin_command(parts, request, uuid);
    vq__domain_state__init(&parts->state);
    parts->state.uuid = (ProtobufCBinaryData){16, parts->uuid};
    parts->state.node = node;
    parts->state.run = run;
    parts->state.state = state;
    parts->state.id = id;
    NAME_CASE(domain_state, state, DOMAIN_STATE);
}

/* Of the first owner. */
static inline void make_move(struct command_parts *parts, uint64_t request, uint64_t uuid, uint64_t from, uint64_t to)
{
    begin_command(parts, request, uuid);
    vq__domain_move__init(&parts->move);
    parts->move.uuid = (ProtobufCBinaryData){16, parts->uuid};
    parts->move.from = from;
    parts->move.to = to;
    parts->move.if_generation = 1;
    NAME_CASE(domain_move, move, DOMAIN_MOVE);
}

static inline void make_move_end(struct command_parts *parts, uint64_t request, uint64_t uuid, uint64_t to, uint64_t run,
                                 bool commit)
{
    begin_command(parts, request, uuid);
    vq__domain_move_end__init(&parts->move_end);
    parts->move_end.uuid = (ProtobufCBinaryData){16, parts->uuid};
    parts->move_end.to = to;
    parts->move_end.run = run;
    parts->move_end.commit = commit;
    NAME_CASE(domain_move_end, move_end, DOMAIN_MOVE_END);
}

static inline void make_owner(struct command_parts *parts, uint64_t request, uint64_t uuid, uint64_t from, uint64_t to)
{
    begin_command(parts, request, uuid);
    vq__domain_owner__init(&parts->owner);
    parts->owner.uuid = (ProtobufCBinaryData){16, parts->uuid};
    parts->owner.from = from;
    parts->owner.to = to;
    parts->owner.if_generation = 1;
    NAME_CASE(domain_owner, owner, DOMAIN_OWNER);
}

static inline void make_setting(struct command_parts *parts, uint64_t request, const char *name, const char *value)
{
    begin_command(parts, request, 0);
    vq__setting_put__init(&parts->setting);
    parts->setting.name = (char *)name;
    parts->setting.value = (ProtobufCBinaryData){strlen(value), (uint8_t *)value};
    NAME_CASE(setting_put, setting, SETTING_PUT);
}

static inline void make_node(struct command_parts *parts, uint64_t request, uint64_t id, const char *name)
{
    begin_command(parts, request, 0);
    vq__node_put__init(&parts->node_put);
    vq__node_record__init(&parts->node);
    parts->node.id = id;
    parts->node.name = (char *)name;
    parts->node_put.node = &parts->node;
    NAME_CASE(node_put, node_put, NODE_PUT);
}

/* The entry with one command; malloc'ed. */
static inline uint8_t *pack_entry(const Vq__Command *command, size_t *ret_length)
{
    Vq__Command *commands[1] = {(Vq__Command *)command};
    Vq__Entry entry = VQ__ENTRY__INIT;

    entry.n_commands = 1;
    entry.commands = commands;
    *ret_length = vq__entry__get_packed_size(&entry);
    uint8_t *bytes = vq_calloc(1, *ret_length + 1);
    vq__entry__pack(&entry, bytes);
    return bytes;
}

static inline uint8_t *pack_command(const Vq__Command *command, size_t *ret_length)
{
    *ret_length = vq__command__get_packed_size(command);
    uint8_t *bytes = vq_calloc(1, *ret_length + 1);
    vq__command__pack(command, bytes);
    return bytes;
}
