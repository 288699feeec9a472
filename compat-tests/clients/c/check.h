/* Checks that end the test they stand in, and the list of tests. */
#ifndef CHECK_H
#define CHECK_H

#define PATIENCE_SECONDS 90 /* a genuine server that starts may leave a handshake unanswered: 20 s */

struct test {
    const char *name;
    void (*run)(void);
};

/* Ends the test as failed, or as left out. */
_Noreturn void test_failed(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void test_skipped(const char *why);

/* Runs the tests whose name contains `only`; the exit code. */
int run_all(const struct test *tests, int count, const char *only);

void check_number(const char *file, int line, const char *what, long long found, long long expected);
void check_text(const char *file, int line, const char *found, const char *expected);

#define CHECK(condition) \
    do { \
        if (!(condition)) test_failed(__FILE__, __LINE__, "%s", #condition); \
    } while (0)
#define EQUAL(found, expected) check_number(__FILE__, __LINE__, #found, (found), (expected))
#define SAME(found, expected) check_text(__FILE__, __LINE__, (found), (expected))
#define OK(call) EQUAL(call, ZOK)

#endif
