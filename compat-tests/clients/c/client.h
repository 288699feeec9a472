/* A session of the C client, with what its watchers and completions were told. */
#ifndef CLIENT_H
#define CLIENT_H

#include <pthread.h>
#include <zookeeper/zookeeper.h>

#define EVENTS_MAX 256

/* Events in the order in which a watcher got them. */
struct events {
    int count;
    struct {
        int type, state;
        char path[200];
    } list[EVENTS_MAX];
};

struct client {
    zhandle_t *handle;
    struct events events; /* of the default watcher */
};

/* What a completion was called with. */
struct reply {
    int done; /* how many times it was called */
    int rc;
    char text[200];
    struct Stat stat;
    int count; /* of children or ACLs */
};

/* Opens a session, or takes up the one of `id` again, and waits until it is connected. */
void client_open(struct client *client, const char *address, int timeout_ms, const clientid_t *id);
void client_close(struct client *client);

/* A watcher whose context is a `struct events`. */
void record(zhandle_t *handle, int type, int state, const char *path, void *context);

/* How many events of a type came for a path; waiting for one, and for a session state. */
int events_of(struct events *events, int type, const char *path);
void await_event(struct events *events, int type, const char *path);
void await_state(struct events *events, int state, int from);
int events_count(struct events *events);

/* Completions whose data is a `struct reply`, and waiting for one. */
void on_void(int rc, const void *data);
void on_stat(int rc, const struct Stat *stat, const void *data);
void on_data(int rc, const char *value, int length, const struct Stat *stat, const void *data);
void on_strings(int rc, const struct String_vector *names, const struct Stat *stat, const void *data);
void on_string(int rc, const char *value, const void *data);
void on_acl(int rc, struct ACL_vector *acl, struct Stat *stat, const void *data);
int await_reply(struct reply *reply);

#endif
