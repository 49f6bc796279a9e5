package boxsim

import (
	"encoding/base64"
	"slices"
	"strconv"
)

// maxOffset is the highest that is served.
const maxOffset = 10000

// bounds are of a page: what is given without limit, and the most that is given.
type bounds struct{ standard, most int }

// number reads a whole number of the query that is not negative.
func (c *call) number(name string, absent int) (int, error) {
	text := c.query.Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, errParameter(name, "Invalid value '"+text+"'")
	}
	return n, nil
}

// limit is how many the caller gets; more than the most is cut down without a word.
func (c *call) limit(b bounds) (int, error) {
	n, err := c.number("limit", b.standard)
	if n == 0 {
		n = b.standard
	}
	return min(n, b.most), err
}

// offset cuts out the page that the query names by its offset.
func offset[T any](c *call, list []T, b bounds, show func(T) any) (any, error) {
	limit, err := c.limit(b)
	if err != nil {
		return nil, err
	}
	from, err := c.number("offset", 0)
	if err != nil {
		return nil, err
	}
	if from > maxOffset {
		return nil, errParameter("offset", "Invalid value '"+strconv.Itoa(from)+"'. The highest is 10000")
	}
	part := list[min(from, len(list)):min(from+limit, len(list))]
	return obj{"total_count": len(list), "offset": from, "limit": limit, "entries": shown(part, show)}, nil
}

// marked cuts out the page that the query names by a marker. The last page has a next_marker that is null,
// empty or not there, in turn.
func marked[T any](c *call, list []T, b bounds, id func(T) string, show func(T) any) (any, error) {
	limit, err := c.limit(b)
	if err != nil {
		return nil, err
	}
	if m := c.query.Get("marker"); m != "" {
		after, err := base64.RawURLEncoding.DecodeString(m)
		if err != nil || len(after) < 2 || after[0] != 'm' {
			return nil, errParameter("marker", "Invalid marker")
		}
		list = slices.DeleteFunc(list, func(t T) bool { return byNumber(id(t), string(after[1:])) <= 0 })
	}
	page := obj{"limit": limit}
	if len(list) > limit {
		list = list[:limit]
		page["next_marker"] = base64.RawURLEncoding.EncodeToString([]byte("m" + id(list[limit-1])))
	} else if c.s.answers++; c.s.answers%3 > 0 {
		page["next_marker"] = []any{nil, ""}[c.s.answers%3-1]
	}
	page["entries"] = shown(list, show)
	return page, nil
}

func shown[T any](list []T, show func(T) any) []any {
	all := make([]any, 0, len(list))
	for _, t := range list {
		all = append(all, show(t))
	}
	return all
}
