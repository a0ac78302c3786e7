/* The two ends of the SIP2 measurement, fast enough that what stands between them is what is measured.
 *
 *   sip2_peer acs PORT
 *       answers 93 with 941 and 63 with a 64 that repeats the request's AA, as Koha does
 *   sip2_peer kiosks PORT CONNECTIONS SECONDS [IDLE_SECONDS]
 *       logs CONNECTIONS machines in and, for SECONDS, lets each ask 63 for its own token and wait for
 *       the answer; prints "<answers> <p50 ns> <p99 ns>". With IDLE_SECONDS it then stays connected
 *       without a word. Exits 1 on an answer that is not a 64 about that token with that AY.
 *
 * Linux only (epoll). One thread; every message ends in CR and carries AY and AZ.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 4096, EVENTS = 256, MOST = 4096, WARM_UP = 20 };

#define DATE "20261120    155739"

struct peer {
    int fd, length, sequence, logged_in, number;
    long asked_at;
    char data[ROOM];
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* Append AY, AZ and CR to a message of LENGTH bytes; return the whole length. */
static int seal(char *message, int length, int sequence)
{
    unsigned sum = 0;
    length += sprintf(message + length, "AY%dAZ", sequence);
    for (int i = 0; i < length; i++)
        sum += (unsigned char)message[i];
    return length + sprintf(message + length, "%04X\r", -sum & 0xFFFF);
}

static void put(int fd, const char *message, int length)
{
    if (send(fd, message, length, MSG_NOSIGNAL) != length)
        fail("send");
}

/* Read what is there; return the length of the first whole message with its CR, 0 if there is none,
 * -1 at the end of the connection. A leading LF is dropped. */
static int receive(struct peer *peer)
{
    int got = recv(peer->fd, peer->data + peer->length, ROOM - peer->length, 0);
    if (got <= 0)
        return -1;
    peer->length += got;
    char *end = memchr(peer->data, '\r', peer->length);
    return end ? end - peer->data + 1 : 0;
}

static void drop(struct peer *peer, int length)
{
    memmove(peer->data, peer->data + length, peer->length - length);
    peer->length -= length;
}

static void watch(int epoll, int fd, void *data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}

static struct sockaddr_in local(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* -- the library system ------------------------------------------------------------------------ */

static void answer(struct peer *peer, int length)
{
    char out[ROOM + 512];
    int sequence = peer->data[length - 8] - '0', size;
    if (!memcmp(peer->data, "93", 2)) {
        size = sprintf(out, "941");
    } else {
        char *patron = memmem(peer->data, length, "|AA", 3);
        if (!patron)
            fail("a request without AA");
        patron += 3;
        int width = (char *)memchr(patron, '|', peer->data + length - patron) - patron;
        size = sprintf(out,
                       "64              000" DATE "000000000001000000000000"
                       "AOCPL|AA%.*s|AEEdna Acosta|BLY|BHJPY|BV0|CC5|BD1 Main St Tokyo 100-0001|"
                       "BEedna@example.org|PCPT|PIY|AFGreetings from Koha. |",
                       width, patron);
    }
    put(peer->fd, out, seal(out, size, sequence));
}

static void acs(int port)
{
    struct sockaddr_in address = local(port);
    socklen_t size = sizeof address;
    int on = 1, epoll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096))
        fail("listen");
    getsockname(listener, (void *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    watch(epoll, listener, NULL);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            if (!peer) {
                peer = calloc(1, sizeof *peer);
                peer->fd = accept(listener, NULL, NULL);
                if (peer->fd < 0)
                    fail("accept");
                watch(epoll, peer->fd, peer);
                continue;
            }
            int length = receive(peer);
            if (length < 0) {
                close(peer->fd);
                free(peer);
                continue;
            }
            for (char *end; length > 0; length = end ? end - peer->data + 1 : 0) {
                answer(peer, length);
                drop(peer, length);
                end = memchr(peer->data, '\r', peer->length);
            }
        }
    }
}

/* -- the machines ------------------------------------------------------------------------------ */

static void ask(struct peer *kiosk)
{
    char out[ROOM];
    kiosk->sequence = (kiosk->sequence + 1) % 10;
    int size = sprintf(out, "63000" DATE "  Y       AOCPL|AA98%012d|AC|AD|", kiosk->number);
    size = seal(out, size, kiosk->sequence);
    kiosk->asked_at = now();
    put(kiosk->fd, out, size);
}

static void check(struct peer *kiosk, int length)
{
    char expected[32];
    int size = sprintf(expected, "|AA98%012d|", kiosk->number);
    if (memcmp(kiosk->data, "64  ", 4) || !memmem(kiosk->data, length, expected, size)
        || kiosk->data[length - 8] - '0' != kiosk->sequence) {
        fprintf(stderr, "a wrong answer: %.*s\n", length, kiosk->data);
        exit(1);
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static int kiosks(int port, int connections, double seconds, double idle)
{
    struct sockaddr_in address = local(port);
    static struct peer kiosk[MOST];
    int epoll = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        char login[ROOM];
        kiosk[i].number = i;
        kiosk[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(kiosk[i].fd, (void *)&address, sizeof address))
            fail("connect");
        put(kiosk[i].fd, login, seal(login, sprintf(login, "9300CNkiosk%d|COpw|CPCPL|", i), 0));
        int length;
        while (!(length = receive(&kiosk[i])))
            ;
        if (length < 0 || memcmp(kiosk[i].data, "941", 3))
            fail("log-in");
        kiosk[i].length = 0;
        watch(epoll, kiosk[i].fd, &kiosk[i]);
    }
    size_t answers = 0, room = 1 << 24;
    uint32_t *taken = malloc(room * sizeof *taken);
    long end = now() + (long)(seconds * 1e9);
    if (seconds > 0)
        for (int i = 0; i < connections; i++)
            ask(&kiosk[i]);
    int waiting = seconds > 0 ? connections : 0;
    while (waiting) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            int length = receive(peer);
            if (length < 0)
                fail("the connection ended");
            if (!length)
                continue;
            long then = now();
            if (answers < room)
                taken[answers++] = then - peer->asked_at;
            check(peer, length);
            drop(peer, length);
            if (then < end)
                ask(peer);
            else
                waiting--;
        }
    }
    if (answers) {
        qsort(taken, answers, sizeof *taken, by_size);
        printf("%zu %u %u\n", answers, taken[answers / 2], taken[answers * 99 / 100]);
    } else {
        printf("0 0 0\n");
    }
    fflush(stdout);
    usleep(idle * 1e6);
    return 0;
}

int main(int count, char **word)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (count == 3 && !strcmp(word[1], "acs"))
        acs(atoi(word[2]));
    if (count >= 5 && !strcmp(word[1], "kiosks"))
        return kiosks(atoi(word[2]), atoi(word[3]), atof(word[4]), count > 5 ? atof(word[5]) : 0);
    fprintf(stderr, "usage: sip2_peer acs PORT | kiosks PORT CONNECTIONS SECONDS [IDLE_SECONDS]\n");
    return 2;
}
