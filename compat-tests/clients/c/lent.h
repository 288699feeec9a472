/* A server lent by the harness (`compat lend`): one connection to $SERVERS is one server. */
#ifndef LENT_H
#define LENT_H

struct server {
    int socket;
    char answer[256]; /* the words of the last answer */
};

/* Asks for a server; it is gone with server_close. */
void server_open(struct server *server);
void server_close(struct server *server);

/* One line (kind, start, stop, kill, proxy, cut, mend), one answer, which is returned. */
const char *server_ask(struct server *server, const char *line);

#endif
