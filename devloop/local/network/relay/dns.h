// The names of the project's network. The Engine's own DNS server, which every container asks, knows containers only and hands all else on to
// this one; what this one does not know goes to the server that its own /etc/resolv.conf names. Names are those of the table; the zone (a
// record of type 0, name: cluster.local) has no others. A CNAME is answered with the addresses of what it names: who asks is no resolver.

enum { A = 1, CNAME = 5, AAAA = 28, ZONE = 0, TTL = 5, PACKET = 4096, SMALL = 512, HEAD = 12, PENDING = 1024, NAME = 256, MOST = 32 };

struct question {
    struct sockaddr_in from;
    u16 id, serial, type, size;     // size: of the name
    u8 flags, aliased;
    u8 name[NAME + 4];              // as it was asked, type and class behind it
};

static struct question pending[PENDING];
static struct source names, upstream;
static const u8 *records;           // those of the table in force
static u32 asked, rotation;

struct record {
    const u8 *name, *data;
    u16 name_size, data_size, type;
};

static const u8 *record_at(const u8 *at, struct record *record) {
    u16 size = get16(at);
    record->name_size = get16(at + 2);
    record->name = at + 4;
    record->data = record->name + record->name_size + 2;
    record->type = get16(record->data - 2);
    record->data_size = (u16)(size - 4 - record->name_size);
    return at + 2 + size;
}

// Behind the last record; 0 where the table is malformed.
static const u8 *names_end(const u8 *at, const u8 *end) {
    if (end - at < 2) return 0;
    u32 count = get16(at);
    for (at += 2; count; count--) {
        if (end - at < 6 || end - at - 2 < get16(at) || get16(at) < 4 || get16(at + 2) > get16(at) - 4) return 0;
        at += 2 + get16(at);
    }
    return at;
}

// --- messages

// The name at `at`, in small letters; returns its size, 0 where it is malformed (questions are never compressed).
static u32 name_of(const u8 *at, const u8 *end, u8 *small) {
    u32 size = 0;
    for (;;) {
        u32 label = at + size < end ? at[size] : 255;
        if (label > 63 || size + label + 2 > NAME || at + size + label + 1 > end) return 0;
        for (u32 i = 0; i <= label; i++, size++) small[size] = at[size] >= 'A' && at[size] <= 'Z' ? at[size] | 32 : at[size];
        if (!label) return size;
    }
}

static const u8 *behind_name(const u8 *at, const u8 *end) {
    while (at < end && *at && *at < 64) at += *at + 1;
    return at + (at < end && *at >= 192 ? 2 : 1);
}

// The header of what is answered, and the question; returns its size.
static u32 begin_reply(u8 *reply, const struct question *question, u8 code) {
    memset(reply, 0, HEAD);
    put16(reply, question->id);
    reply[2] = 0x84 | (question->flags & 1);    // an answer, authoritative; recursion as wished for
    reply[3] = 0x80 | code;
    reply[5] = 1;
    memcpy(reply + HEAD, question->name, question->size + 4u);
    return HEAD + question->size + 4u;
}

static u32 add_answer(u8 *reply, u32 size, u16 type, const u8 *data, u16 data_size) {
    u8 *at = reply + size;
    if (size + 12u + data_size > SMALL) return size;    // fewer addresses of many will do
    put16(at, 0xC000 | HEAD);
    put16(at + 2, type);
    put16(at + 4, 1);
    put16(at + 6, 0);
    put16(at + 8, TTL);
    put16(at + 10, data_size);
    memcpy(at + 12, data, data_size);
    reply[7]++;
    return size + 12u + data_size;
}

static void send_reply(const struct question *question, const u8 *reply, u32 size) {
    CALL(sendto, names.fd, reply, size, MSG_NOSIGNAL, &question->from, sizeof question->from);
}

// --- what is not known here

static u16 remember(const struct question *question) {
    struct question *slot = &pending[asked % PENDING];
    u16 id = (u16)asked++;
    *slot = *question;
    slot->serial = id;
    return id;
}

static void ask(const struct question *question, u8 *message, u32 size) {
    put16(message, remember(question));
    CALL(sendto, upstream.fd, message, size, MSG_NOSIGNAL, 0, 0);
}

static void ask_for_alias(struct question *question, const struct record *target) {
    u8 message[HEAD + NAME + 4] = {0};
    question->aliased = 1;
    message[2] = 1;
    message[5] = 1;
    memcpy(message + HEAD, target->data, target->data_size);
    memcpy(message + HEAD + target->data_size, question->name + question->size, 4);
    ask(question, message, HEAD + target->data_size + 4u);
}

// What the alias' target has of the type that was asked for, as answers for the alias.
static void reply_to_alias(const struct question *question, const u8 *message, const u8 *end) {
    u8 reply[SMALL];
    u32 size = begin_reply(reply, question, message[3] & 15);
    const u8 *at = behind_name(message + HEAD, end) + 4;
    for (u32 count = get16(message + 6); count && end - at > 11; count--) {
        at = behind_name(at, end);
        if (end - at < 10 || end - at - 10 < get16(at + 8)) break;
        if (get16(at) == question->type && (question->type == A || question->type == AAAA))
            size = add_answer(reply, size, question->type, at + 10, get16(at + 8));
        at += 10 + get16(at + 8);
    }
    send_reply(question, reply, size);
}

static void replied(struct source *source, u32 events) {
    u8 message[PACKET];
    (void)events;
    long size = CALL(recvfrom, source->fd, message, sizeof message, MSG_DONTWAIT, 0, 0);
    if (size < HEAD) return;
    struct question *question = &pending[get16(message) % PENDING];
    if (!question->size || question->serial != get16(message)) return;
    put16(message, question->id);
    if (question->aliased) reply_to_alias(question, message, message + size);
    else send_reply(question, message, (u32)size);
    question->size = 0;
}

// --- what is

static void reply_or_ask(struct question *question, const u8 *small, u8 *message, u32 message_size) {
    struct record found[MOST], record;
    u32 count = 0, known = 0, inside = 0;
    const u8 *at = records + 2;
    for (u32 left = get16(records); left; left--) {
        at = record_at(at, &record);
        const u8 *tail = small + question->size - record.name_size;
        if (record.name_size > question->size || memcmp(tail, record.name, record.name_size)) continue;
        inside |= record.type == ZONE;
        if (record.type == ZONE || tail != small) continue;
        known = 1;
        if (record.type == CNAME) {
            ask_for_alias(question, &record);
            return;
        }
        if (record.type == question->type && count < MOST) found[count++] = record;
    }
    if (!known && !inside) {
        ask(question, message, message_size);
        return;
    }
    u8 reply[SMALL];
    u32 size = begin_reply(reply, question, known ? 0 : 3);
    rotation++;
    for (u32 i = 0; i < count; i++) {
        const struct record *next = &found[(rotation + i) % count];
        size = add_answer(reply, size, next->type, next->data, next->data_size);
    }
    send_reply(question, reply, size);
}

static void queried(struct source *source, u32 events) {
    static u8 message[PACKET];
    u8 small[NAME];
    struct question question = {0};
    socklen_t size = sizeof question.from;
    (void)events;
    long got = CALL(recvfrom, source->fd, message, sizeof message, MSG_DONTWAIT, &question.from, &size);
    if (got < HEAD || message[2] & 0xF8 || get16(message + 4) != 1) return;
    u32 name_size = name_of(message + HEAD, message + got, small);
    if (!name_size || got < HEAD + (long)name_size + 4) return;
    question.id = get16(message);
    question.flags = message[2];
    question.size = (u16)name_size;
    question.type = get16(message + HEAD + name_size);
    memcpy(question.name, message + HEAD, name_size + 4);
    reply_or_ask(&question, small, message, (u32)got);
}

// --- the table

static u32 nameserver(void) {
    static u8 text[PACKET];
    long fd = CALL(openat, AT_FDCWD, "/etc/resolv.conf", O_RDONLY), size = fd < 0 ? 0 : CALL(read, fd, text, sizeof text - 1);
    if (fd >= 0) CALL(close, fd);
    u8 *end = text + (size > 0 ? size : 0);
    for (u8 *at = text; end - at > 11; at++) {
        if ((at > text && at[-1] != '\n') || memcmp(at, "nameserver ", 11)) continue;
        u32 address = 0, part = 0, dots = 0;
        for (at += 11; at < end && (*at == '.' || (*at >= '0' && *at <= '9')); at++)
            if (*at == '.') address = address << 8 | part, part = 0, dots++;
            else part = part * 10 + *at - '0';
        if (dots == 3) return address << 8 | part;
    }
    return INADDR_LOOPBACK;
}

// Names are served from the first table that has any. Returns 0 or the error's number, negated.
static int names_open(const u8 *wanted) {
    if (!get16(wanted) || names.ready) return 0;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(53)}, there = here;
    there.sin_addr.s_addr = htonl(nameserver());
    long fd = CALL(socket, AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    long other = CALL(socket, AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    long result = CALL(bind, fd, &here, sizeof here);
    if (!result) result = CALL(connect, other, &there, sizeof there);
    if (result < 0) {
        CALL(close, fd);
        CALL(close, other);
        return (int)result;
    }
    names = (struct source){queried, (int)fd, 0};
    upstream = (struct source){replied, (int)other, 0};
    watch(&names, EPOLLIN);
    watch(&upstream, EPOLLIN);
    return 0;
}
