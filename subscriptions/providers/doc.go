// Package providers is the one list of the pillars: which kinds of provider
// there are, how each is opened, and what a table in a manual says of it. A new
// provider adds its folder and one line here.
//
// What it promises: whatever [Open] returns fulfils the whole contract.
//
// What it never does: no I/O, and no pillar learns of another.
package providers
