package events

import "errors"

// What a store of small sealed values may say. They stand here because both
// the store and the contract above it speak of them.
var (
	// ErrNoSecret says that nothing is kept under that key.
	ErrNoSecret = errors.New("no such secret")
	// ErrConflict says that somebody else was faster: the value has another
	// revision, or the lock another holder.
	ErrConflict = errors.New("changed by another")
)
