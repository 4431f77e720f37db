/* A server that is further away: forwards TCP connections and holds what comes back for half of the
 * delay on each way, in order and without limiting how much is under way, so that a round trip
 * takes longer and a bulk transfer does not. One thread, one timer for all. Prints the port that it
 * listens on (0: any). Usage: delay LISTEN_PORT TARGET_PORT MICROSECONDS */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 4 << 20, MAX_READ = 256 << 10, MAX_PIECES = 4096, MAX_EVENTS = 64 };

/* What was read at once, and when it is to go on. */
struct piece {
    int64_t due_ns;
    uint64_t end;
};

/* One way of a connection. Positions count bytes from its beginning. */
struct flow {
    int from, to;
    char *ring;
    uint64_t read, written;
    struct piece pieces[MAX_PIECES];
    uint64_t first_piece, next_piece;
    int64_t end_due_ns; /* of the end of the stream, once it was read */
    bool ended, blocked, done;
};

/* One end of a connection, as epoll knows it. */
struct end {
    struct link *link;
    int fd;
    uint32_t events;
    bool closed;           /* and no longer watched */
    struct flow *out, *in; /* read from it, written to it */
};

struct link {
    struct link *next;
    struct flow flows[2];
    struct end ends[2];
    bool broken;
};

struct proxy {
    int epoll, listener, timer;
    struct sockaddr_in target;
    int64_t delay_ns;
    struct link *links;
};

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- one way ---- */

static bool has_room(const struct flow *flow) {
    return !flow->ended && flow->read - flow->written < ROOM &&
           flow->next_piece - flow->first_piece < MAX_PIECES;
}

/* The bytes of the ring between two positions, in at most two stretches. */
static int stretches(const struct flow *flow, uint64_t from, uint64_t to, struct iovec parts[2]) {
    size_t begin = from % ROOM, size = (size_t)(to - from);
    size_t first = size < ROOM - begin ? size : ROOM - begin;
    parts[0] = (struct iovec){.iov_base = flow->ring + begin, .iov_len = first};
    parts[1] = (struct iovec){.iov_base = flow->ring, .iov_len = size - first};
    return size > first ? 2 : 1;
}

static bool take(struct flow *flow, int64_t due_ns) {
    struct iovec parts[2];
    uint64_t room = ROOM - (flow->read - flow->written);
    int count =
        stretches(flow, flow->read, flow->read + (room < MAX_READ ? room : MAX_READ), parts);
    ssize_t size = readv(flow->from, parts, count);
    if (size < 0)
        return errno == EAGAIN || errno == EINTR;
    if (size == 0) {
        flow->ended = true;
        flow->end_due_ns = due_ns;
        return true;
    }
    flow->read += (uint64_t)size;
    flow->pieces[flow->next_piece++ % MAX_PIECES] =
        (struct piece){.due_ns = due_ns, .end = flow->read};
    return true;
}

/* The position up to which everything is due. */
static uint64_t due_end(struct flow *flow, int64_t now) {
    uint64_t end = flow->written;
    for (uint64_t i = flow->first_piece; i < flow->next_piece; i++) {
        if (flow->pieces[i % MAX_PIECES].due_ns > now)
            break;
        end = flow->pieces[i % MAX_PIECES].end;
    }
    return end;
}

static bool give(struct flow *flow, int64_t now) {
    uint64_t end = due_end(flow, now);
    flow->blocked = false;
    while (flow->written < end && !flow->blocked) {
        struct iovec parts[2];
        int count = stretches(flow, flow->written, end, parts);
        ssize_t size = writev(flow->to, parts, count);
        if (size < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        flow->blocked = size < 0 && errno == EAGAIN;
        flow->written += size > 0 ? (uint64_t)size : 0;
    }
    while (flow->first_piece < flow->next_piece &&
           flow->pieces[flow->first_piece % MAX_PIECES].end <= flow->written)
        flow->first_piece++;
    if (flow->ended && !flow->done && flow->written == flow->read && flow->end_due_ns <= now) {
        flow->done = true;
        shutdown(flow->to, SHUT_WR);
    }
    return true;
}

/* When there is something to do again; INT64_MAX: not by itself. */
static int64_t next_due(const struct flow *flow) {
    if (flow->blocked || flow->done)
        return INT64_MAX;
    if (flow->first_piece < flow->next_piece)
        return flow->pieces[flow->first_piece % MAX_PIECES].due_ns;
    return flow->ended ? flow->end_due_ns : INT64_MAX;
}

/* ---- connections ---- */

/* An end that is closed both ways would be an event for ever, while its last bytes are under way.
 */
static void watch(struct proxy *proxy, struct end *end) {
    bool closed = end->out->ended && end->in->done;
    uint32_t wanted =
        (has_room(end->out) ? EPOLLIN : 0u) | (end->in->blocked ? (uint32_t)EPOLLOUT : 0u);
    struct epoll_event event = {.events = wanted, .data.ptr = end};
    if (end->closed || (!closed && wanted == end->events))
        return;
    if (epoll_ctl(proxy->epoll, closed ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, end->fd, &event) < 0)
        fail("epoll_ctl");
    end->events = wanted;
    end->closed = closed;
}

static void free_link(struct link *link) {
    for (size_t i = 0; i < 2; i++) {
        close(link->ends[i].fd);
        free(link->flows[i].ring);
    }
    free(link);
}

static bool prepare(struct proxy *proxy, struct link *link, size_t i, int fd, int other) {
    int on = 1;
    struct flow *flow = &link->flows[i];
    struct end *end = &link->ends[i];
    *flow = (struct flow){.from = fd, .to = other, .ring = malloc(ROOM)};
    *end = (struct end){
        .link = link, .fd = fd, .events = EPOLLIN, .out = flow, .in = &link->flows[1 - i]};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = end};
    return flow->ring && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
           fcntl(fd, F_SETFL, O_NONBLOCK) == 0 &&
           epoll_ctl(proxy->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void begin_link(struct proxy *proxy) {
    int client = accept(proxy->listener, NULL, NULL);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (client < 0 || server < 0)
        fail("accept");
    if (connect(server, (struct sockaddr *)&proxy->target, sizeof proxy->target) < 0) {
        close(client); /* as if nobody listened */
        close(server);
        return;
    }
    struct link *link = calloc(1, sizeof *link);
    if (!link || !prepare(proxy, link, 0, client, server) ||
        !prepare(proxy, link, 1, server, client))
        fail("a connection");
    link->next = proxy->links;
    proxy->links = link;
}

static void on_event(struct proxy *proxy, const struct epoll_event *event) {
    struct end *end = event->data.ptr;
    uint64_t ticks;
    if (event->data.ptr == &proxy->listener)
        begin_link(proxy);
    else if (event->data.ptr == &proxy->timer)
        (void)!read(proxy->timer, &ticks, sizeof ticks);
    else if (has_room(end->out))
        end->link->broken |= !take(end->out, now_ns() + proxy->delay_ns);
    else if (event->events & EPOLLERR) /* nobody is there for what is under way */
        end->link->broken = true;
}

/* All connections go on as far as it is time; *ret_due is when the next has something to do. */
static void go_on(struct proxy *proxy, int64_t *ret_due) {
    int64_t now = now_ns();
    *ret_due = INT64_MAX;
    for (struct link **at = &proxy->links; *at;) {
        struct link *link = *at;
        struct flow *flows = link->flows;
        if (link->broken || !give(&flows[0], now) || !give(&flows[1], now) ||
            (flows[0].done && flows[1].done)) {
            *at = link->next;
            free_link(link);
            continue;
        }
        for (size_t i = 0; i < 2; i++) {
            int64_t due = next_due(&flows[i]);
            watch(proxy, &link->ends[i]);
            *ret_due = due < *ret_due ? due : *ret_due;
        }
        at = &link->next;
    }
}

static void set_timer(const struct proxy *proxy, int64_t due_ns) {
    struct itimerspec when = {0};
    if (due_ns != INT64_MAX)
        when.it_value =
            (struct timespec){.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000};
    if (timerfd_settime(proxy->timer, TFD_TIMER_ABSTIME, &when, NULL) < 0)
        fail("timerfd_settime");
}

static void run(struct proxy *proxy) {
    struct epoll_event events[MAX_EVENTS];
    for (;;) {
        int64_t due_ns;
        int count = epoll_wait(proxy->epoll, events, MAX_EVENTS, -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++)
            on_event(proxy, &events[i]);
        go_on(proxy, &due_ns);
        set_timer(proxy, due_ns);
    }
}

static struct sockaddr_in address(const char *port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(port)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void add(struct proxy *proxy, int *fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = fd};
    if (*fd < 0 || epoll_ctl(proxy->epoll, EPOLL_CTL_ADD, *fd, &event) < 0)
        fail("epoll_ctl");
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: bench-delay LISTEN_PORT TARGET_PORT MICROSECONDS\n");
        return 2;
    }
    struct sockaddr_in own = address(argv[1]);
    socklen_t size = sizeof own;
    int on = 1;
    struct proxy proxy = {.epoll = epoll_create1(0),
                          .listener = socket(AF_INET, SOCK_STREAM, 0),
                          .timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK),
                          .target = address(argv[2]),
                          .delay_ns = atoll(argv[3]) * 1000 / 2};
    setsockopt(proxy.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(proxy.listener, (struct sockaddr *)&own, size) < 0 ||
        listen(proxy.listener, 128) < 0 ||
        getsockname(proxy.listener, (struct sockaddr *)&own, &size) < 0)
        fail("listen");
    add(&proxy, &proxy.listener);
    add(&proxy, &proxy.timer);
    printf("%d\n", ntohs(own.sin_port));
    fflush(stdout);
    signal(SIGPIPE, SIG_IGN);
    run(&proxy);
}
