/* URIs of connections. */
#define VQ_FROM VIR_FROM_NONE
#include "node/view.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "node/cluster/cluster.h"
#include "node/daemon.h"
#include "proto/cluster.pb-c.h"

enum { URI_MAX = 4096 };

/* Connections to the parts that are not hypervisors: they open, say what they are, and support nothing yet. */
static struct vq_driver part_drivers[] = {
    {.name = "network", .type = "network"},     {.name = "storage", .type = "storage"},
    {.name = "secret", .type = "secret"},       {.name = "nodedev", .type = "nodedev"},
    {.name = "interface", .type = "interface"}, {.name = "nwfilter", .type = "nwfilter"},
};

struct uri {
    char *scheme, *authority, *path, *query; /* in one piece of memory; "" when absent */
};

/* scheme:[//authority]path[?query][#fragment], cut in place. */
static int uri_split(char *text, struct uri *ret)
{
    size_t scheme = strcspn(text, ":");

    if (text[scheme] != ':' || scheme == 0 || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.") < scheme)
        return -1;
    text[scheme] = '\0';
    *ret = (struct uri){.scheme = text, .authority = "", .path = text + scheme + 1, .query = ""};
    char *fragment = strchr(ret->path, '#');
    if (fragment != NULL)
        *fragment = '\0';
    char *query = strchr(ret->path, '?');
    if (query != NULL) {
        *query = '\0';
        ret->query = query + 1;
    }
    if (strncmp(ret->path, "//", 2) == 0) {
        /* Move the authority over the slashes, so that the path keeps its own. */
        size_t length = strcspn(ret->path + 2, "/");
        memmove(ret->path, ret->path + 2, length);
        ret->authority = ret->path;
        char *path = ret->path + length + 2;
        if (length > 0)
            ret->authority[length] = '\0';
        else
            ret->authority = "";
        ret->path = path;
    }
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; false for a broken escape or a NUL. */
static bool percent_decode(char *text)
{
    char *out = text;

    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '%') {
            int high = hex_digit(c[1]);
            int low = high < 0 ? -1 : hex_digit(c[2]);
            if (low < 0 || (high == 0 && low == 0))
                return false;
            *out++ = (char)(high * 16 + low);
            c += 2;
        } else {
            *out++ = *c;
        }
    }
    *out = '\0';
    return true;
}

/* The value of "node" in the query, cut out in place; NULL: there is none. The last one counts. */
static char *query_node(char *query)
{
    char *found = NULL;
    char *rest = query;

    for (char *pair = strsep(&rest, "&;"); pair != NULL; pair = strsep(&rest, "&;"))
        if (strncmp(pair, "node=", 5) == 0)
            found = pair + 5;
    return found;
}

static int find_node(const struct vq_daemon *daemon, const char *name, uint64_t *ret_node, struct vq_error *err)
{
    struct vq_store_view *store;

    if (strcmp(name, ".") == 0 || vq_streq(name, daemon->node_name)) {
        *ret_node = daemon->node_id;
        return 0;
    }
    if (vq_store_view_begin(daemon->store, &store, err) < 0)
        return -1;
    Vq__NodeRecord *record = vq_store_node_find_by_name(store, name);
    uint64_t id = record == NULL ? 0 : record->id;
    if (record != NULL)
        vq_store_node_free(record);
    vq_store_view_end(store);
    if (id == 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "this cluster has no node '%s'", name);
    *ret_node = id;
    return 0;
}

static struct vq_driver *find_driver(const struct vq_daemon *daemon, const char *scheme)
{
    struct vq_driver *driver = vq_daemon_driver(daemon, scheme);

    for (size_t i = 0; driver == NULL && i < VQ_N_ELEMENTS(part_drivers); i++)
        if (strcmp(part_drivers[i].name, scheme) == 0)
            driver = &part_drivers[i];
    return driver;
}

static int open_default(const struct vq_daemon *daemon, uint64_t default_node, struct vq_view *ret_view,
                        struct vq_error *err)
{
    if (daemon->n_drivers == 0)
        return vq_error_set(err, VIR_ERR_NO_CONNECT, "this host: no hypervisor driver has started");
    ret_view->driver = daemon->drivers[0];
    ret_view->node = default_node;
    ret_view->uri = vq_asprintf("%s:///system", ret_view->driver->name);
    return 0;
}

int vq_view_open(const struct vq_daemon *daemon, const char *name, uint64_t default_node, struct vq_view *ret_view,
                 struct vq_error *err)
{
    struct uri uri;

    if (*name == '\0')
        return open_default(daemon, default_node, ret_view, err);
    if (strlen(name) > URI_MAX)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the connection URI is too long");
    VQ_AUTOFREE char *text = vq_strdup(name);
    if (uri_split(text, &uri) < 0)
        return vq_error_set(err, VIR_ERR_NO_CONNECT, "%s", name);

    struct vq_driver *driver = find_driver(daemon, uri.scheme);
    if (driver == NULL || *uri.authority != '\0')
        return vq_error_set(err, VIR_ERR_NO_CONNECT, "%s", name);

    uint64_t node = default_node;
    char *wanted = query_node(uri.query);
    if (wanted == NULL && strncmp(uri.path, "/system/", 8) == 0 && uri.path[8] != '\0')
        wanted = uri.path + 8;
    if (strncmp(uri.path, "/system/", 8) == 0)
        uri.path[7] = '\0';
    if (wanted != NULL) {
        if (!percent_decode(wanted))
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "the connection URI has a broken escape in the node's name");
        if (find_node(daemon, wanted, &node, err) < 0)
            return -1;
    }
    if (driver->open_uri != NULL && driver->open_uri(driver, uri.path, err) < 0)
        return -1;
    ret_view->driver = driver;
    ret_view->node = node;
    ret_view->uri = vq_strdup(name);
    return 0;
}
