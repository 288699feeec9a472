#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "check.h"

/* One lock for all that the client's threads tell and the test's thread reads. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER;

void record(zhandle_t *handle, int type, int state, const char *path, void *context) {
    struct events *events = context;
    (void)handle;
    pthread_mutex_lock(&lock);
    if (events->count < EVENTS_MAX) {
        int at = events->count++;
        events->list[at].type = type;
        events->list[at].state = state;
        snprintf(events->list[at].path, sizeof events->list[at].path, "%s", path ? path : "");
    }
    pthread_cond_broadcast(&told);
    pthread_mutex_unlock(&lock);
}

static int count_of(const struct events *events, int type, const char *path) {
    int found = 0;
    for (int i = 0; i < events->count; i++) {
        found += events->list[i].type == type && strcmp(events->list[i].path, path) == 0;
    }
    return found;
}

static int has_state(const struct events *events, int state, int from) {
    for (int i = from; i < events->count; i++) {
        if (events->list[i].type == ZOO_SESSION_EVENT && events->list[i].state == state) return 1;
    }
    return 0;
}

static struct timespec deadline(void) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE_SECONDS;
    return end;
}

/* Waits while the lock is held until `condition`, or fails with `what`. */
#define AWAIT(condition, ...) \
    do { \
        struct timespec end = deadline(); \
        int late = 0; \
        pthread_mutex_lock(&lock); \
        while (!(condition) && !late) late = pthread_cond_timedwait(&told, &lock, &end) == ETIMEDOUT; \
        late = !(condition); \
        pthread_mutex_unlock(&lock); \
        if (late) test_failed(__FILE__, __LINE__, __VA_ARGS__); \
    } while (0)

int events_of(struct events *events, int type, const char *path) {
    pthread_mutex_lock(&lock);
    int found = count_of(events, type, path);
    pthread_mutex_unlock(&lock);
    return found;
}

int events_count(struct events *events) {
    pthread_mutex_lock(&lock);
    int count = events->count;
    pthread_mutex_unlock(&lock);
    return count;
}

void await_event(struct events *events, int type, const char *path) {
    AWAIT(count_of(events, type, path) > 0, "no event %d for %s", type, path);
}

void await_state(struct events *events, int state, int from) {
    AWAIT(has_state(events, state, from), "no session state %d", state);
}

void client_open(struct client *client, const char *address, int timeout_ms, const clientid_t *id) {
    memset(client, 0, sizeof *client);
    client->handle = zookeeper_init(address, record, timeout_ms, id, &client->events, ZOO_NO_LOG_CLIENTENV);
    CHECK(client->handle != NULL);
    await_state(&client->events, ZOO_CONNECTED_STATE, 0);
}

void client_close(struct client *client) {
    OK(zookeeper_close(client->handle));
    client->handle = NULL;
}

static void tell(const void *data, int rc, const char *text, int length, const struct Stat *stat, int count) {
    struct reply *reply = (struct reply *)data;
    pthread_mutex_lock(&lock);
    reply->done++;
    reply->rc = rc;
    if (text && length >= 0) snprintf(reply->text, sizeof reply->text, "%.*s", length, text);
    if (stat) reply->stat = *stat;
    reply->count = count;
    pthread_cond_broadcast(&told);
    pthread_mutex_unlock(&lock);
}

void on_void(int rc, const void *data) {
    tell(data, rc, NULL, -1, NULL, 0);
}

void on_stat(int rc, const struct Stat *stat, const void *data) {
    tell(data, rc, NULL, -1, stat, 0);
}

void on_data(int rc, const char *value, int length, const struct Stat *stat, const void *data) {
    tell(data, rc, value, length, stat, 0);
}

void on_strings(int rc, const struct String_vector *names, const struct Stat *stat, const void *data) {
    tell(data, rc, NULL, -1, stat, names ? names->count : 0);
}

void on_string(int rc, const char *value, const void *data) {
    tell(data, rc, value, value ? (int)strlen(value) : -1, NULL, 0);
}

void on_acl(int rc, struct ACL_vector *acl, struct Stat *stat, const void *data) {
    tell(data, rc, NULL, -1, stat, acl ? acl->count : 0);
}

int await_reply(struct reply *reply) {
    AWAIT(reply->done > 0, "a completion was not called");
    EQUAL(reply->done, 1);
    return reply->rc;
}
