/* The C client (libzookeeper_mt) against one server: what its users rely on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "client.h"
#include "lent.h"

#define TIMEOUT_MS 10000
#define WORLD (&ZOO_OPEN_ACL_UNSAFE)
#define PIPELINED 2000

static struct server shared;
static char root[100]; /* of this run alone, so that a server that runs already serves too */

/* Events and replies outlive their test, since a failed test leaves its client behind. */
static struct client first, second;
static struct events data_events, exists_events, child_events, other_events;

static void connect_both(void) {
    const char *address = server_ask(&shared, "start");
    client_open(&first, address, TIMEOUT_MS, NULL);
    client_open(&second, address, TIMEOUT_MS, NULL);
}

static void close_both(void) {
    client_close(&first);
    client_close(&second);
}

/* A server that may be crashed. */
static void own(struct server *server, char *address, char *proxy) {
    if (strcmp(server_ask(&shared, "kind"), "external") == 0) test_skipped("needs a server of its own");
    server_open(server);
    strcpy(address, server_ask(server, "start"));
    strcpy(proxy, server_ask(server, "proxy"));
}

static int make(struct client *client, const char *path, const char *data, int mode, char *made) {
    char buffer[200];
    int rc = zoo_create(client->handle, path, data, (int)strlen(data), WORLD, mode, buffer, sizeof buffer);
    if (made) strcpy(made, buffer);
    return rc;
}

/* A directory of one test. */
static const char *dir(const char *name) {
    static char path[150];
    snprintf(path, sizeof path, "%s-%s", root, name);
    OK(make(&first, path, "", ZOO_PERSISTENT, NULL));
    return path;
}

static const char *at(const char *path, const char *name) {
    static char texts[4][200];
    static int next;
    char *text = texts[next++ % 4];
    snprintf(text, sizeof texts[0], "%s/%s", path, name);
    return text;
}

static int set(struct client *client, const char *path, const char *data, int version) {
    return zoo_set(client->handle, path, data, (int)strlen(data), version);
}

/* Reads a node's data as text. */
static int get(struct client *client, const char *path, char *text, int size, struct Stat *stat) {
    int length = size - 1;
    int rc = zoo_get(client->handle, path, 0, text, &length, stat);
    text[rc == ZOK && length > 0 ? length : 0] = 0;
    return rc;
}

static void sync_calls(void) {
    struct Stat stat;
    struct String_vector names;
    char text[50];
    connect_both();
    const char *path = dir("sync");
    const char *node = at(path, "node");
    OK(make(&first, node, "one", ZOO_PERSISTENT, NULL));
    EQUAL(make(&first, node, "", ZOO_PERSISTENT, NULL), ZNODEEXISTS);
    EQUAL(make(&first, at(path, "no/node"), "", ZOO_PERSISTENT, NULL), ZNONODE);
    OK(get(&second, node, text, sizeof text, &stat));
    SAME(text, "one");
    EQUAL(stat.version, 0);
    EQUAL(stat.dataLength, 3);
    EQUAL(stat.czxid, stat.mzxid);
    OK(zoo_set2(first.handle, node, "two!", 4, 0, &stat));
    EQUAL(stat.version, 1);
    EQUAL(set(&first, node, "x", 0), ZBADVERSION);
    OK(zoo_set(first.handle, node, NULL, -1, 1));
    OK(get(&second, node, text, sizeof text, &stat));
    SAME(text, "");
    EQUAL(stat.dataLength, 0);
    OK(zoo_exists(first.handle, node, 0, &stat));
    EQUAL(stat.version, 2);
    EQUAL(zoo_exists(first.handle, at(path, "none"), 0, &stat), ZNONODE);
    OK(zoo_get_children2(first.handle, path, 0, &names, &stat));
    EQUAL(names.count, 1);
    SAME(names.data[0], "node");
    EQUAL(stat.numChildren, 1);
    deallocate_String_vector(&names);
    EQUAL(zoo_delete(first.handle, path, -1), ZNOTEMPTY);
    EQUAL(zoo_delete(first.handle, node, 9), ZBADVERSION);
    OK(zoo_delete(first.handle, node, 2));
    EQUAL(zoo_delete(first.handle, node, -1), ZNONODE);
    close_both();
}

static void async_calls(void) {
    static struct reply made, read, written, seen, listed, acl, synced, gone, missing;
    connect_both();
    const char *node = at(dir("async"), "node");
    zhandle_t *handle = first.handle;
    OK(zoo_acreate(handle, node, "one", 3, WORLD, ZOO_PERSISTENT, on_string, &made));
    OK(zoo_aget(handle, node, 0, on_data, &read));
    OK(zoo_aset(handle, node, "more", 4, 0, on_stat, &written));
    OK(zoo_aexists(handle, node, 0, on_stat, &seen));
    OK(zoo_aget_children2(handle, node, 0, on_strings, &listed));
    OK(zoo_aget_acl(handle, node, on_acl, &acl));
    OK(zoo_async(handle, node, on_string, &synced));
    OK(zoo_adelete(handle, node, 1, on_void, &gone));
    OK(zoo_aget(handle, node, 0, on_data, &missing));
    OK(await_reply(&made));
    SAME(made.text, node);
    OK(await_reply(&read));
    SAME(read.text, "one");
    OK(await_reply(&written));
    EQUAL(written.stat.version, 1);
    OK(await_reply(&seen));
    EQUAL(seen.stat.dataLength, 4);
    OK(await_reply(&listed));
    EQUAL(listed.count, 0);
    OK(await_reply(&acl));
    EQUAL(acl.count, 1);
    OK(await_reply(&synced));
    SAME(synced.text, node);
    OK(await_reply(&gone));
    EQUAL(await_reply(&missing), ZNONODE);
    close_both();
}

static void pipelined_creates_come_in_order(void) {
    static struct reply made[PIPELINED];
    char path[200], expected[200];
    connect_both();
    snprintf(path, sizeof path, "%s/n-", dir("pipeline"));
    for (int i = 0; i < PIPELINED; i++) {
        OK(zoo_acreate(first.handle, path, "", 0, WORLD, ZOO_PERSISTENT_SEQUENTIAL, on_string, &made[i]));
    }
    for (int i = 0; i < PIPELINED; i++) {
        OK(await_reply(&made[i]));
        snprintf(expected, sizeof expected, "%s%010d", path, i);
        SAME(made[i].text, expected);
    }
    close_both();
}

static void multi_is_all_or_nothing(void) {
    zoo_op_t ops[5];
    zoo_op_result_t results[5];
    struct Stat stat;
    char made[200];
    connect_both();
    const char *path = dir("multi");
    const char *a = at(path, "a");
    const char *b = at(path, "b");
    zoo_create_op_init(&ops[0], a, "1", 1, WORLD, ZOO_PERSISTENT, made, sizeof made);
    zoo_set_op_init(&ops[1], a, "22", 2, 0, &stat);
    zoo_check_op_init(&ops[2], a, 1);
    zoo_create_op_init(&ops[3], b, "", 0, WORLD, ZOO_PERSISTENT, NULL, 0);
    zoo_delete_op_init(&ops[4], b, -1);
    OK(zoo_multi(first.handle, 5, ops, results));
    for (int i = 0; i < 5; i++) OK(results[i].err);
    SAME(made, a);
    EQUAL(stat.version, 1);
    EQUAL(stat.dataLength, 2);
    zoo_create_op_init(&ops[0], b, "", 0, WORLD, ZOO_PERSISTENT, NULL, 0);
    zoo_check_op_init(&ops[1], a, 9);
    zoo_delete_op_init(&ops[2], a, -1);
    EQUAL(zoo_multi(first.handle, 3, ops, results), ZBADVERSION);
    EQUAL(results[0].err, ZOK);
    EQUAL(results[1].err, ZBADVERSION);
    EQUAL(results[2].err, ZRUNTIMEINCONSISTENCY);
    EQUAL(zoo_exists(first.handle, b, 0, &stat), ZNONODE);
    OK(zoo_exists(first.handle, a, 0, &stat));
    close_both();
}

static void watches_fire_once(void) {
    struct Stat stat;
    struct String_vector names;
    char text[50];
    int length = sizeof text;
    connect_both();
    const char *path = dir("watch");
    const char *node = at(path, "node");
    EQUAL(zoo_wexists(first.handle, node, record, &exists_events, &stat), ZNONODE);
    OK(zoo_wget_children(first.handle, path, record, &child_events, &names));
    deallocate_String_vector(&names);
    OK(make(&second, node, "", ZOO_PERSISTENT, NULL));
    await_event(&exists_events, ZOO_CREATED_EVENT, node);
    await_event(&child_events, ZOO_CHILD_EVENT, path);
    OK(zoo_wget(first.handle, node, record, &data_events, text, &length, &stat));
    length = sizeof text;
    OK(zoo_get(first.handle, node, 1, text, &length, &stat));
    OK(set(&second, node, "1", -1));
    await_event(&data_events, ZOO_CHANGED_EVENT, node);
    await_event(&first.events, ZOO_CHANGED_EVENT, node);
    OK(set(&second, node, "2", -1));
    OK(zoo_exists(first.handle, node, 1, &stat));
    EQUAL(events_of(&data_events, ZOO_CHANGED_EVENT, node), 1);
    EQUAL(events_of(&first.events, ZOO_CHANGED_EVENT, node), 1);
    OK(zoo_delete(second.handle, node, -1));
    await_event(&first.events, ZOO_DELETED_EVENT, node);
    EQUAL(events_of(&exists_events, ZOO_DELETED_EVENT, node), 0);
    EQUAL(events_of(&child_events, ZOO_CHILD_EVENT, path), 1);
    close_both();
}

static void removed_watches_stay_silent(void) {
    struct Stat stat;
    struct String_vector names;
    char text[50];
    int length = sizeof text;
    connect_both();
    const char *path = dir("unwatch");
    zhandle_t *handle = first.handle;
    EQUAL(zoo_remove_watches(handle, path, ZWATCHTYPE_DATA, record, &other_events, 0), ZNOWATCHER);
    OK(zoo_wget(handle, path, record, &other_events, text, &length, &stat));
    OK(zoo_wget_children(handle, path, record, &child_events, &names));
    deallocate_String_vector(&names);
    EQUAL(zoo_remove_watches(handle, path, ZWATCHTYPE_DATA, record, &data_events, 0), ZNOWATCHER);
    OK(zoo_remove_watches(handle, path, ZWATCHTYPE_DATA, record, &other_events, 0));
    EQUAL(zoo_remove_watches(handle, path, ZWATCHTYPE_DATA, record, &other_events, 0), ZNOWATCHER);
    OK(set(&second, path, "x", -1));
    OK(make(&second, at(path, "a"), "", ZOO_PERSISTENT, NULL));
    await_event(&child_events, ZOO_CHILD_EVENT, path);
    EQUAL(events_of(&other_events, ZOO_CHANGED_EVENT, path), 0);
    OK(zoo_wget_children(handle, path, record, &exists_events, &names));
    deallocate_String_vector(&names);
    OK(zoo_remove_all_watches(handle, path, ZWATCHTYPE_CHILD, 0));
    EQUAL(zoo_remove_all_watches(handle, path, ZWATCHTYPE_CHILD, 0), ZNOWATCHER);
    close_both();
}

static void digest_guards_a_node(void) {
    static struct reply added, refused;
    struct ACL_vector acl;
    struct ACL_vector none = {0, NULL};
    struct Stat stat;
    char text[50];
    connect_both();
    const char *node = at(dir("acl"), "mine");
    OK(zoo_add_auth(first.handle, "digest", "user:secret", 11, on_void, &added));
    OK(await_reply(&added));
    OK(zoo_create(first.handle, node, "x", 1, &ZOO_CREATOR_ALL_ACL, ZOO_PERSISTENT, NULL, 0));
    EQUAL(get(&second, node, text, sizeof text, &stat), ZNOAUTH);
    EQUAL(set(&second, node, "y", -1), ZNOAUTH);
    OK(zoo_get_acl(first.handle, node, &acl, &stat));
    EQUAL(acl.count, 1);
    SAME(acl.data[0].id.scheme, "digest");
    CHECK(strncmp(acl.data[0].id.id, "user:", 5) == 0);
    EQUAL(acl.data[0].perms, ZOO_PERM_ALL);
    deallocate_ACL_vector(&acl);
    EQUAL(zoo_set_acl(first.handle, node, 7, &ZOO_READ_ACL_UNSAFE), ZBADVERSION);
    EQUAL(zoo_set_acl(first.handle, node, 0, &none), ZINVALIDACL);
    OK(zoo_set_acl(first.handle, node, 0, &ZOO_READ_ACL_UNSAFE));
    OK(get(&second, node, text, sizeof text, &stat));
    SAME(text, "x");
    EQUAL(stat.aversion, 1);
    EQUAL(zoo_create(second.handle, at(node, "a"), "", 0, &ZOO_CREATOR_ALL_ACL, ZOO_PERSISTENT, NULL, 0), ZINVALIDACL);
    EQUAL(make(&second, at(node, "a"), "", ZOO_PERSISTENT, NULL), ZNOAUTH);
    OK(zoo_add_auth(second.handle, "nosuchscheme", "x", 1, on_void, &refused));
    EQUAL(await_reply(&refused), ZAUTHFAILED);
    await_state(&second.events, ZOO_AUTH_FAILED_STATE, 0);
    EQUAL(zoo_state(second.handle), ZOO_AUTH_FAILED_STATE);
    close_both();
}

static void ephemeral_and_sequential_nodes(void) {
    struct Stat stat;
    char made[200], expected[200];
    connect_both();
    const char *path = dir("ephemeral");
    const char *node = at(path, "q-");
    OK(make(&first, node, "", ZOO_EPHEMERAL_SEQUENTIAL, made));
    snprintf(expected, sizeof expected, "%s0000000000", node);
    SAME(made, expected);
    EQUAL(make(&first, at(made, "child"), "", ZOO_PERSISTENT, NULL), ZNOCHILDRENFOREPHEMERALS);
    OK(zoo_wexists(second.handle, made, record, &exists_events, &stat));
    EQUAL(stat.ephemeralOwner, zoo_client_id(first.handle)->client_id);
    client_close(&first);
    await_event(&exists_events, ZOO_DELETED_EVENT, made);
    OK(make(&second, node, "", ZOO_PERSISTENT_SEQUENTIAL, made));
    snprintf(expected, sizeof expected, "%s0000000001", node);
    SAME(made, expected);
    client_close(&second);
}

static void containers_ttl_and_create2(void) {
    struct Stat stat;
    char made[200];
    connect_both();
    const char *path = dir("modes");
    zhandle_t *handle = first.handle;
    OK(zoo_create2(handle, at(path, "c2"), "abc", 3, WORLD, ZOO_PERSISTENT, made, sizeof made, &stat));
    SAME(made, at(path, "c2"));
    EQUAL(stat.dataLength, 3);
    EQUAL(stat.czxid, stat.pzxid);
    OK(make(&first, at(path, "box"), "", ZOO_CONTAINER, made));
    SAME(made, at(path, "box"));
    OK(zoo_create_ttl(handle, at(path, "brief"), "", 0, WORLD, ZOO_PERSISTENT_WITH_TTL, 3600000, made, sizeof made));
    OK(zoo_create2_ttl(handle, at(path, "q"), "", 0, WORLD, ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, 3600000, made,
                       sizeof made, &stat));
    SAME(made, at(path, "q0000000003"));
    EQUAL(zoo_create_ttl(handle, at(path, "x"), "", 0, WORLD, ZOO_PERSISTENT_WITH_TTL, 0, NULL, 0), ZBADARGUMENTS);
    close_both();
}

static void bad_arguments(void) {
    struct ACL_vector none = {0, NULL};
    struct ACL wrong = {ZOO_PERM_ALL, {"ip", "no address"}};
    struct ACL_vector invalid = {1, &wrong};
    struct Stat stat;
    char text[200];
    int length = sizeof text;
    connect_both();
    const char *path = dir("bad");
    zhandle_t *handle = first.handle;
    const char *wrong_paths[] = {"", "no-slash", "/ends/", "/double//slash"};
    for (int i = 0; i < 4; i++) {
        EQUAL(make(&first, wrong_paths[i], "", ZOO_PERSISTENT, NULL), ZBADARGUMENTS);
        EQUAL(zoo_delete(handle, wrong_paths[i], -1), ZBADARGUMENTS);
        EQUAL(zoo_exists(handle, wrong_paths[i], 0, &stat), ZBADARGUMENTS);
    }
    EQUAL(zoo_get(handle, NULL, 0, text, &length, &stat), ZBADARGUMENTS);
    EQUAL(make(&first, at(path, "."), "", ZOO_PERSISTENT, NULL), ZBADARGUMENTS);
    EQUAL(make(&first, at(path, ".."), "", ZOO_PERSISTENT, NULL), ZBADARGUMENTS);
    EQUAL(make(&first, at(path, "bell\a"), "", ZOO_PERSISTENT, NULL), ZBADARGUMENTS);
    EQUAL(zoo_create(handle, at(path, "a"), "", 0, &none, ZOO_PERSISTENT, NULL, 0), ZINVALIDACL);
    EQUAL(zoo_create(handle, at(path, "a"), "", 0, &invalid, ZOO_PERSISTENT, NULL, 0), ZINVALIDACL);
    EQUAL(zoo_create(handle, at(path, "a"), "", 0, WORLD, 77, NULL, 0), ZBADARGUMENTS);
    EQUAL(zoo_delete(handle, "/zookeeper", -1), ZBADARGUMENTS);
    EQUAL(zoo_delete(handle, "/", -1), ZBADARGUMENTS);
    OK(zoo_getconfig(handle, 0, text, &length, &stat));
    EQUAL(zoo_reconfig(handle, "server.2=localhost:1:2;3", NULL, NULL, -1, text, &length, &stat), ZRECONFIGDISABLED);
    OK(zoo_exists(handle, path, 0, &stat));
    EQUAL(stat.numChildren, 0);
    close_both();
}

static void session_outlives_a_crash(void) {
    struct server server;
    struct Stat stat;
    char address[100], proxy[100], text[50];
    int length = sizeof text;
    own(&server, address, proxy);
    client_open(&first, proxy, 30000, NULL);
    client_open(&second, address, 30000, NULL);
    OK(make(&first, "/kept", "before", ZOO_EPHEMERAL, NULL));
    OK(make(&first, "/data", "", ZOO_PERSISTENT, NULL));
    OK(zoo_wget(first.handle, "/data", record, &data_events, text, &length, &stat));
    EQUAL(zoo_wexists(first.handle, "/new", record, &exists_events, &stat), ZNONODE);
    OK(zoo_wexists(first.handle, "/kept", record, &other_events, &stat));
    int64_t session = zoo_client_id(first.handle)->client_id;
    int heard = events_count(&first.events), other_heard = events_count(&second.events);
    server_ask(&server, "cut");
    server_ask(&server, "kill");
    await_state(&first.events, ZOO_CONNECTING_STATE, heard);
    SAME(server_ask(&server, "start"), address);
    await_state(&second.events, ZOO_CONNECTED_STATE, other_heard);
    /* What the first one misses. */
    OK(set(&second, "/data", "after", -1));
    OK(make(&second, "/new", "", ZOO_PERSISTENT, NULL));
    server_ask(&server, "mend");
    await_state(&first.events, ZOO_CONNECTED_STATE, heard);
    EQUAL(zoo_client_id(first.handle)->client_id, session);
    await_event(&data_events, ZOO_CHANGED_EVENT, "/data");
    await_event(&exists_events, ZOO_CREATED_EVENT, "/new");
    OK(get(&first, "/kept", text, sizeof text, &stat));
    SAME(text, "before");
    EQUAL(stat.ephemeralOwner, session);
    EQUAL(events_of(&other_events, ZOO_CHANGED_EVENT, "/kept"), 0);
    OK(zoo_delete(second.handle, "/kept", -1));
    await_event(&other_events, ZOO_DELETED_EVENT, "/kept");
    close_both();
    server_close(&server);
}

static void session_is_taken_up_by_another_handle(void) {
    struct server server;
    struct Stat stat;
    char address[100], proxy[100];
    own(&server, address, proxy);
    client_open(&first, proxy, 30000, NULL);
    OK(make(&first, "/kept", "", ZOO_EPHEMERAL, NULL));
    clientid_t id = *zoo_client_id(first.handle);
    server_ask(&server, "cut");
    server_ask(&server, "kill");
    server_ask(&server, "start");
    client_open(&second, address, 30000, &id);
    EQUAL(zoo_client_id(second.handle)->client_id, id.client_id);
    OK(zoo_exists(second.handle, "/kept", 0, &stat));
    EQUAL(stat.ephemeralOwner, id.client_id);
    client_close(&second);
    /* Closed by the second handle, the session is gone for the first. */
    server_ask(&server, "mend");
    await_state(&first.events, ZOO_EXPIRED_SESSION_STATE, 0);
    client_close(&first);
    server_close(&server);
}

static void expiry_ends_the_session(void) {
    struct server server;
    struct Stat stat;
    char address[100], proxy[100];
    own(&server, address, proxy);
    client_open(&first, proxy, 4000, NULL);
    client_open(&second, address, 30000, NULL);
    OK(make(&first, "/brief", "", ZOO_EPHEMERAL, NULL));
    OK(zoo_wexists(second.handle, "/brief", record, &exists_events, &stat));
    server_ask(&server, "cut");
    await_event(&exists_events, ZOO_DELETED_EVENT, "/brief");
    server_ask(&server, "mend");
    await_state(&first.events, ZOO_EXPIRED_SESSION_STATE, 0);
    EQUAL(zoo_state(first.handle), ZOO_EXPIRED_SESSION_STATE);
    EQUAL(is_unrecoverable(first.handle), ZINVALIDSTATE);
    EQUAL(zoo_exists(first.handle, "/", 0, &stat), ZINVALIDSTATE);
    close_both();
    server_close(&server);
}

#define TEST(name) {#name, name}

int main(int count, char **arguments) {
    static const struct test tests[] = {
        TEST(sync_calls),
        TEST(async_calls),
        TEST(pipelined_creates_come_in_order),
        TEST(multi_is_all_or_nothing),
        TEST(watches_fire_once),
        TEST(removed_watches_stay_silent),
        TEST(digest_guards_a_node),
        TEST(ephemeral_and_sequential_nodes),
        TEST(containers_ttl_and_create2),
        TEST(bad_arguments),
        TEST(session_outlives_a_crash),
        TEST(session_is_taken_up_by_another_handle),
        TEST(expiry_ends_the_session),
    };
    zoo_set_debug_level(0);
    snprintf(root, sizeof root, "/c-%d-%lld", (int)getpid(), (long long)time(NULL));
    server_open(&shared);
    return run_all(tests, sizeof tests / sizeof tests[0], count > 1 ? arguments[1] : "");
}
