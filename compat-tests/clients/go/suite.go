package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// patience bounds every wait for something that must happen. A genuine server that starts may leave a handshake
// unanswered, which costs its client 20 s.
const patience = 90 * time.Second

// failure ends a test; skipped says that the server at hand cannot be used for it.
type failure struct{ why string }
type skipped struct{ why string }

// here names the line of the test that called a check.
func here() string {
	for depth := 2; ; depth++ {
		_, file, line, ok := runtime.Caller(depth)
		if !ok {
			return "?"
		}
		if filepath.Base(file) != "suite.go" {
			return fmt.Sprintf("%s:%d", filepath.Base(file), line)
		}
	}
}

func fail(format string, arguments ...interface{}) {
	panic(failure{here() + ": " + fmt.Sprintf(format, arguments...)})
}

// ok fails the test when there is an error.
func ok(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// equal fails the test when the two do not print alike.
func equal(found, expected interface{}) {
	if fmt.Sprint(found) != fmt.Sprint(expected) {
		fail("found %v, expected %v", found, expected)
	}
}

// refused fails the test unless the error is the expected one.
func refused(err, expected error) {
	if err != expected {
		fail("found error %v, expected %v", err, expected)
	}
}

// until waits for a condition.
func until(what string, condition func() bool) {
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			fail("not within %v: %s", patience, what)
		}
	}
}

type test struct {
	name string
	run  func()
}

// runAll runs the tests whose name contains the first argument and returns the exit code.
func runAll(tests []test) int {
	only := ""
	if len(os.Args) > 1 {
		only = os.Args[1]
	}
	passed, failed, left := 0, 0, 0
	for _, one := range tests {
		if !strings.Contains(one.name, only) {
			continue
		}
		start := time.Now()
		switch end := outcome(one.run).(type) {
		case nil:
			passed++
			fmt.Printf("ok   %s (%d ms)\n", one.name, time.Since(start).Milliseconds())
		case skipped:
			left++
			fmt.Printf("skip %s: %s\n", one.name, end.why)
		case failure:
			failed++
			fmt.Printf("FAIL %s (%d ms)\n     %s\n", one.name, time.Since(start).Milliseconds(), end.why)
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, left)
	if failed > 0 || passed == 0 {
		return 1
	}
	return 0
}

// outcome runs one test under a time limit.
func outcome(run func()) interface{} {
	end := make(chan interface{}, 1)
	go func() {
		defer func() {
			switch cause := recover().(type) {
			case nil, failure, skipped:
				end <- cause
			default:
				end <- failure{fmt.Sprint(cause)}
			}
		}()
		run()
	}()
	select {
	case cause := <-end:
		return cause
	case <-time.After(2 * patience):
		return failure{fmt.Sprintf("did not end within %v", 2*patience)}
	}
}
