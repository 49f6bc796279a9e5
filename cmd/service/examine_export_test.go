package service

import "github.com/rescindhq/rescind/cache"

// NeededCommands are those that an examination asks about.
func NeededCommands() [][]string { return neededOf(cache.Keys{}) }
