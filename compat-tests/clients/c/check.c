#include "check.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PASSED, FAILED, SKIPPED };

static jmp_buf test_end;
static pthread_t test_thread;
static char why[1024];

_Noreturn static void end_with(int outcome) {
    if (!pthread_equal(pthread_self(), test_thread)) {
        printf("FAIL outside of the test's own thread: %s\n", why);
        exit(1);
    }
    longjmp(test_end, outcome);
}

void test_failed(const char *file, int line, const char *format, ...) {
    va_list arguments;
    int start = snprintf(why, sizeof why, "%s:%d: ", file, line);
    va_start(arguments, format);
    vsnprintf(why + start, sizeof why - (size_t)start, format, arguments);
    va_end(arguments);
    end_with(FAILED);
}

void test_skipped(const char *reason) {
    snprintf(why, sizeof why, "%s", reason);
    end_with(SKIPPED);
}

void check_number(const char *file, int line, const char *what, long long found, long long expected) {
    if (found != expected) test_failed(file, line, "%s: found %lld, expected %lld", what, found, expected);
}

void check_text(const char *file, int line, const char *found, const char *expected) {
    if (strcmp(found, expected) != 0) test_failed(file, line, "found \"%s\", expected \"%s\"", found, expected);
}

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

int run_all(const struct test *tests, int count, const char *only) {
    static volatile int passed, failed, skipped; /* kept across longjmp */
    static volatile int i;
    static volatile long long start;
    test_thread = pthread_self();
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (i = 0; i < count; i++) {
        if (!strstr(tests[i].name, only)) continue;
        start = now_ms();
        alarm(3 * PATIENCE_SECONDS); /* a call that never returns ends the whole program */
        switch (setjmp(test_end)) {
        case 0:
            tests[i].run();
            passed++;
            printf("ok   %s (%lld ms)\n", tests[i].name, now_ms() - start);
            break;
        case SKIPPED:
            skipped++;
            printf("skip %s: %s\n", tests[i].name, why);
            break;
        default:
            failed++;
            printf("FAIL %s (%lld ms)\n     %s\n", tests[i].name, now_ms() - start, why);
        }
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0 || passed == 0;
}
