package events

import (
	"fmt"
	"strings"
)

// The kinds of tag that are in use. A worker obeys kinds it has never heard
// of, so a newer listener can add one.
const (
	KindSubject = "subject"
	KindRole    = "role"
	KindGroup   = "group"
	KindFolder  = "folder"
	KindFile    = "file"
	KindRoom    = "room"
	KindMural   = "mural"
	KindApp     = "app"
	KindTenant  = "tenant"
)

// Tag names what an entry was computed from. Kinds that exist once a tenant
// (app, tenant) have no id. Its text is "kind" or "kind:id"; the id is what
// stands behind the first colon, unescaped.
type Tag struct {
	Kind string
	ID   string
}

// The two tags that a tenant has one of. Every entry carries TenantTag.
var (
	AppTag    = Tag{Kind: KindApp}
	TenantTag = Tag{Kind: KindTenant}
)

// SubjectTag is the tag of everything computed from one subject.
func SubjectTag(s Subject) Tag { return Tag{KindSubject, string(s)} }

// RoleTag is the tag of everything computed from one role's definition.
func RoleTag(id string) Tag { return Tag{KindRole, id} }

// GroupTag is the tag of everything computed from one group's members.
func GroupTag(id string) Tag { return Tag{KindGroup, id} }

// FolderTag is the tag of everything computed from one folder.
func FolderTag(id string) Tag { return Tag{KindFolder, id} }

// FileTag is the tag of everything computed from one file.
func FileTag(id string) Tag { return Tag{KindFile, id} }

// RoomTag is the tag of everything computed from one room.
func RoomTag(id string) Tag { return Tag{KindRoom, id} }

// MuralTag is the tag of everything computed from one mural.
func MuralTag(id string) Tag { return Tag{KindMural, id} }

// String is the tag's text.
func (t Tag) String() string {
	if t.ID == "" {
		return t.Kind
	}
	return t.Kind + ":" + t.ID
}

// ParseTag reads a tag's text. The kind is one to 32 of a-z and "-".
func ParseTag(text string) (Tag, error) {
	kind, id, hasID := strings.Cut(text, ":")
	if kind == "" || len(kind) > 32 || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz-") != "" {
		return Tag{}, fmt.Errorf("tag %.40q: the kind must be 1 to 32 of a-z and -", text)
	}
	if hasID {
		if err := CheckID(id); err != nil {
			return Tag{}, fmt.Errorf("tag %.40q: %w", text, err)
		}
	}
	if !hasID && kind != KindApp && kind != KindTenant {
		return Tag{}, fmt.Errorf("tag %.40q: has no id", text)
	}
	return Tag{kind, id}, nil
}

// MarshalText writes the tag's text, refusing one that [ParseTag] would refuse.
func (t Tag) MarshalText() ([]byte, error) {
	text := t.String()
	if _, err := ParseTag(text); err != nil {
		return nil, err
	}
	return []byte(text), nil
}

// UnmarshalText is [ParseTag].
func (t *Tag) UnmarshalText(text []byte) (err error) {
	*t, err = ParseTag(string(text))
	return err
}
