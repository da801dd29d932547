/* Errors: setting, wrapping, and the meaning of libvirt's codes. */
#include "conf/base/error.h"

#include <stdio.h>
#include <string.h>

struct meaning {
    int code;
    const char *template;
};

/* What the field knows each code as; clients and scripts look for the words before the colon. */
static const struct meaning meanings[] = {
    {VIR_ERR_INTERNAL_ERROR, "internal error: %s"},
    {VIR_ERR_NO_MEMORY, "out of memory: %s"},
    {VIR_ERR_NO_SUPPORT, "this function is not supported by the connection driver: %s"},
    {VIR_ERR_UNKNOWN_HOST, "unknown host %s"},
    {VIR_ERR_NO_CONNECT, "no connection driver available for %s"},
    {VIR_ERR_INVALID_CONN, "invalid connection pointer in %s"},
    {VIR_ERR_INVALID_DOMAIN, "invalid domain pointer in %s"},
    {VIR_ERR_INVALID_ARG, "invalid argument: %s"},
    {VIR_ERR_OPERATION_FAILED, "operation failed: %s"},
    {VIR_ERR_OS_TYPE, "unknown OS type %s"},
    {VIR_ERR_XML_ERROR, "XML error: %s"},
    {VIR_ERR_DOM_EXIST, "domain %s exists already"},
    {VIR_ERR_OPERATION_DENIED, "operation forbidden: %s"},
    {VIR_ERR_XML_DETAIL, "%s"},
    {VIR_ERR_SYSTEM_ERROR, "%s"},
    {VIR_ERR_RPC, "%s"},
    {VIR_ERR_NO_DOMAIN, "Domain not found: %s"},
    {VIR_ERR_NO_HOSTNAME, "no hostname found: %s"},
    {VIR_ERR_NO_NETWORK, "Network not found: %s"},
    {VIR_ERR_AUTH_FAILED, "authentication failed: %s"},
    {VIR_ERR_NO_STORAGE_POOL, "Storage pool not found: %s"},
    {VIR_ERR_NO_STORAGE_VOL, "Storage volume not found: %s"},
    {VIR_ERR_NO_NODE_DEVICE, "Node device not found: %s"},
    {VIR_ERR_NO_INTERFACE, "Interface not found: %s"},
    {VIR_ERR_OPERATION_INVALID, "Requested operation is not valid: %s"},
    {VIR_ERR_NO_NWFILTER, "Network filter not found: %s"},
    {VIR_ERR_NO_SECRET, "Secret not found: %s"},
    {VIR_ERR_CONFIG_UNSUPPORTED, "unsupported configuration: %s"},
    {VIR_ERR_HOOK_SCRIPT_FAILED, "Hook script execution failed: %s"},
    {VIR_ERR_OPERATION_TIMEOUT, "Timed out during operation: %s"},
    {VIR_ERR_NO_DOMAIN_SNAPSHOT, "Domain snapshot not found: %s"},
    {VIR_ERR_INVALID_STREAM, "invalid stream pointer: %s"},
    {VIR_ERR_MIGRATE_UNSAFE, "Unsafe migration: %s"},
    {VIR_ERR_OVERFLOW, "numerical overflow: %s"},
    {VIR_ERR_ARGUMENT_UNSUPPORTED, "argument unsupported: %s"},
    {VIR_ERR_OPERATION_ABORTED, "operation aborted: %s"},
    {VIR_ERR_AUTH_CANCELLED, "authentication cancelled: %s"},
    {VIR_ERR_NO_DOMAIN_METADATA, "metadata not found: %s"},
    {VIR_ERR_OPERATION_UNSUPPORTED, "Operation not supported: %s"},
    {VIR_ERR_AGENT_UNRESPONSIVE, "Guest agent is not responding: %s"},
    {VIR_ERR_RESOURCE_BUSY, "resource busy: %s"},
    {VIR_ERR_ACCESS_DENIED, "access denied: %s"},
    {VIR_ERR_CPU_INCOMPATIBLE, "the CPU is incompatible with host CPU: %s"},
    {VIR_ERR_XML_INVALID_SCHEMA, "XML document failed to validate against schema: %s"},
    {VIR_ERR_AUTH_UNAVAILABLE, "authentication unavailable: %s"},
    {VIR_ERR_NO_SERVER, "Server not found: %s"},
    {VIR_ERR_NO_CLIENT, "Client not found: %s"},
    {VIR_ERR_NO_DOMAIN_CHECKPOINT, "Domain checkpoint not found: %s"},
    {VIR_ERR_NO_DOMAIN_BACKUP, "Domain backup job id not found: %s"},
    {VIR_ERR_NO_NETWORK_PORT, "network port not found: %s"},
};

const char *vq_error_template(int code)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(meanings); i++)
        if (meanings[i].code == code)
            return meanings[i].template;
    return "%s";
}

/* End the message with "..." when it was cut, and let no control character through to a terminal or a log. */
static void tidy(struct vq_error *err, int wanted)
{
    if (wanted >= (int)sizeof(err->message))
        memcpy(err->message + sizeof(err->message) - 4, "...", 4);
    for (char *c = err->message; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
}

int vq_error_set_from(struct vq_error *err, int from, int code, const char *fmt, ...)
{
    va_list args;

    if (err == NULL)
        return -1;
    err->code = code;
    err->from = from;
    err->int1 = -1;
    va_start(args, fmt);
    int wanted = vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    tidy(err, wanted);
    return -1;
}

int vq_error_system_from(struct vq_error *err, int from, int errno_value, const char *fmt, ...)
{
    va_list args;

    if (err == NULL)
        return -1;
    err->code = VIR_ERR_SYSTEM_ERROR;
    err->from = from;
    err->int1 = errno_value;
    va_start(args, fmt);
    int wanted = vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    if (wanted >= 0 && wanted < (int)sizeof(err->message)) {
        char reason[128];
        const char *text = strerror_r(errno_value, reason, sizeof(reason));
        wanted += snprintf(err->message + wanted, sizeof(err->message) - (size_t)wanted, ": %s", text);
    }
    tidy(err, wanted);
    return -1;
}

int vq_error_wrap(struct vq_error *err, const char *fmt, ...)
{
    char inner[sizeof(err->message)];
    va_list args;

    if (err == NULL)
        return -1;
    memcpy(inner, err->message, sizeof(inner));
    va_start(args, fmt);
    int wanted = vsnprintf(err->message, sizeof(err->message), fmt, args);
    va_end(args);
    if (wanted >= 0 && wanted < (int)sizeof(err->message))
        wanted += snprintf(err->message + wanted, sizeof(err->message) - (size_t)wanted, ": %s", inner);
    tidy(err, wanted);
    return -1;
}

void vq_error_text(const struct vq_error *err, char *buffer, size_t size)
{
    const char *template = vq_error_template(err->code);
    const char *place = strstr(template, "%s");
    int before = place == NULL ? (int)strlen(template) : (int)(place - template);

    (void)snprintf(buffer, size, "%.*s%s%s", before, template, place == NULL ? "" : err->message,
                   place == NULL ? "" : place + 2);
}
