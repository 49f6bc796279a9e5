package mural

import (
	"encoding/json"
	"errors"
	"fmt"
)

// What tests of the parts look at.
var (
	ReadClaims = readClaims
	SaidOfUser = saidOfUser
	SaidOfApp  = saidOfApp
	Refusal    = refusal
	TokenDead  = tokenDead
)

// MaxCursor is the bound of a cursor.
const MaxCursor = maxCursor

// CursorLevel reads a cursor, and says how much it remembers; -1: none.
func CursorLevel(b []byte) int {
	c, known := readCursor(b)
	if !known {
		return -1
	}
	return int(c.Level)
}

// Again reads a cursor and writes it; nil if it is none.
func Again(b []byte) []byte {
	c, known := readCursor(b)
	if !known {
		return nil
	}
	again, err := c.encode()
	if err != nil {
		return []byte(err.Error())
	}
	return again
}

// Raised is a cursor that remembers less.
func Raised(b []byte) []byte {
	c, _ := readCursor(b)
	c.raise()
	c.pack()
	b, _ = json.Marshal(c)
	return b
}

// Filled is how long a cursor is, and how much it remembers, of so many rooms
// with so many murals each, all with so many members.
func Filled(rooms, murals, members int) (size, level int, err error) {
	var people []person
	for i := range members {
		people = append(people, person{ID: fmt.Sprintf("u%024d", i)})
	}
	c, _ := readCursor(nil)
	for i := range rooms {
		r := &roomMark{mark: markOf((room{Type: "unheard of", Confidential: true}).state(), people),
			Murals: map[string]*mark{}}
		for j := range murals {
			m := markOf("nw1660000000000", people)
			r.Murals[fmt.Sprintf("workspace1234.%d%05d", i+10000000, j)] = &m
		}
		c.Rooms[fmt.Sprintf("92233720368547%05d", i)] = r
	}
	b, err := c.encode()
	if _, known := readCursor(b); err == nil && !known {
		err = errors.New("what was written cannot be read")
	}
	return len(b), int(c.Level), err
}
