package events

import (
	"strconv"
	"strings"
)

// ReplayID is the ID of a change that says again what the change at a sequence of
// the stream has said. Runs tell replays apart: within the stream's window the same
// change of the same run is stored once.
func ReplayID(h Home, sequence uint64, run string) string {
	return ChangeID(h, replayed+strconv.FormatUint(sequence, 10)+":"+run)
}

const replayed = "replay:"

// ReplayOf is the sequence of the change that this one says again; ok is false if it
// is no replay.
func ReplayOf(c Change) (sequence uint64, ok bool) {
	rest, ok := strings.CutPrefix(c.ID, ChangeID(c.Home, replayed))
	digits, _, cut := strings.Cut(rest, ":")
	sequence, err := strconv.ParseUint(digits, 10, 64)
	return sequence, ok && cut && err == nil && c.Source == Replay
}
