package faults_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9/logging"
	"github.com/rescindhq/rescind/cmd/faults"
	"go.uber.org/goleak"
)

// partVariable makes the test's own program a part of the system under test.
const partVariable = "FAULTS_TEST_PART"

func TestMain(m *testing.M) {
	if os.Getenv(partVariable) != "" {
		os.Exit(part())
	}
	logging.Disable() // go-redis would write to standard error of its own accord
	goleak.VerifyTestMain(m)
}

func part() (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := faults.Part(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
