package natslocal

import (
	"errors"
	"fmt"
	"log/slog"
)

// logger hands the server's lines to slog, its notices as debug lines. A fatal
// line does not end the process: the first one becomes the error of the start.
type logger struct {
	log   *slog.Logger
	fatal chan error
}

func newLogger(log *slog.Logger) *logger {
	return &logger{log: log.With("part", "nats"), fatal: make(chan error, 1)}
}

// cause is the fatal line, or nil if there was none.
func (l *logger) cause() error {
	select {
	case err := <-l.fatal:
		return err
	default:
		return nil
	}
}

func (l *logger) Fatalf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	l.log.Error(line)
	select {
	case l.fatal <- errors.New(line):
	default:
	}
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *logger) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(string, ...any)           {}
