package sim

import (
	"net/url"
	"strconv"
)

const maxPage = 1000

type collection[T any] struct {
	URI        string     `json:"uri"`
	Records    []T        `json:"records"`
	Paging     paging     `json:"paging"`
	Navigation navigation `json:"navigation"`
}

type paging struct {
	Page          int  `json:"page"`
	PerPage       int  `json:"perPage"`
	PageStart     *int `json:"pageStart,omitempty"`
	PageEnd       *int `json:"pageEnd,omitempty"`
	TotalPages    *int `json:"totalPages,omitempty"`
	TotalElements *int `json:"totalElements,omitempty"`
}

type navigation struct {
	FirstPage    *pageURI `json:"firstPage,omitempty"`
	NextPage     *pageURI `json:"nextPage,omitempty"`
	PreviousPage *pageURI `json:"previousPage,omitempty"`
	LastPage     *pageURI `json:"lastPage,omitempty"`
}

type pageURI struct {
	URI string `json:"uri"`
}

// paged cuts one page out of all items and shows its items. The page after the last is empty;
// navigation.nextPage is absent on the last one. A perPage above 1000 is cut down; anything else out of
// bounds is CMN-101.
func paged[S, T any](c *call, path string, items []S, show func(S) T) (any, error) {
	page, err := c.number("page", 1)
	if err != nil {
		return nil, err
	}
	perPage, err := c.number("perPage", 100)
	if err != nil {
		return nil, err
	}
	if page > maxPage {
		return nil, errParameter("page", c.query.Get("page"))
	}
	perPage = min(perPage, maxPage)
	from, to := min((page-1)*perPage, len(items)), min(page*perPage, len(items))
	list := collection[T]{URI: c.pageURI(path, page, perPage).URI, Records: make([]T, 0, to-from)}
	for _, item := range items[from:to] {
		list.Records = append(list.Records, show(item))
	}
	list.Paging, list.Navigation = c.paging(path, len(items), page, perPage)
	return list, nil
}

func (c *call) paging(path string, total, page, perPage int) (paging, navigation) {
	pages := (total + perPage - 1) / perPage
	p := paging{Page: page, PerPage: perPage}
	if start := (page - 1) * perPage; start < total {
		end := min(start+perPage, total) - 1
		p.PageStart, p.PageEnd = &start, &end
	}
	n := navigation{FirstPage: c.pageURI(path, 1, perPage)}
	if page < pages {
		n.NextPage = c.pageURI(path, page+1, perPage)
	}
	if page > 1 {
		n.PreviousPage = c.pageURI(path, page-1, perPage)
	}
	if !c.quirks.NoTotals {
		p.TotalPages, p.TotalElements = &pages, &total
		n.LastPage = c.pageURI(path, max(1, pages), perPage)
	}
	return p, n
}

// pageURI keeps the caller's other query parameters.
func (c *call) pageURI(path string, page, perPage int) *pageURI {
	q := url.Values{}
	for k, v := range c.query {
		if k != "access_token" {
			q[k] = v
		}
	}
	q.Set("page", strconv.Itoa(page))
	q.Set("perPage", strconv.Itoa(perPage))
	return &pageURI{c.base + path + "?" + q.Encode()}
}

// number reads a query parameter that counts from 1.
func (c *call) number(name string, absent int) (int, error) {
	text := c.query.Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, errParameter(name, text)
	}
	return n, nil
}
