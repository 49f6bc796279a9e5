package stream

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescindhq/rescind/events"
)

// changesAge is how long a change is kept, and what may be replayed.
const changesAge = 7 * 24 * time.Hour

// CheckChanges says what is wrong with the configuration of a CHANGES stream.
// With a problem, an acknowledged change could be lost or not be delivered:
// each names the field, its value, and what to do. Warnings are risks that an
// operator may choose to take.
func CheckChanges(cfg jetstream.StreamConfig) (problems, warnings []string) {
	problems = append(storageProblems(cfg), limitProblems(cfg)...)
	problems = append(problems, intakeProblems(cfg)...)
	if cfg.Replicas <= 1 {
		warnings = append(warnings, "num_replicas is 1: a lost disk loses changes; use 3 on a cluster")
	}
	if cfg.MaxAge > 0 && cfg.MaxAge < changesAge {
		warnings = append(warnings, fmt.Sprintf(
			"max_age is %s: a worker that is down for longer misses changes; use %s", cfg.MaxAge, changesAge))
	}
	return problems, warnings
}

// CheckVersion returns [ErrServer] for a server that is too old.
func CheckVersion(version string) error { return checkVersion(version) }

// Names are those of all streams of the services, CHANGES first, and those of the
// buckets, which are streams too.
func Names() []string {
	return []string{Changes, Graveyard, Refreshes, Outcomes, "KV_" + Bucket, "KV_" + FeedBucket}
}

// LeaseKey is under what a lease lies in [Bucket], for who only looks.
func LeaseKey(name string) string { return leaseName(name) }

// CheckKept is [CheckChanges] for any of [Names]; of another stream
// nothing is wrong.
func CheckKept(cfg jetstream.StreamConfig) (problems, warnings []string) {
	const bySelf = "; delete it, a service makes it anew"
	switch cfg.Name {
	case Changes:
		return CheckChanges(cfg)
	case Graveyard:
		if cfg.Storage != jetstream.FileStorage {
			warnings = append(warnings, "storage is memory: a restart loses what could not be handled; use file")
		}
	case "KV_" + Bucket:
		if cfg.SubjectDeleteMarkerTTL <= 0 {
			problems = append(problems, "limit_marker_ttl is 0: locks would not end; create it anew")
		}
		if cfg.Storage != jetstream.FileStorage {
			warnings = append(warnings,
				"storage is memory: a restart loses tokens, grants and ledgers; create it anew with file storage")
		}
	case Refreshes:
		if !cfg.AllowMsgSchedules || !cfg.AllowMsgTTL {
			problems = append(problems, "it takes no schedules or no single expiries: nothing is refreshed"+bySelf)
		}
	}
	return problems, warnings
}

func storageProblems(cfg jetstream.StreamConfig) (problems []string) {
	if cfg.Storage != jetstream.FileStorage {
		problems = append(problems,
			"storage is memory: a restart loses changes; create the stream anew with file storage")
	}
	if cfg.PersistMode != jetstream.DefaultPersistMode {
		problems = append(problems,
			"persist_mode is async: what was acknowledged may be lost; create the stream anew without it")
	}
	if cfg.Retention != jetstream.LimitsPolicy {
		problems = append(problems, fmt.Sprintf(
			"retention is %s: it drops changes that are still to be replayed; use limits",
			strings.ToLower(cfg.Retention.String())))
	}
	return problems
}

func limitProblems(cfg jetstream.StreamConfig) (problems []string) {
	const advice = "changes nobody has read are dropped when it is reached; remove it or use discard: new"
	old := cfg.Discard == jetstream.DiscardOld
	if cfg.MaxMsgs > 0 && old {
		problems = append(problems, fmt.Sprintf("max_msgs is %d with discard: old: %s", cfg.MaxMsgs, advice))
	}
	if cfg.MaxBytes > 0 && old {
		problems = append(problems, fmt.Sprintf("max_bytes is %d with discard: old: %s", cfg.MaxBytes, advice))
	}
	// Discard new does not hold for this limit unless it is said once more.
	if cfg.MaxMsgsPerSubject > 0 && (old || !cfg.DiscardNewPerSubject) {
		problems = append(problems, fmt.Sprintf("max_msgs_per_subject is %d: %s with discard_new_per_subject",
			cfg.MaxMsgsPerSubject, advice))
	}
	return problems
}

func intakeProblems(cfg jetstream.StreamConfig) (problems []string) {
	if cfg.Duplicates <= 0 {
		problems = append(problems, "duplicate_window is 0: a provider's retry is a change of its own; use 10m")
	}
	if !coveredByAny(cfg.Subjects, events.AllChanges) {
		problems = append(problems, fmt.Sprintf(
			"subjects are %q: they do not cover ours; add %q", cfg.Subjects, events.AllChanges))
	}
	if cfg.SubjectTransform != nil {
		problems = append(problems,
			"subject_transform is set: changes would not be found under their subjects; remove it")
	}
	if cfg.Sealed {
		problems = append(problems, "sealed is true: it takes no changes; create the stream anew")
	}
	if cfg.NoAck {
		problems = append(problems, "no_ack is true: nobody would know that a change is stored; set it to false")
	}
	return problems
}

func coveredByAny(patterns []string, subject string) bool {
	for _, p := range patterns {
		if covers(p, subject) {
			return true
		}
	}
	return false
}

// covers says whether every subject that the second pattern matches is matched
// by the first.
func covers(pattern, other string) bool {
	ps, os := strings.Split(pattern, "."), strings.Split(other, ".")
	for i, p := range ps {
		switch {
		case p == ">":
			return len(os) > i
		case i >= len(os) || os[i] == ">":
			return false
		case p != "*" && p != os[i]:
			return false
		}
	}
	return len(ps) == len(os)
}
