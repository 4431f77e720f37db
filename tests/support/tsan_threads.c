/* C11 threads by way of POSIX threads, for programs under the thread sanitizer. It watches only the
 * latter: a thread that librdkafka began with thrd_create has no state there, and dies at its first
 * allocation; a lock taken by mtx_lock would order nothing. In glibc both are the same underneath.
 * Linked into programs, these stand before those of the C library. */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(thrd_t) == sizeof(pthread_t), "thrd_t is a pthread_t");
_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "mtx_t holds a pthread_mutex_t");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t), "cnd_t holds a pthread_cond_t");

static int result_of(int code) {
    switch (code) {
    case 0:
        return thrd_success;
    case EBUSY:
        return thrd_busy;
    case ETIMEDOUT:
        return thrd_timedout;
    case ENOMEM:
        return thrd_nomem;
    default:
        return thrd_error;
    }
}

/* ---- threads ---- */

struct start {
    thrd_start_t function;
    void *argument;
};

static void *run(void *argument) {
    struct start start = *(struct start *)argument;
    free(argument);
    return (void *)(intptr_t)start.function(start.argument);
}

int thrd_create(thrd_t *thread, thrd_start_t function, void *argument) {
    struct start *start = malloc(sizeof *start);
    if (!start)
        return thrd_nomem;
    *start = (struct start){function, argument};
    int code = pthread_create(thread, NULL, run, start);
    if (code)
        free(start);
    return result_of(code);
}

int thrd_join(thrd_t thread, int *result) {
    void *value = NULL;
    int code = pthread_join(thread, &value);
    if (result)
        *result = (int)(intptr_t)value;
    return result_of(code);
}

int thrd_detach(thrd_t thread) {
    return result_of(pthread_detach(thread));
}

/* ---- locks ---- */

static pthread_mutex_t *mutex(mtx_t *lock) {
    return (pthread_mutex_t *)(void *)lock;
}

int mtx_init(mtx_t *lock, int type) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    if (type & mtx_recursive)
        pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    int code = pthread_mutex_init(mutex(lock), &attributes);
    pthread_mutexattr_destroy(&attributes);
    return result_of(code);
}

void mtx_destroy(mtx_t *lock) {
    pthread_mutex_destroy(mutex(lock));
}

int mtx_lock(mtx_t *lock) {
    return result_of(pthread_mutex_lock(mutex(lock)));
}

int mtx_trylock(mtx_t *lock) {
    return result_of(pthread_mutex_trylock(mutex(lock)));
}

int mtx_unlock(mtx_t *lock) {
    return result_of(pthread_mutex_unlock(mutex(lock)));
}

/* ---- conditions ---- */

static pthread_cond_t *condition(cnd_t *cnd) {
    return (pthread_cond_t *)(void *)cnd;
}

int cnd_init(cnd_t *cnd) {
    return result_of(pthread_cond_init(condition(cnd), NULL));
}

void cnd_destroy(cnd_t *cnd) {
    pthread_cond_destroy(condition(cnd));
}

int cnd_signal(cnd_t *cnd) {
    return result_of(pthread_cond_signal(condition(cnd)));
}

int cnd_broadcast(cnd_t *cnd) {
    return result_of(pthread_cond_broadcast(condition(cnd)));
}

int cnd_wait(cnd_t *cnd, mtx_t *lock) {
    return result_of(pthread_cond_wait(condition(cnd), mutex(lock)));
}

int cnd_timedwait(cnd_t *cnd, mtx_t *lock, const struct timespec *until) {
    return result_of(pthread_cond_timedwait(condition(cnd), mutex(lock), until));
}
