/* rtpload - paced RTP streams on loopback, and what comes back.
 *
 *   rtpload -a LOCAL_ADDRESS -f STREAMS -p FRAMES -q FRAMES -t SECONDS -w WARM_SECONDS
 *
 * Built with -DSECURED (and -lsrtp2) streams that send 4 are speech of -p in SRTP, AES_CM_128_HMAC_SHA1_80 with the key KEY below.
 * STREAMS: a line each "local_port address port sends payload_type timestamp_step". Streams of one local port share a socket.
 *   sends: 0 nothing (it only listens), 1 speech (FRAMES of -p), 2 speech (FRAMES of -q), 3 silence of its payload type.
 * FRAMES: (u16 length, little endian; bytes) payloads of 20 ms, looped, each stream starting at another one.
 * The streams are spread over the milliseconds of a packet time of 20 ms. Prints "begin" and "end" around what is measured, then a line
 * of JSON. Arrival is the kernel's time stamp; deviation is |interarrival - 20 ms| of consecutive sequence numbers of one source.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef SECURED
#include <srtp2/srtp.h>
static srtp_t session;
static void open_session(void) {
    static unsigned char key[30]; memset(key, 'k', sizeof key); /* KEY */
    srtp_policy_t policy; memset(&policy, 0, sizeof policy);
    srtp_crypto_policy_set_rtp_default(&policy.rtp); srtp_crypto_policy_set_rtcp_default(&policy.rtcp);
    policy.ssrc.type = ssrc_any_outbound; policy.key = key; policy.window_size = 128;
    if (srtp_init() || srtp_create(&session, &policy)) { fprintf(stderr, "no SRTP\n"); exit(2); }
}
#endif

enum { STREAMS_MAX = 30000, BATCH = 256, SLOTS = 20, DATAGRAM_MAX = 2048, DEVIATION_MAX_US = 200000, SOURCES = 1 << 17, EVENTS = 512 };
static const uint64_t PACKET_NS = 20000000, SLOT_NS = 20000000 / SLOTS;

struct stream { int socket, sends, type, step; struct sockaddr_in to; uint16_t sequence; uint32_t timestamp, ssrc, frame; };
struct source { uint64_t key, last, gap; uint32_t first, highest, got; int used, counted; };
struct frames { uint8_t *bytes; uint32_t *at; uint16_t *length; uint32_t count; };

static struct stream streams[STREAMS_MAX];
static struct source sources[SOURCES];
static int sockets[STREAMS_MAX], stream_count, socket_count, measuring;
static uint32_t deviations[DEVIATION_MAX_US + 1];
static uint64_t received, deviation_count, source_count;

static uint64_t now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
static double own_cpu(void) {
    struct rusage r; getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + 1e-6 * (r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}
static void fail(const char *what) { perror(what); exit(2); }

static struct source *find(uint64_t key) {
    uint32_t at = (uint32_t)((key * 0x9E3779B97F4A7C15ull) >> 47);
    while (sources[at].used && sources[at].key != key) at = (at + 1) & (SOURCES - 1);
    if (!sources[at].used) {
        if (source_count > SOURCES / 2) { fprintf(stderr, "too many sources\n"); exit(2); }
        sources[at].used = 1; sources[at].key = key; source_count++;
    }
    return &sources[at];
}

static struct mmsghdr in[BATCH]; static struct iovec in_iov[BATCH]; static struct sockaddr_in in_from[BATCH];
static uint8_t in_data[BATCH][DATAGRAM_MAX], in_control[BATCH][64];

static void take(int number, int row) {
    uint8_t *data = in_data[row];
    if (in[row].msg_len < 12 || ((data[1] & 0x7f) >= 72 && (data[1] & 0x7f) <= 79)) return; /* RTCP */
    if (!measuring) return;
    uint64_t at = 0; struct cmsghdr *control = CMSG_FIRSTHDR(&in[row].msg_hdr);
    if (control) { struct timespec t; memcpy(&t, CMSG_DATA(control), sizeof t); at = t.tv_sec * 1000000000ull + t.tv_nsec; }
    uint16_t sequence = data[2] << 8 | data[3]; uint32_t ssrc; memcpy(&ssrc, data + 8, 4);
    struct source *s = find((uint64_t)(uint16_t)number << 48 | (uint64_t)in_from[row].sin_port << 32 | ssrc);
    received++;
    if (!s->counted) { s->counted = 1; s->first = s->highest = sequence + 65536u; }
    else {
        if (at > s->last && at - s->last > s->gap) s->gap = at - s->last;
        int16_t ahead = (int16_t)(sequence - (uint16_t)s->highest);
        if (ahead > 0) s->highest += ahead;
        if (ahead == 1) {
            int64_t off = (int64_t)(at - s->last - PACKET_NS) / 1000; if (off < 0) off = -off;
            deviations[off > DEVIATION_MAX_US ? DEVIATION_MAX_US : off]++; deviation_count++;
        }
    }
    s->got++; s->last = at;
}

static void drain(int number) {
    for (;;) {
        for (int i = 0; i < BATCH; i++) { in[i].msg_hdr.msg_namelen = sizeof in_from[0]; in[i].msg_hdr.msg_controllen = sizeof in_control[0]; }
        int count = recvmmsg(sockets[number], in, socket_count > 64 ? 8 : BATCH, MSG_DONTWAIT, NULL);
        for (int i = 0; i < count; i++) take(number, i);
        if (count < (socket_count > 64 ? 8 : BATCH)) return;
    }
}

static struct frames load(const char *path) {
    struct frames f = { 0 }; FILE *file = path ? fopen(path, "rb") : NULL;
    if (!path) return f;
    if (!file) fail(path);
    fseek(file, 0, SEEK_END); long size = ftell(file); rewind(file);
    f.bytes = malloc(size); f.at = malloc(size * 4); f.length = malloc(size * 2);
    if (fread(f.bytes, 1, size, file) != (size_t)size) fail(path);
    fclose(file);
    for (long at = 0; at + 2 <= size; at += 2 + f.length[f.count - 1]) {
        f.length[f.count] = f.bytes[at] | f.bytes[at + 1] << 8; f.at[f.count++] = at + 2;
    }
    return f;
}

static void open_streams(const char *path, struct in_addr local, int poll) {
    static int of_port[65536]; memset(of_port, -1, sizeof of_port);
    FILE *file = fopen(path, "r"); if (!file) fail(path);
    int port, to, sends, type, step; char host[64];
    while (fscanf(file, "%d %63s %d %d %d %d", &port, host, &to, &sends, &type, &step) == 6) {
        if (stream_count == STREAMS_MAX || port < 0 || port > 65535) { fprintf(stderr, "too many streams, or a bad port\n"); exit(2); }
        if (!port || of_port[port] < 0) {
            int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20, on = 1; if (fd < 0) fail("socket");
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size); setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
            setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
            struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = local };
            if (bind(fd, (void *)&own, sizeof own)) fail("bind");
            of_port[port] = socket_count; sockets[socket_count] = fd;
            struct epoll_event event = { .events = EPOLLIN, .data.u32 = socket_count++ };
            if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event)) fail("epoll");
        }
        struct stream *s = &streams[stream_count++];
        s->socket = of_port[port]; s->sends = sends; s->type = type; s->step = step;
        s->to.sin_family = AF_INET; s->to.sin_port = htons(to); inet_pton(AF_INET, host, &s->to.sin_addr);
        s->sequence = stream_count * 7; s->ssrc = htonl(0x10000000u + stream_count); s->frame = stream_count * 17;
    }
    fclose(file);
}

static struct mmsghdr out[BATCH]; static struct iovec out_iov[BATCH][2]; static uint8_t out_head[BATCH][12];
static uint64_t sent, unsent;

static void flush(int number, int count) {
    for (int done = 0; done < count;) {
        int n = sendmmsg(sockets[number], out + done, count - done, 0);
        if (n <= 0) { unsent++; done++; } else { done += n; sent += n; }
    }
}

static void send_slot(int slot, const struct frames *speech) {
    static uint8_t quiet[2][160];
    if (!quiet[0][0]) { memset(quiet[0], 0xff, 160); memset(quiet[1], 0xd5, 160); }
    int count = 0, number = -1;
    for (int i = slot; i < stream_count; i += SLOTS) {
        struct stream *s = &streams[i]; if (!s->sends) continue;
        if (count == BATCH || (count && s->socket != number)) { flush(number, count); count = 0; }
        number = s->socket; uint8_t *h = out_head[count]; uint32_t stamp = htonl(s->timestamp);
        h[0] = 0x80; h[1] = s->type; h[2] = s->sequence >> 8; h[3] = s->sequence; memcpy(h + 4, &stamp, 4); memcpy(h + 8, &s->ssrc, 4);
        struct iovec *body = &out_iov[count][1];
        if (s->sends == 3) { body->iov_base = quiet[s->type == 8]; body->iov_len = 160; }
        else { const struct frames *f = &speech[s->sends == 4 ? 0 : s->sends - 1]; uint32_t at = s->frame % f->count; body->iov_base = f->bytes + f->at[at]; body->iov_len = f->length[at]; }
        out_iov[count][0].iov_base = h; out_iov[count][0].iov_len = 12;
#ifdef SECURED
        if (s->sends == 4) {
            static uint8_t whole[BATCH][DATAGRAM_MAX]; int size = 12 + body->iov_len;
            memcpy(whole[count], h, 12); memcpy(whole[count] + 12, body->iov_base, body->iov_len);
            if (srtp_protect(session, whole[count], &size)) { fprintf(stderr, "a packet was not protected\n"); exit(2); }
            out_iov[count][0].iov_base = whole[count]; out_iov[count][0].iov_len = size; body->iov_len = 0;
        }
#endif
        out[count++].msg_hdr.msg_name = &s->to; s->sequence++; s->timestamp += s->step; s->frame++;
    }
    if (count) flush(number, count);
}

static int percentile(double share) {
    uint64_t sum = 0; for (int i = 0; i <= DEVIATION_MAX_US; i++) { sum += deviations[i]; if (sum && sum >= share * deviation_count) return i; } return -1;
}

static int by_length(const void *one, const void *other) {
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other; return (a > b) - (a < b);
}

int main(int argc, char **argv) {
    const char *list = NULL, *first = NULL, *second = NULL; double seconds = 6, warm = 2; struct in_addr local = { htonl(INADDR_LOOPBACK) }; int c;
    while ((c = getopt(argc, argv, "a:f:p:q:t:w:")) != -1) switch (c) {
        case 'a': if (!inet_aton(optarg, &local)) return 2; break; case 'f': list = optarg; break; case 'p': first = optarg; break;
        case 'q': second = optarg; break; case 't': seconds = atof(optarg); break; case 'w': warm = atof(optarg); break; default: return 2; }
    if (!list) return 2;
    int poll = epoll_create1(0); open_streams(list, local, poll);
#ifdef SECURED
    open_session();
#endif
    struct frames speech[2] = { load(first), load(second) };
    for (int i = 0; i < BATCH; i++) {
        in_iov[i] = (struct iovec){ in_data[i], DATAGRAM_MAX };
        in[i].msg_hdr = (struct msghdr){ .msg_iov = &in_iov[i], .msg_iovlen = 1, .msg_name = &in_from[i], .msg_control = in_control[i] };
        out_iov[i][0] = (struct iovec){ out_head[i], 12 };
        out[i].msg_hdr = (struct msghdr){ .msg_iov = out_iov[i], .msg_iovlen = 2, .msg_namelen = sizeof(struct sockaddr_in) };
    }
    struct epoll_event events[EVENTS]; double lag = 0, cpu = 0; uint64_t late = 0, slots = 0, began = 0;
    uint64_t start = now(), measure = start + warm * 1e9, end = measure + seconds * 1e9;
    for (uint64_t k = 0;;) {
        uint64_t t = now(), due = start + k * SLOT_NS;
        if (!measuring && t >= measure) { puts("begin"); fflush(stdout); measuring = 1; sent = 0; cpu = own_cpu(); began = t; }
        if (t >= end) break;
        if (t >= due) {
            if (measuring) { double ms = (t - due) / 1e6; if (ms > lag) lag = ms; if (ms > 5) late++; slots++; }
            send_slot(k++ % SLOTS, speech);
        }
        due = start + k * SLOT_NS; t = now();
        struct timespec wait = { 0, due > t ? due - t : 0 };
        int n = epoll_pwait2(poll, events, EVENTS, &wait, NULL);
        for (int i = 0; i < n; i++) drain(events[i].data.u32);
    }
    double length = (now() - began) / 1e9; cpu = own_cpu() - cpu; puts("end"); fflush(stdout);
    uint64_t in_window = received, expected = 0, got = 0, heard = 0; static uint64_t gaps[SOURCES];
    for (uint64_t last = now() + 300000000ull; now() < last;) { /* what is on its way still counts as not lost */
        int n = epoll_wait(poll, events, EVENTS, 20); for (int i = 0; i < n; i++) drain(events[i].data.u32);
    }
    for (int i = 0; i < SOURCES; i++) if (sources[i].counted) { expected += sources[i].highest - sources[i].first + 1; got += sources[i].got; gaps[heard++] = sources[i].gap; }
    qsort(gaps, heard, sizeof *gaps, by_length);
    printf("{\"streams\": %d, \"sockets\": %d, \"seconds\": %.3f, \"sent\": %llu, \"unsent\": %llu, \"received\": %llu, \"sources\": %llu, "
           "\"gaps\": %lld, \"expected\": %llu, \"deviation_p50_us\": %d, \"deviation_p99_us\": %d, \"gap_p50_us\": %llu, \"gap_max_us\": %llu, \"cpu_seconds\": %.6f, \"lag_ms\": %.2f, \"late_share\": %.5f}\n",
           stream_count, socket_count, length, (unsigned long long)sent, (unsigned long long)unsent, (unsigned long long)in_window, (unsigned long long)heard,
           (long long)(expected - got), (unsigned long long)expected, percentile(.5), percentile(.99),
           (unsigned long long)(heard ? gaps[heard / 2] / 1000 : 0), (unsigned long long)(heard ? gaps[heard - 1] / 1000 : 0), cpu, lag, slots ? (double)late / slots : 0);
    return 0;
}
