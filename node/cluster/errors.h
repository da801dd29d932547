/* Errors of the tool and of cluster control: each has a number that stays, VQ-0201, by which its page in docs/errors.md is found.
 *
 * The texts say what happened to what; the number says what kind of thing it is. A new one is a row in errors.c and a paragraph in
 * docs/errors.md, which a test compares. Numbers are not given out twice. */
#pragma once

#include <stddef.h>

struct vq_error;

/*    name                 number exit what */
#define VQ_NUMBERS(X)                                                                               \
    X(USAGE,               101,   2,  "The command line is not understood")                         \
    X(NOT_ROOT,            102,   6,  "Only root may use the control socket")                       \
    X(NO_DAEMON,           103,   5,  "The daemon does not answer")                                 \
    X(NO_ANSWER,           104, 124,  "The daemon has not answered in time")                        \
    X(HUNG_UP,             105,   5,  "The daemon ended in the middle of an answer")                \
    X(OTHER_RELEASE,       106,   1,  "Tool and daemon are of different releases")                  \
    X(NO_HOST,             107,   3,  "A host name has no address")                                 \
    X(FAILED,              110,   1,  "The daemon could not do it")                                 \
    X(INVALID,             111,   2,  "A name or value cannot be used")                             \
    X(NO_QUORUM,           112,   4,  "The cluster has no majority, or the state does not allow it") \
    X(DENIED,              113,   6,  "A token or certificate is not accepted")                     \
    X(UNKNOWN,             114, 124,  "Whether the change was made is not known")                   \
    X(LEVEL,               115,   1,  "A member is too old for this change")                        \
    X(NO_CLUSTER,          201,   1,  "This host is in no cluster")                                 \
    X(NO_NODE,             202,   3,  "There is no such node")                                      \
    X(OTHER_CLUSTER,       203,   7,  "This host is a member of a cluster already")                 \
    X(BUSY,                204,   7,  "This node is changing its cluster")                          \
    X(HAS_GUESTS,          205,   7,  "Guests belong to the node")                                  \
    X(SELF,                206,   7,  "A node is not removed by itself")                            \
    X(NO_SUCCESSOR,        207,   1,  "No other node could take over the lead")                     \
    X(UNREACHABLE,         208,   5,  "The node is not reachable")                                  \
    X(TTL,                 209,   2,  "A token cannot live so long")                                \
    X(NO_SETTING,          210,   3,  "There is no such setting")                                   \
    X(JOIN_UNREACHABLE,    301,   5,  "No member of the cluster could be reached")                  \
    X(JOIN_REFUSED,        302,   7,  "A check before joining has failed")                          \
    X(JOIN_DENIED,         303,   6,  "The cluster does not accept the token")                      \
    X(JOIN_NO_QUORUM,      304,   4,  "The cluster cannot take anybody in just now")                \
    X(JOIN_FAILED,         305,   1,  "Joining did not succeed")                                    \
    X(JOIN_USAGE,          306,   2,  "What was said about joining cannot be used")                 \
    X(NO_GUEST,            401,   3,  "There is no such guest")                                     \
    X(GUEST_STAYS,         402,   7,  "A check says that the guest cannot move")                    \
    X(MOVE_FAILED,         403,   1,  "A guest did not move")                                       \
    X(MOVE_TOO_LONG,       404, 124,  "A guest did not move in time")                               \
    X(GUEST_GONE,          405,   1,  "The guest ended or went while it was to move")               \
    X(GUEST_OFF,           406,   7,  "The guest does not run")                                     \
    X(BAD_TARGETS,         407,   2,  "Guests cannot be sent there")                                \
    X(NOT_TAKEN,           408,   7,  "A guest is not taken over")                                  \
    X(NOT_RECOVERED,       501,   1,  "The node cannot begin anew")                                 \
    X(NOT_CONFIRMED,       502,   7,  "Nobody confirmed it")                                        \
    X(RECOVERY_REFUSED,    503,   7,  "A node does not begin anew just now")

#define VQ_NUMBER_NAME(name, number, exit, what) VQ_E_##name,
enum vq_number { VQ_NUMBERS(VQ_NUMBER_NAME) VQ_N_NUMBERS };
#undef VQ_NUMBER_NAME

struct vq_number_row {
    unsigned number;   /* as people see it */
    int exit_code;     /* of the tool */
    const char *what;
};
extern const struct vq_number_row vq_numbers[VQ_N_NUMBERS];

/* Of an error that came from further below. */
enum vq_number vq_number_of(const struct vq_error *err);
