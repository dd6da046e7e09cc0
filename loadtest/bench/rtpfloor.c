/* rtpfloor - what the kernel alone takes for a media processor's datagrams: received and sent in batches every 5 ms, and nothing else done.
 *
 *   rtpfloor ADDRESS FIRST_PORT LEGS   (until its standard input is closed)
 *
 * LEGS: a line each "peer_address peer_port target own". With target >= 0 (a line's number) what comes from the peer goes on to that leg;
 * with -1 it is dropped, and the peer is sent a packet of 160 bytes every 20 ms. With own = 1 the leg has a socket of its own, else all
 * share one. Prints the local port of each leg, a line each.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LEGS_MAX = 30000, BATCH = 256, DATAGRAM_MAX = 2048, TICK_NS = 5000000, PHASES = 4, OWN_ROUNDS_MAX = 4 };

struct leg { struct sockaddr_in peer; int target, own, socket; uint32_t ssrc, timestamp; uint16_t sequence; };

static struct leg legs[LEGS_MAX];
static int of_port[65536], count, port;
static struct mmsghdr in[BATCH], out[BATCH];
static struct iovec in_iov[BATCH], out_iov[BATCH];
static struct sockaddr_in from[BATCH];
static uint8_t data[BATCH][DATAGRAM_MAX], packet[BATCH][172];

static void fail(const char *what) { perror(what); exit(2); }

static int open_socket(struct in_addr address, int size) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size); setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address };
    if (bind(fd, (void *)&own, sizeof own)) fail("bind");
    port += 2;
    return fd;
}

static void post(int fd, int rows) {
    for (int done = 0; done < rows;) { int n = sendmmsg(fd, out + done, rows - done, MSG_DONTWAIT); done += n <= 0 ? 1 : n; }
}

static void put(int row, const struct leg *to, void *bytes, size_t size) {
    out_iov[row] = (struct iovec){ bytes, size };
    out[row].msg_hdr = (struct msghdr){ .msg_name = (void *)&to->peer, .msg_namelen = sizeof to->peer, .msg_iov = &out_iov[row], .msg_iovlen = 1 };
}

static int take(int fd, int most) {
    for (int row = 0; row < most; row++) in[row].msg_hdr.msg_namelen = sizeof from[0];
    int got = recvmmsg(fd, in, most, MSG_DONTWAIT, NULL);
    return got < 0 ? 0 : got;
}

static void share(int fd) {
    for (int got = BATCH; got == BATCH;) {
        int rows = 0;
        got = take(fd, BATCH);
        for (int row = 0; row < got; row++) {
            int leg = of_port[ntohs(from[row].sin_port)];
            if (leg >= 0 && legs[leg].target >= 0) put(rows++, &legs[legs[leg].target], data[row], in[row].msg_len);
        }
        post(fd, rows);
    }
}

static void serve_own(int poll) {
    static struct epoll_event events[4096];
    for (int round = 0; round < OWN_ROUNDS_MAX; round++) {
        int ready = epoll_wait(poll, events, 4096, 0);
        if (ready <= 0) return;
        for (int i = 0; i < ready; i++) {
            struct leg *leg = &legs[events[i].data.u32];
            if (take(leg->socket, 1) != 1 || leg->target < 0) continue;
            put(0, &legs[leg->target], data[0], in[0].msg_len);
            post(legs[leg->target].socket, 1);
        }
    }
}

static void mix(int phase, int shared) {
    int rows = 0;
    for (int i = phase; i < count; i += PHASES) {
        struct leg *leg = &legs[i];
        if (leg->target >= 0) continue;
        uint8_t *h = packet[rows]; uint32_t stamp = htonl(leg->timestamp += 160), ssrc = htonl(leg->ssrc);
        uint16_t sequence = htons(leg->sequence++);
        h[0] = 0x80; h[1] = 0; memcpy(h + 2, &sequence, 2); memcpy(h + 4, &stamp, 4); memcpy(h + 8, &ssrc, 4);
        put(rows++, leg, h, sizeof packet[0]);
        if (leg->own || rows == BATCH) { post(leg->socket, rows); rows = 0; }
    }
    if (rows) post(shared, rows);
}

int main(int argc, char **argv) {
    struct in_addr address; struct rlimit files; char host[64];
    if (argc != 4 || !inet_aton(argv[1], &address)) return 2;
    getrlimit(RLIMIT_NOFILE, &files); files.rlim_cur = files.rlim_max; setrlimit(RLIMIT_NOFILE, &files);
    port = atoi(argv[2]);
    memset(of_port, -1, sizeof of_port);
    FILE *list = fopen(argv[3], "r"); if (!list) fail(argv[3]);
    int ready = epoll_create1(0), shared = -1, peer;
    while (count < LEGS_MAX && fscanf(list, "%63s %d %d %d", host, &peer, &legs[count].target, &legs[count].own) == 4) {
        struct leg *leg = &legs[count];
        leg->peer.sin_family = AF_INET; leg->peer.sin_port = htons(peer); inet_aton(host, &leg->peer.sin_addr); leg->ssrc = count + 1;
        if (leg->own) {
            struct epoll_event event = { .events = EPOLLIN, .data.u32 = count };
            leg->socket = open_socket(address, 128 << 10);
            if (epoll_ctl(ready, EPOLL_CTL_ADD, leg->socket, &event)) fail("epoll");
            printf("%d\n", port - 2);
        } else {
            if (shared < 0) shared = open_socket(address, 16 << 20);
            leg->socket = shared; of_port[peer] = count;
            struct sockaddr_in own; socklen_t size = sizeof own; getsockname(shared, (void *)&own, &size);
            printf("%d\n", ntohs(own.sin_port));
        }
        count++;
    }
    for (int row = 0; row < BATCH; row++) {
        in_iov[row] = (struct iovec){ data[row], DATAGRAM_MAX };
        in[row].msg_hdr = (struct msghdr){ .msg_name = &from[row], .msg_iov = &in_iov[row], .msg_iovlen = 1 };
    }
    puts("ready"); fflush(stdout);
    struct timespec due; clock_gettime(CLOCK_MONOTONIC, &due);
    struct pollfd end = { 0, POLLIN, 0 };
    for (unsigned tick = 0;; tick++) {
        if (due.tv_nsec += TICK_NS, due.tv_nsec >= 1000000000) { due.tv_sec++; due.tv_nsec -= 1000000000; }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        if (tick % 40 == 0 && poll(&end, 1, 0) > 0) return 0;
        if (shared >= 0) share(shared);
        serve_own(ready);
        mix(tick % PHASES, shared);
    }
}
