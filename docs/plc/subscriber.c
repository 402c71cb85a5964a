/* Listens to a station's feed without a gateway, and decides by the rules of docs/feed.md which part may go.
 *
 *     cc -Wall -Wextra -Werror -O2 subscriber.c -o subscriber -lzmq -lmsgpackc      (libzmq3-dev, libmsgpack-dev)
 *     ./subscriber tcp://127.0.0.1:5555 line1
 *
 * One line a decision: "LET part=7 seq=3" or "REJECT part=7 seq=3 why". Between them "STALE ..." when everything is to be
 * rejected, "FRESH ..." when the station is heard again. Where these lines are printed, your program moves the gate; its
 * default is reject. This is quality control, not functional safety.
 *
 * It fetches nothing again: what was lost on the way is no longer to be acted on. Plain text, so on the station's own
 * computer; for another one set ZMQ_CURVE_SERVERKEY, _PUBLICKEY and _SECRETKEY before zmq_connect.
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <math.h>
#include <msgpack.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#define MAJOR 1
#define STALE_MS 350   /* three heartbeats missed, and a little */
#define WINDOW_NS INT64_C(60000000000) /* clocks of two computers drift apart by 1 to 3 ms meanwhile */
#define LARGEST 65536  /* bytes of a message */
#define TEXT 128

/* The clock of another computer says nothing here, but its messages can be compared with one another: what one of them
 * took longer than the quickest did, it lay somewhere, in a network that stood still or with us while we hung. */
typedef struct {
    char boot[TEXT];  /* of that computer; "": no heartbeat came yet */
    int64_t least[2]; /* our clock at receipt less theirs at sending: smallest in the window now, in the one before */
    int64_t since_ns; /* when the window began; 0: none did */
} Lag;

typedef struct {
    char run[TEXT];
    bool fresh, online;
    int64_t beat_ms;   /* our CLOCK_MONOTONIC when the last heartbeat was sent, as far as we can know */
    uint64_t next_seq; /* 0: not known yet */
    Lag lag;
} Station;

static volatile sig_atomic_t stop = 0;

static void on_signal(int number) {
    (void)number;
    stop = 1;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The value of `key`, or NULL. Keys that we do not ask for may be anything. */
static const msgpack_object *at(const msgpack_object *map, const char *key) {
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object *name = &map->via.map.ptr[i].key;
        if (name->type == MSGPACK_OBJECT_STR && name->via.str.size == strlen(key) &&
            memcmp(name->via.str.ptr, key, name->via.str.size) == 0)
            return &map->via.map.ptr[i].val;
    }
    return NULL;
}

static bool text_at(const msgpack_object *map, const char *key, char out[TEXT]) {
    const msgpack_object *value = at(map, key);
    if (value == NULL || value->type != MSGPACK_OBJECT_STR || value->via.str.size >= TEXT)
        return false;
    memcpy(out, value->via.str.ptr, value->via.str.size);
    out[value->via.str.size] = '\0';
    return strlen(out) == value->via.str.size;
}

static bool count_at(const msgpack_object *map, const char *key, uint64_t *out) {
    const msgpack_object *value = at(map, key);
    if (value == NULL || value->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return false;
    *out = value->via.u64;
    return true;
}

static bool number_at(const msgpack_object *map, const char *key, double *out) {
    const msgpack_object *value = at(map, key);
    if (value == NULL)
        return false;
    if (value->type == MSGPACK_OBJECT_FLOAT64 || value->type == MSGPACK_OBJECT_FLOAT32)
        *out = value->via.f64;
    else if (value->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        *out = (double)value->via.u64;
    else
        return false;
    return isfinite(*out);
}

static bool own_boot_id(char out[TEXT]) {
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    bool found = file != NULL && fgets(out, TEXT, file) != NULL;
    if (file != NULL)
        fclose(file);
    if (found)
        out[strcspn(out, "\n")] = '\0';
    return found;
}

/* By how much longer than usual it was under way, ns; 0 for the first. `mono_ns`: the sender's clock at sending. */
static int64_t excess_ns(Lag *lag, int64_t mono_ns, int64_t read_ns) {
    int64_t difference = read_ns - mono_ns;
    bool first = lag->since_ns == 0;
    if (first || read_ns - lag->since_ns > WINDOW_NS) {
        lag->least[1] = first ? difference : lag->least[0];
        lag->least[0] = difference;
        lag->since_ns = read_ns;
    }
    if (difference < lag->least[0])
        lag->least[0] = difference;
    return difference - (lag->least[0] < lag->least[1] ? lag->least[0] : lag->least[1]);
}

/* When it was sent, on our clock in ns, as far as we can know; 0, long ago, where that is impossible. `boot` empty: ours
 * is not known. */
static int64_t sent_ns(Lag *lag, const msgpack_object *map, const char *boot, int64_t read_ns) {
    char theirs[TEXT];
    uint64_t mono_ns;
    if (!count_at(map, "mono_ns", &mono_ns) || mono_ns > INT64_MAX / 2 || !text_at(map, "boot_id", theirs))
        return 0;
    if (boot[0] != '\0' && strcmp(theirs, boot) == 0)
        return (int64_t)mono_ns <= read_ns ? (int64_t)mono_ns : 0;
    if (lag->boot[0] == '\0' || strcmp(theirs, lag->boot) != 0)
        return 0; /* of a computer that no heartbeat came from */
    int64_t excess = excess_ns(lag, (int64_t)mono_ns, read_ns);
    return excess < read_ns ? read_ns - excess : 0;
}

/* Age now, ms since the trigger; infinite where the message does not tell it. */
static double age_ms(const msgpack_object *map, int64_t sent) {
    double age;
    if (!number_at(map, "age_ms", &age) || age < 0 || sent <= 0)
        return INFINITY;
    return age + (double)(now_ns() - sent) / 1e6;
}

static void go_stale(Station *station, const char *why) {
    if (station->fresh)
        printf("STALE %s: reject all\n", why);
    station->fresh = false;
}

/* Before every message too: what waited while we hung is not fresh. */
static void watch(Station *station) {
    if (station->fresh && now_ns() / 1000000 - station->beat_ms > STALE_MS - 20)
        go_stale(station, "no heartbeat");
}

static void heartbeat(Station *station, const msgpack_object *map, const char *boot, int64_t read_ns) {
    char run[TEXT], theirs[TEXT];
    uint64_t seq_last;
    const msgpack_object *online = at(map, "online");
    if (!text_at(map, "run", run) || !count_at(map, "seq_last", &seq_last) || online == NULL ||
        online->type != MSGPACK_OBJECT_BOOLEAN)
        return;
    if (strcmp(run, station->run) != 0) {
        go_stale(station, "the station was started anew");
        strcpy(station->run, run);
        station->next_seq = 0;
    }
    if (station->next_seq != 0 && seq_last >= station->next_seq)
        printf("LOST %" PRIu64 "\n", seq_last + 1 - station->next_seq);
    if (station->next_seq == 0 || seq_last >= station->next_seq)
        station->next_seq = seq_last + 1;
    if (text_at(map, "boot_id", theirs) && strcmp(theirs, station->lag.boot) != 0) {
        memset(&station->lag, 0, sizeof station->lag); /* another clock; a mere restart keeps the clock it had */
        strcpy(station->lag.boot, theirs);
    }
    station->online = online->via.boolean;
    station->beat_ms = sent_ns(&station->lag, map, boot, read_ns) / 1000000;
    if (now_ns() / 1000000 - station->beat_ms > STALE_MS - 20) {
        go_stale(station, "a heartbeat lay unread");
        return;
    }
    if (!station->fresh)
        printf("FRESH run=%s\n", run);
    station->fresh = true;
}

/* Whether nothing in it, a stand-in or a staged fault, makes this a decision on no real part. */
static bool of_a_real_part(const msgpack_object *map) {
    static const char simulated[] = "simulated";
    const msgpack_object *flags = at(map, "flags");
    if (flags == NULL || flags->type != MSGPACK_OBJECT_ARRAY)
        return false;
    for (uint32_t i = 0; i < flags->via.array.size; i++) {
        const msgpack_object *flag = &flags->via.array.ptr[i];
        if (flag->type != MSGPACK_OBJECT_STR || (flag->via.str.size == strlen(simulated) &&
                                                 memcmp(flag->via.str.ptr, simulated, strlen(simulated)) == 0))
            return false;
    }
    return true;
}

/* Why the part may not go; NULL: it may. Whatever is missing, strange or unknown is a reason. */
static const char *why_not(const Station *station, const msgpack_object *map, const char *run, double age) {
    char verdict[TEXT];
    uint64_t deadline_ms;
    double score, threshold;
    if (!station->fresh)
        return "no fresh heartbeat";
    if (!station->online)
        return "the station is not online";
    if (strcmp(run, station->run) != 0)
        return "of another run";
    if (!text_at(map, "verdict", verdict) || strcmp(verdict, "PASS") != 0)
        return "not PASS";
    if (!of_a_real_part(map))
        return "simulated";
    if (!count_at(map, "deadline_ms", &deadline_ms) || !(age < (double)deadline_ms))
        return "too old";
    if (!number_at(map, "score", &score) || !number_at(map, "threshold", &threshold) || !(score <= threshold))
        return "PASS without a score below its threshold";
    return NULL;
}

static void decision(Station *station, const msgpack_object *map, const char *boot, int64_t read_ns) {
    char run[TEXT];
    uint64_t seq, part = 0;
    if (!text_at(map, "run", run) || !count_at(map, "seq", &seq))
        return;
    bool known = strcmp(run, station->run) == 0 && station->next_seq != 0;
    if (known && seq < station->next_seq)
        return; /* we had it, or called it lost */
    if (known && seq > station->next_seq)
        printf("LOST %" PRIu64 "\n", seq - station->next_seq);
    if (known)
        station->next_seq = seq + 1;
    count_at(map, "part_id", &part);
    const char *why = why_not(station, map, run, age_ms(map, sent_ns(&station->lag, map, boot, read_ns)));
    printf("%s part=%" PRIu64 " seq=%" PRIu64 " %s\n", why == NULL ? "LET" : "REJECT", part, seq, why == NULL ? "" : why);
}

static uint64_t big_endian(const unsigned char *bytes, size_t size) {
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* Whether the bytes hold as much as they claim to. msgpack-c would first make room for what is claimed, be it 256 GB. */
static bool fits(const unsigned char *bytes, size_t size) {
    static const unsigned char plain[16] = {0, 0, 0, 0, 1, 2, 4, 0, 0, 0, 4, 8, 1, 2, 4, 8}; /* c0 to cf: bytes that follow */
    static const unsigned char rest[16] = {1, 2, 4, 8, 2, 3, 5, 9, 17, 1, 2, 4, 2, 4, 2, 4}; /* d0 to df */
    uint64_t left = 1; /* values still to come, a byte each at least */
    size_t i = 0;
    while (left > 0) {
        if (left > size - i)
            return false;
        unsigned char kind = bytes[i++];
        uint64_t follows = 0, inside = 0;
        bool ext = kind >= 0xc7 && kind <= 0xc9;
        if (kind == 0xc1)
            return false;
        if (kind >= 0x80 && kind <= 0x9f)
            inside = (uint64_t)(kind & 15) * (kind < 0x90 ? 2 : 1);
        else if (kind >= 0xa0 && kind <= 0xbf)
            follows = kind & 31;
        else if (kind >= 0xc0 && kind <= 0xdf) {
            size_t width = ext ? (size_t)1 << (kind - 0xc7) : kind < 0xd0 ? plain[kind - 0xc0] : rest[kind - 0xd0];
            if (width > size - i)
                return false;
            uint64_t told = width <= 8 ? big_endian(bytes + i, width) : 0;
            i += width;
            if ((kind >= 0xc4 && kind <= 0xc6) || (kind >= 0xd9 && kind <= 0xdb) || ext)
                follows = told + ext;
            else if (kind >= 0xdc)
                inside = kind >= 0xde ? 2 * told : told;
        }
        if (follows > size - i)
            return false;
        i += follows;
        left += inside - 1;
    }
    return i == size;
}

static void message(Station *station, const char *name, const char *topic, const char *bytes, size_t size, const char *boot,
                    int64_t read_ns) {
    char theirs[TEXT];
    uint64_t major;
    size_t used = 0;
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    watch(station);
    bool whole = fits((const unsigned char *)bytes, size) &&
                 msgpack_unpack_next(&unpacked, bytes, size, &used) == MSGPACK_UNPACK_SUCCESS && used == size &&
                 unpacked.data.type == MSGPACK_OBJECT_MAP;
    const msgpack_object *map = &unpacked.data;
    if (!whole)
        printf("REFUSED what is no message\n");
    else if (!count_at(map, "v", &major) || major != MAJOR)
        printf("REFUSED a message of another major\n");
    else if (!text_at(map, "station", theirs) || strcmp(theirs, name) != 0)
        ; /* topics match by prefix: line1 also gets line10 */
    else if (strncmp(topic, "heartbeat.", 10) == 0)
        heartbeat(station, map, boot, read_ns);
    else if (strncmp(topic, "decision.", 9) == 0)
        decision(station, map, boot, read_ns);
    msgpack_unpacked_destroy(&unpacked);
}

/* Reads one message, all its frames. False: none is there. */
static bool read_one(void *socket, Station *station, const char *name, const char *boot) {
    char topic[TEXT], frame[LARGEST];
    int more = 1, size = zmq_recv(socket, topic, TEXT - 1, ZMQ_DONTWAIT);
    size_t length = sizeof more;
    if (size < 0)
        return false;
    int64_t read_ns = now_ns();
    topic[size < TEXT ? size : 0] = '\0'; /* longer than ours are: no topic of ours */
    zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &length);
    for (int number = 1; more; number++) {
        size = zmq_recv(socket, frame, LARGEST, ZMQ_DONTWAIT);
        if (size < 0)
            return true;
        if (number == 1 && size <= LARGEST)
            message(station, name, topic, frame, (size_t)size, boot, read_ns);
        zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &length);
    }
    return true;
}

static void set(void *socket, int option, int value) {
    zmq_setsockopt(socket, option, &value, sizeof value);
}

int main(int count, char **words) {
    char boot[TEXT] = "", topic[2][TEXT];
    if (count != 3 || strlen(words[2]) > TEXT - 16) {
        fprintf(stderr, "usage: %s tcp://127.0.0.1:5555 STATION\n", words[0]);
        return 2;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    if (!own_boot_id(boot))
        boot[0] = '\0';
    snprintf(topic[0], TEXT, "decision.%s", words[2]);
    snprintf(topic[1], TEXT, "heartbeat.%s", words[2]);
    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, ZMQ_SUB);
    int64_t largest = LARGEST;
    set(socket, ZMQ_RCVHWM, 20000);
    set(socket, ZMQ_LINGER, 0);
    set(socket, ZMQ_RECONNECT_IVL, 50);
    set(socket, ZMQ_HEARTBEAT_IVL, 500);
    set(socket, ZMQ_HEARTBEAT_TIMEOUT, 1500);
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &largest, sizeof largest);
    for (int i = 0; i < 2; i++) /* decisions first: then no heartbeat tells of one that we were too late for */
        zmq_setsockopt(socket, ZMQ_SUBSCRIBE, topic[i], strlen(topic[i]));
    if (zmq_connect(socket, words[1]) != 0) {
        fprintf(stderr, "%s: %s\n", words[1], zmq_strerror(zmq_errno()));
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    Station station = {0};
    zmq_pollitem_t readable = {.socket = socket, .events = ZMQ_POLLIN};
    while (!stop) {
        zmq_poll(&readable, 1, 10);
        watch(&station);
        for (int i = 0; i < 100 && read_one(socket, &station, words[2], boot); i++)
            ;
    }
    zmq_close(socket);
    zmq_ctx_term(context);
    return 0;
}
