package muralsim

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
)

const (
	maxPage  = 100
	nextLife = 10 * time.Minute
)

// value is the envelope of all answers.
type value struct {
	Value any `json:"value"`
	Next  any `json:"next,omitempty"`
}

// next is what a next token holds.
type next struct {
	User   string    `json:"u"`
	Path   string    `json:"p"`
	Limit  int       `json:"l"`
	Offset int       `json:"o"`
	Issued time.Time `json:"t"`
}

// paged cuts one page out of all items and shows its items.
func paged[S, T any](c *call, items []S, show func(S) T) (any, error) {
	from, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	from = min(from, len(items))
	to := min(from+limit, len(items))
	shown := make([]T, 0, to-from)
	for _, item := range items[from:to] {
		shown = append(shown, show(item))
	}
	answer := value{Value: shown}
	switch {
	case to < len(items):
		answer.Next = c.next(to, limit)
	case c.quirks.NullNext:
		answer.Next = json.RawMessage("null")
	}
	return answer, nil
}

// page reads limit and next.
func (c *call) page() (from, limit int, err error) {
	limit = maxPage
	if c.quirks.LimitBelow100 {
		limit--
	}
	if text := c.query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > limit {
			return 0, 0, errQuery("LIMIT_INVALID", "limit must be a number from 1 to "+strconv.Itoa(limit))
		}
		limit = n
	}
	if text := c.query.Get("next"); text != "" {
		from, err = c.resume(text, limit)
	}
	return from, limit, err
}

func (c *call) next(offset, limit int) string {
	data, err := json.Marshal(next{c.who, c.r.URL.Path, limit, offset, time.Now()})
	if err != nil {
		panic(err) // strings and numbers
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func (c *call) resume(text string, limit int) (offset int, err error) {
	var n next
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(data, &n)
	}
	if err != nil || n.User != c.who || n.Path != c.r.URL.Path || n.Limit != limit || n.Offset < 0 {
		return 0, errQuery("PAGINATION_INVALID", "Unknown next token")
	}
	if time.Since(n.Issued) > c.m.scale(nextLife) || !n.Issued.After(c.m.nextFrom) {
		return 0, errQuery("NEXT_TOKEN_EXPIRED", "Next token expired")
	}
	return n.Offset, nil
}

// ExpireNext ends the life of all next tokens that were given out.
func (m *Mural) ExpireNext() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nextFrom = time.Now()
}
