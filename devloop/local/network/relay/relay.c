// relay: PID 1 of a pod's sandbox, of a Service, and of the project's hub. One static program without a libc, so that its image is a few
// kilobytes, needs nothing to be pulled, and runs on every Engine. `make -C devloop/local/network/relay` makes relay-amd64 and relay-arm64
// anew (Debian: gcc gcc-aarch64-linux-gnu); both are kept beside this file, and what is kept is what runs.
//
// It holds the container's namespaces, reaps what is orphaned there, ends at once on SIGTERM, and serves the gate: one TCP port (RELAY_PORT)
// where whoever knows the token (RELAY_TOKEN, 32 hex digits) asks for one thing per connection, all numbers big-endian:
//
//     token 16 | mode 1 | 0 1 | port 2 | address 4        answered by one byte: 0, or the number of the error
//
//     RAW      carry bytes to address:port and back; address 0 is this host itself (127.0.0.1, then ::1)
//     FRAMED   the same, but what comes back comes in frames (length 2 | bytes), the last of length 0: without that one, the connection was
//              cut. The ways between (docker-proxy among them) make an end of every reset, and a reset can overtake what was said before.
//     TABLE    `address` bytes follow, and are in force when the answer comes: what to listen on, and the names to answer for (dns.h):
//              listeners 2 | each: port 2, flags 1 (1: a client keeps its backend), 0 1, backends 2, each: address 4, port 2
//              records 2   | each: size 2 of what follows, name size 2, name (as in DNS messages, small letters), type 2, data
//
// Connections to a listener go to its backends in turn; one that refuses is passed over. Half-close and reset are passed on as they come.
#include "sys.h"
#include "dns.h"

enum { SIZE = 1 << 16, LISTENERS = 256, BACKLOG = 4096, HELLO_SIZE = 24, LARGEST_TABLE = 1 << 22, TURNS = 16 };
enum mode { RAW, FRAMED, TABLE };
enum state { HELLO, RECEIVING, CONNECTING, OPEN, DEAD };

struct listener {
    struct source source;
    u16 port, count;
    u8 keeps;
    u32 turn;
    const u8 *backends;
};

struct end {
    struct source source;
    struct connection *connection;
};

// Bytes [from, to) of `data` wait to be written; only when they have been is more read.
struct flow {
    u32 from, to;
    u8 ended, done;     // the reader has had its end; the writer has been told
    u8 *data;
};

struct connection {
    struct end ends[2];     // 0: who connected, 1: whom it is carried to
    struct flow flows[2];   // flows[i] is what ends[i] says
    enum state state;
    enum mode mode;
    u8 broken, lost;        // one end takes no more; one end is no more
    u16 port;
    u32 address, first, tries, received, size;
    u8 serves;              // it came to a listener, not to the gate
    u8 *table;
    struct connection *next;
};

enum { CONNECTION = (sizeof(struct connection) + 4095) & ~4095u, WHOLE = CONNECTION + 2 * SIZE };

static u8 token[16];
static struct source gate;
static struct listener listeners[LISTENERS], fresh[LISTENERS];
static u32 listening;
static u8 *table;
static u32 table_size;
static struct connection *dead;
static u32 living;
static u8 full;                 // no descriptor or memory was left for one more connection

static struct listener *listener_of(struct listener *among, u32 count, u16 port) {
    for (u32 i = 0; i < count; i++)
        if (among[i].port == port) return &among[i];
    return 0;
}

static void accepting(u8 yes) {
    full = !yes;
    watch(&gate, yes ? EPOLLIN : 0);
    for (u32 i = 0; i < listening; i++) watch(&listeners[i].source, yes ? EPOLLIN : 0);
}

// Its memory is given back after this round of events, some of which may be about it.
static void finish(struct connection *c, u8 reset) {
    struct linger now = {1, 0};
    if (c->state == DEAD) return;
    for (int i = 0; i < 2; i++) {
        if (c->ends[i].source.fd < 0) continue;
        if (reset) CALL(setsockopt, c->ends[i].source.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        CALL(close, c->ends[i].source.fd);
    }
    if (c->table) CALL(munmap, c->table, c->size);
    c->state = DEAD;
    c->next = dead;
    dead = c;
}

static void bury(void) {
    if (dead && full) accepting(1);
    while (dead) {
        struct connection *next = dead->next;
        CALL(munmap, dead, WHOLE);
        living--;
        dead = next;
    }
}

// --- carrying

static void fill(struct connection *c, int from) {
    struct flow *flow = &c->flows[from];
    u32 head = from == 1 && c->mode == FRAMED ? 2 : 0;
    long got = CALL(read, c->ends[from].source.fd, flow->data + head, SIZE - head);
    if (got == -EAGAIN || got == -EINTR) return;
    if (got <= 0) flow->ended = 1;
    if (got < 0) c->broken = 1, c->lost = !head;
    if (got <= 0 && c->broken) return;      // no frame says that this end is in order
    if (head) put16(flow->data, (u32)got);
    flow->from = 0;
    flow->to = (u32)got + head;
}

// One direction, as far as it goes without waiting.
static void carry(struct connection *c, int from) {
    struct flow *flow = &c->flows[from];
    int to = c->ends[!from].source.fd;
    u8 framed = c->mode == FRAMED;
    for (int turn = 0; !flow->done && (flow->ended || turn < TURNS); turn++) {
        if (flow->from == flow->to && !flow->ended) fill(c, from);
        if (flow->from == flow->to && flow->ended && !c->lost && (!c->broken || framed)) CALL(shutdown, to, SHUT_WR);
        if (flow->from == flow->to && flow->ended) flow->done = 1;
        if (flow->from == flow->to) return;
        u32 size = flow->to - flow->from;
        // nobody takes it any more; who gets frames learns that from them, and is let talk until it has
        long sent = framed && c->broken && !from ? size : CALL(sendto, to, flow->data + flow->from, size, MSG_NOSIGNAL);
        if (sent == -EAGAIN || sent == -EINTR) return;
        if (sent >= 0) flow->from += (u32)sent;
        else if (framed && !from) c->broken = 1;
        else c->broken = flow->ended = flow->done = 1;      // it takes no more, but what it has said may still be there to read
    }
}

static void work(struct connection *c) {
    carry(c, 0);
    carry(c, 1);
    if (c->lost || (c->flows[0].done && c->flows[1].done)) {
        finish(c, c->lost || (c->broken && c->mode != FRAMED));
        return;
    }
    for (int i = 0; i < 2; i++) {
        struct flow *in = &c->flows[i], *out = &c->flows[!i];
        watch(&c->ends[i].source, (in->from == in->to && !in->ended ? EPOLLIN : 0) | (out->from < out->to ? EPOLLOUT : 0));
    }
}

// --- connecting

static u32 target(struct connection *c, struct sockaddr_in6 *six) {
    struct sockaddr_in *four = (struct sockaddr_in *)six;
    const u8 *backend = 0;
    *six = (struct sockaddr_in6){0};
    if (c->serves) {
        struct listener *listener = listener_of(listeners, listening, c->port);     // the table may be another by now
        if (!listener || c->tries >= listener->count) return 0;
        backend = listener->backends + 6 * ((c->first + c->tries) % listener->count);
    } else if (c->tries > (c->address ? 0 : 1))
        return 0;
    u16 port = htons(backend ? get16(backend + 4) : c->port);
    if (!backend && c->tries) {
        *six = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = {.s6_addr = {[15] = 1}}};
        return sizeof *six;
    }
    *four = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
    four->sin_addr.s_addr = htonl(backend ? get32(backend) : c->address ? c->address : INADDR_LOOPBACK);
    return sizeof *four;
}

static void answer(struct connection *c, u8 error) {
    CALL(sendto, c->ends[0].source.fd, &error, 1, MSG_NOSIGNAL);    // the first byte: there is room for it
    finish(c, 0);
}

static void connected(struct connection *c) {
    c->state = OPEN;
    if (!c->serves) {
        c->flows[1].data[0] = 0;
        c->flows[1].to = 1;
    }
    work(c);
}

// Tries what there is to try; the last error is told where nothing is left.
static void dial(struct connection *c, long error) {
    struct sockaddr_in6 address;
    struct source *there = &c->ends[1].source;
    u32 size;
    if (there->fd >= 0) CALL(close, there->fd);
    there->watched = 0;
    for (; (size = target(c, &address)); c->tries++) {
        there->fd = (int)CALL(socket, ((struct sockaddr *)&address)->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (there->fd < 0) {
            error = c->tries ? error : there->fd;       // that there is no IPv6 says nothing about the port
            continue;
        }
        enable(there->fd, IPPROTO_TCP, TCP_NODELAY, 1);
        enable(there->fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        long result = CALL(connect, there->fd, &address, size);
        if (result == -EINPROGRESS) {
            watch(&c->ends[0].source, 0);
            watch(there, EPOLLOUT);
            return;
        }
        if (!result) {
            connected(c);
            return;
        }
        error = c->tries && !c->serves ? error : result;      // 127.0.0.1's word counts, not that of ::1
        CALL(close, there->fd);
    }
    there->fd = -1;
    if (c->serves) finish(c, 1);
    else answer(c, (u8)-error);
}

static void dialled(struct connection *c) {
    int error = 0;
    socklen_t size = sizeof error;
    CALL(getsockopt, c->ends[1].source.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (!error) {
        connected(c);
        return;
    }
    c->tries++;
    dial(c, -error);
}

// --- the table

static void accepted(struct source *source, u32 events);

static int listen_on(u16 port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = (int)CALL(socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return fd;
    enable(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    long result = CALL(bind, fd, &address, sizeof address);
    if (!result) result = CALL(listen, fd, BACKLOG);
    if (result < 0) CALL(close, fd);
    return result < 0 ? (int)result : fd;
}

// The listeners that the table has, into `fresh`; none is opened yet. Returns where the names begin, 0 where the table is malformed.
static const u8 *parsed(const u8 *at, const u8 *end, u32 *count) {
    if (end - at < 2 || (*count = get16(at)) > LISTENERS) return 0;
    at += 2;
    for (u32 i = 0; i < *count; i++) {
        if (end - at < 6 || end - at - 6 < 6 * get16(at + 4)) return 0;
        fresh[i] = (struct listener){.source = {accepted, -1, 0}, .port = get16(at), .keeps = at[2], .count = get16(at + 4), .backends = at + 6};
        at += 6 + 6 * fresh[i].count;
    }
    return names_end(at, end) == end ? at : 0;
}

// All of it or nothing. Returns 0 or the error's number, negated.
static int replace(u8 *with, u32 size) {
    u32 count;
    const u8 *names = parsed(with, with + size, &count);
    if (!names) return -EINVAL;
    int opened = names_open(names);
    if (opened < 0) return opened;
    for (u32 i = 0; i < count; i++) {
        struct listener *old = listener_of(listeners, listening, fresh[i].port);
        fresh[i].source.fd = old ? old->source.fd : listen_on(fresh[i].port);
        fresh[i].turn = old ? old->turn : 0;
        if (fresh[i].source.fd >= 0) continue;
        int error = fresh[i].source.fd;
        while (i--)
            if (!listener_of(listeners, listening, fresh[i].port)) CALL(close, fresh[i].source.fd);
        return error;
    }
    for (u32 i = 0; i < listening; i++) {
        watch(&listeners[i].source, 0);
        if (!listener_of(fresh, count, listeners[i].port)) CALL(close, listeners[i].source.fd);
    }
    memcpy(listeners, fresh, sizeof fresh);
    listening = count;
    accepting(!full);
    records = names;
    if (table) CALL(munmap, table, table_size);
    table = with;
    table_size = size;
    return 0;
}

static void receive(struct connection *c) {
    struct flow *flow = &c->flows[0];
    for (;;) {
        u32 size = flow->to - flow->from;
        if (size > c->size - c->received) size = c->size - c->received;
        memcpy(c->table + c->received, flow->data + flow->from, size);
        c->received += size;
        flow->from += size;
        if (c->received == c->size) break;
        fill(c, 0);
        if (flow->ended) finish(c, 1);
        if (flow->ended || flow->from == flow->to) return;
    }
    int result = replace(c->table, c->size);
    if (!result) c->table = 0;
    answer(c, (u8)-result);
}

// --- who connects

static void hello(struct connection *c) {
    struct flow *flow = &c->flows[0];
    u8 *said = flow->data;
    long got = CALL(read, c->ends[0].source.fd, said + flow->to, SIZE - flow->to);
    if (got == -EAGAIN || got == -EINTR) return;
    if (got > 0) flow->to += (u32)got;
    u8 different = 0;
    for (u32 i = 0; i < sizeof token; i++) different |= said[i] ^ token[i];
    if (got <= 0 || (flow->to >= sizeof token && different)) {
        finish(c, 1);
        return;
    }
    if (flow->to < HELLO_SIZE) return;
    flow->from = HELLO_SIZE;
    c->mode = said[16];
    c->port = get16(said + 18);
    c->address = c->size = get32(said + 20);
    if (c->mode != TABLE) {
        c->state = CONNECTING;
        dial(c, 0);
        return;
    }
    c->state = RECEIVING;
    if (c->size && c->size <= LARGEST_TABLE) c->table = pages(c->size);
    if (c->table) receive(c);
    else answer(c, ENOMEM);
}

static void moved(struct source *source, u32 events) {
    struct connection *c = ((struct end *)source)->connection;
    (void)events;
    switch (c->state) {
    case HELLO: hello(c); break;
    case RECEIVING: receive(c); break;
    case CONNECTING: dialled(c); break;
    case OPEN: work(c); break;
    case DEAD: break;
    }
}

static void accepted(struct source *source, u32 events) {
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    (void)events;
    long fd = CALL(accept4, source->fd, &from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd == -EAGAIN || fd == -EINTR || fd == -ECONNABORTED) return;
    struct connection *c = fd < 0 ? 0 : pages(WHOLE);
    if (!c) {
        if (fd >= 0) CALL(close, fd);
        if (living) accepting(0);       // until a connection ends
        return;
    }
    living++;
    enable((int)fd, IPPROTO_TCP, TCP_NODELAY, 1);
    enable((int)fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    for (int i = 0; i < 2; i++) {
        c->ends[i] = (struct end){{moved, i ? -1 : (int)fd, 0}, c};
        c->flows[i].data = (u8 *)c + CONNECTION + i * SIZE;
    }
    if (source == &gate) {
        watch(&c->ends[0].source, EPOLLIN);
        return;
    }
    struct listener *listener = (struct listener *)source;
    c->serves = 1;
    c->port = listener->port;
    c->first = listener->keeps ? ntohl(from.sin_addr.s_addr) : listener->turn++;
    c->state = CONNECTING;
    dial(c, 0);
}

// --- the beginning

static void told(struct source *source, u32 events) {
    (void)source, (void)events;
    CALL(exit_group, 0);
}

static const char *variable(char **environment, const char *name) {
    for (; *environment; environment++) {
        const char *n = name, *e = *environment;
        while (*n && *n == *e) n++, e++;
        if (!*n) return e;
    }
    CALL(exit_group, 2);
    return 0;
}

static u8 digit(char c) { return (u8)(c <= '9' ? c - '0' : c - 'a' + 10); }

static void prepare(char **environment) {
    const char *hex = variable(environment, "RELAY_TOKEN="), *number = variable(environment, "RELAY_PORT=");
    for (u32 i = 0; i < sizeof token; i++)
        if (hex[2 * i] && hex[2 * i + 1]) token[i] = (u8)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
        else CALL(exit_group, 2);
    u16 port = 0;
    for (; *number; number++) port = (u16)(port * 10 + digit(*number));
    struct rlimit files;
    CALL(prlimit64, 0, RLIMIT_NOFILE, 0, &files);
    files.rlim_cur = files.rlim_max;
    CALL(prlimit64, 0, RLIMIT_NOFILE, &files, 0);
    epoll = (int)CALL(epoll_create1, EPOLL_CLOEXEC);
    gate = (struct source){accepted, listen_on(port), 0};
    if (gate.fd < 0) CALL(exit_group, 3);
    watch(&gate, EPOLLIN);
}

__attribute__((noreturn, used)) void begin(long *stack) {
    static struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; } reaps = {(void *)1, 0, 0, 0};
    static struct source signals = {told, -1, 0};
    static struct epoll_event events[64];
    unsigned long ends = 1ul << (SIGTERM - 1) | 1ul << (SIGINT - 1);
    CALL(rt_sigaction, SIGCHLD, &reaps, 0, sizeof reaps.mask);      // ignored: the kernel reaps them itself
    CALL(rt_sigprocmask, SIG_BLOCK, &ends, 0, sizeof ends);         // PID 1 gets no signal that it has not asked for
    prepare((char **)stack + *stack + 2);
    signals.fd = (int)CALL(signalfd4, -1, &ends, sizeof ends, SFD_CLOEXEC);
    watch(&signals, EPOLLIN);
    for (;;) {
        long count = CALL(epoll_pwait, epoll, events, 64, -1, 0, 8);
        for (long i = 0; i < count; i++) {
            struct source *source = events[i].data.ptr;
            if (source->watched) source->ready(source, events[i].events);
        }
        bury();
    }
}
