// Package lead lets one process of the fleet do what only one shall do.
//
// All compete for a lease. Who has it does the thing until it stops, or until the
// lease is lost: another took it, or it could not be renewed for its whole life, so
// that another may. A holder that was killed is followed within about one and a
// quarter of the lease's lives, one that stopped in good order within a quarter.
//
// # What it never does
//
// It cannot keep two from doing the thing for a moment: a holder that was stopped
// for longer than a life, and wakes, does not know it yet. What must not happen
// twice is guarded by the revision of a value that the holder writes.
package lead
