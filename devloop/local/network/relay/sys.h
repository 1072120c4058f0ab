// What a libc would give: system calls, the entry point, and the functions that a compiler calls by itself.
#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#undef errno

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long usize;

#if defined(__x86_64__)
static inline long call6(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}
__asm__(".global _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
#elif defined(__aarch64__)
static inline long call6(long number, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
__asm__(".global _start\n_start: mov x0, sp\n bl begin\n");
#else
#error "amd64 and arm64 only"
#endif

// A system call's result; a negative one is the error's number, negated.
#define CALL_(name, a, b, c, d, e, f, ...) call6(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define CALL(name, ...) CALL_(name, __VA_ARGS__, 0, 0, 0, 0, 0, 0)

void *memcpy(void *restrict to, const void *restrict from, usize size) {
    u8 *t = to;
    for (const u8 *f = from; size; size--) *t++ = *f++;
    return to;
}

void *memset(void *at, int value, usize size) {
    for (u8 *a = at; size; size--) *a++ = (u8)value;
    return at;
}

int memcmp(const void *one, const void *other, usize size) {
    const u8 *a = one, *b = other;
    for (; size; size--, a++, b++)
        if (*a != *b) return *a - *b;
    return 0;
}

static void *pages(usize size) {
    long at = CALL(mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at < 0 && at > -4096 ? 0 : (void *)at;
}

static u16 get16(const u8 *at) { return (u16)(at[0] << 8 | at[1]); }
static u32 get32(const u8 *at) { return (u32)get16(at) << 16 | get16(at + 2); }
static void put16(u8 *at, u32 value) { at[0] = (u8)(value >> 8), at[1] = (u8)value; }

// Whatever epoll watches.
struct source {
    void (*ready)(struct source *, u32 events);
    int fd;
    u32 watched;        // the events it is watched for
};

static int epoll;

// No events: not watched at all, since epoll would still tell of a hangup, again and again.
static void watch(struct source *source, u32 events) {
    struct epoll_event event = {.events = events, .data.ptr = source};
    if (events == source->watched) return;
    CALL(epoll_ctl, epoll, !events ? EPOLL_CTL_DEL : source->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, source->fd, &event);
    source->watched = events;
}

static void enable(int fd, int level, int option, int value) { CALL(setsockopt, fd, level, option, &value, sizeof value); }
