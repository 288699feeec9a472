#include "lent.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

void server_open(struct server *server) {
    const char *servers = getenv("SERVERS");
    const char *port = servers ? strrchr(servers, ':') : NULL;
    struct sockaddr_in address = {.sin_family = AF_INET};
    CHECK(port != NULL);
    address.sin_port = htons((unsigned short)atoi(port + 1));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->socket = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(server->socket >= 0);
    CHECK(connect(server->socket, (struct sockaddr *)&address, sizeof address) == 0);
}

void server_close(struct server *server) {
    close(server->socket);
}

const char *server_ask(struct server *server, const char *line) {
    char text[300];
    size_t length = (size_t)snprintf(text, sizeof text, "%s\n", line);
    size_t got = 0;
    char byte = 0;
    CHECK(write(server->socket, text, length) == (ssize_t)length);
    while (read(server->socket, &byte, 1) == 1 && byte != '\n') {
        if (got + 1 < sizeof text) text[got++] = byte;
    }
    text[got] = 0;
    if (strncmp(text, "ok", 2) != 0) test_failed(__FILE__, __LINE__, "%s: %s", line, text);
    snprintf(server->answer, sizeof server->answer, "%s", got > 3 ? text + 3 : "");
    return server->answer;
}
