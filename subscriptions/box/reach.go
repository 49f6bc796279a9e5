package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rescindhq/rescind/events"
)

// reach says whom a happening concerns. Where what it names is not told, it is
// everyone.
type reach string

const (
	nobody     reach = "nobody"
	theUser    reach = "the user in its source"
	theOwner   reach = "the user in its source, and who may use what it owned"
	theGroup   reach = "the members of a group"
	theGrantee reach = "who holds the collaboration, else who may use the item"
	theItem    reach = "who may use the item"
	thePlace   reach = "who may use the item, here or where it was"
	theApp     reach = "everything held through the app"
	everyone   reach = "everyone"
)

// unplaced is the tag of entries whose item's place is not wholly known: such as are
// denied, and those of who is not the owner, since the path that they see may be
// cut. All that is said of a whole folder, or of what somebody owned, has it too. The
// root folder is no place, as everybody has one of that id.
var unplaced = events.FolderTag("0")

// item is a file or a folder.
type item struct{ kind, id string }

// parseItem reads folder:11 or file:12. Ids are numbers, written in one way.
func parseItem(text string) (item, error) {
	kind, id, _ := strings.Cut(text, ":")
	if kind != events.KindFolder && kind != events.KindFile || !isNumber(id) {
		return item{}, fmt.Errorf("must be folder:<number> or file:<number>; got %.40q", text)
	}
	return item{kind, id}, nil
}

func isNumber(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "0123456789") == "" && (s == "0" || s[0] != '0')
}

func (i item) String() string { return i.kind + ":" + i.id }

func (i item) tag() events.Tag { return events.Tag{Kind: i.kind, ID: i.id} }

// id is an id or a cursor, written as a string or as a whole number of any size.
type id string

// UnmarshalJSON refuses fractions, exponents and other types, and does not say
// what it was given: that may be anything.
func (i *id) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if b[0] == '"' {
		return json.Unmarshal(b, (*string)(i))
	}
	if strings.Trim(string(b), "0123456789") != "" {
		return errors.New("an id is neither a string nor a whole number")
	}
	*i = id(b)
	return nil
}

// thing is whatever stands as a source, in all the shapes that are known: a user,
// a group, an item, a collaboration, and the flat forms of events.
type thing struct {
	Type         string `json:"type"`
	ID           id     `json:"id"`
	ItemType     string `json:"item_type"`
	ItemID       id     `json:"item_id"`
	FolderID     id     `json:"folder_id"`
	FileID       id     `json:"file_id"`
	UserID       id     `json:"user_id"`
	GroupID      id     `json:"group_id"`
	Role         string `json:"role"`
	Item         *thing `json:"item"`
	Parent       *thing `json:"parent"`
	AccessibleBy *thing `json:"accessible_by"`
}

// loose reads what may have any shape; of another than we know, it is nothing.
func loose(b json.RawMessage) (t thing) {
	if json.Unmarshal(b, &t) != nil {
		return thing{}
	}
	return t
}

// items lists what it names, of the most telling shape.
func (t *thing) items() []events.Tag {
	switch {
	case t == nil:
		return nil
	case t.Type == events.KindFolder || t.Type == events.KindFile:
		return tagged(t.Type, t.ID)
	case t.ItemType == events.KindFolder || t.ItemType == events.KindFile:
		return tagged(t.ItemType, t.ItemID)
	case t.FolderID != "":
		return tagged(events.KindFolder, t.FolderID)
	case t.FileID != "":
		return tagged(events.KindFile, t.FileID)
	}
	return t.Item.items()
}

func (t *thing) users() []events.Tag {
	switch {
	case t == nil:
		return nil
	case t.Type == "user":
		return tagged(events.KindSubject, t.ID)
	}
	return tagged(events.KindSubject, t.UserID)
}

func (t *thing) groups() []events.Tag {
	switch {
	case t == nil:
		return nil
	case t.Type == "group":
		return tagged(events.KindGroup, t.ID)
	}
	return tagged(events.KindGroup, t.GroupID)
}

// tagged is no tag if the id is none.
func tagged(kind string, id id) []events.Tag {
	if events.CheckID(string(id)) != nil {
		return nil
	}
	return []events.Tag{{Kind: kind, ID: string(id)}}
}

// happening is what a webhook or an event tells of, in one form.
type happening struct {
	source        thing
	accessibleBy  *thing // beside the source
	details       thing  // additional_details of an event
	before, after *thing // places of what was moved
}

// tags are those of whom it concerns; none only if that is nobody.
func (h happening) tags(r reach) []events.Tag {
	var tags []events.Tag
	switch r {
	case nobody:
		return nil
	case theUser:
		tags = h.source.users()
	case theOwner:
		if tags = h.source.users(); len(tags) > 0 {
			tags = append(tags, unplaced)
		}
	case theGroup:
		tags = first(h.source.groups(), h.accessibleBy.groups(), h.details.groups())
	case theGrantee:
		tags = h.grantee()
	case theItem:
		tags = withBelow(h.source.items())
	case thePlace:
		tags = h.place()
	case theApp:
		tags = []events.Tag{events.AppTag}
	}
	if len(tags) == 0 {
		return []events.Tag{events.TenantTag}
	}
	return tags
}

func first(lists ...[]events.Tag) []events.Tag {
	i := slices.IndexFunc(lists, func(l []events.Tag) bool { return len(l) > 0 })
	if i < 0 {
		return nil
	}
	return lists[i]
}

// grantee is who holds a collaboration. A new owner makes another of the one
// before, who is not named: then it is everybody on the item. created_by is who did
// it and never the subject.
func (h happening) grantee() []events.Tag {
	by := h.source.AccessibleBy
	if h.accessibleBy != nil {
		by = h.accessibleBy
	}
	who := first(by.users(), by.groups())
	if by == nil {
		who = first(h.source.users(), h.source.groups())
	}
	owner := strings.EqualFold(h.source.Role, "owner") || strings.EqualFold(h.details.Role, "owner")
	if len(who) == 0 || owner {
		return append(who, withBelow(h.source.items())...)
	}
	return who
}

// place is an item, where it is and was, and what has no known place, since that
// may lie in it.
func (h happening) place() []events.Tag {
	tags := h.source.items()
	if len(tags) == 0 {
		return nil
	}
	for _, t := range []*thing{h.source.Parent, h.before, h.after} {
		tags = append(tags, t.items()...)
	}
	tags = append(tags, unplaced)
	return distinct(tags)
}

// withBelow adds what may lie in a folder without our knowing.
func withBelow(tags []events.Tag) []events.Tag {
	if slices.ContainsFunc(tags, func(t events.Tag) bool { return t.Kind == events.KindFolder }) {
		tags = distinct(append(tags, unplaced))
	}
	return tags
}

func distinct[T comparable](tags []T) (out []T) {
	seen := map[T]bool{}
	for _, t := range tags {
		if !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}
