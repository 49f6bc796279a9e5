package box

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rescindhq/rescind/subscriptions"
)

const (
	readAll    = "root_readonly"
	writeAll   = "root_readwrite"
	allContent = "enterprise_content"
)

// catalogue is the table of guides/api-calls/permissions-and-errors/scopes in
// github box/developer.box.com at eee1aa64, then the scopes of downscoped tokens,
// of which none includes another. A label of the console may stand for two scopes.
var catalogue = []subscriptions.Scope{
	{Name: "Read all files and folders", ID: readAll, Tabled: true},
	{Name: "Read and write all files and folders", ID: writeAll, Includes: []string{readAll}, Tabled: true},
	{Name: "Manage users", ID: "manage_managed_users", Tabled: true},
	{Name: "Manage users", ID: "manage_app_users", Tabled: true},
	{Name: "Manage groups", ID: "manage_groups", Tabled: true},
	{Name: "Manage webhooks", ID: "manage_webhook", Aliases: []string{"manage_webhooks"}, Tabled: true},
	{Name: "Manage enterprise properties", ID: "manage_enterprise_properties", Tabled: true},
	{Name: "Manage retention policies", ID: "manage_data_retention", Needs: []string{allContent}, Tabled: true},
	{Name: "Manage signature requests", ID: "sign_requests.readwrite", Needs: []string{readAll, writeAll},
		Tabled: true},
	{Name: "Manage AI", ID: "ai.readwrite", Tabled: true},
	{Name: "Manage Box Relay", ID: "manage_triggers", Needs: []string{readAll, writeAll}, Tabled: true},
	{Name: "manage_legal_holds", ID: "manage_legal_holds", Aliases: []string{"manage_legal_hold"},
		Needs: []string{allContent}, OnRequest: true, Tabled: true},
	{Name: "Global Content Manager (GCM)", ID: allContent, Aliases: []string{"gcm"}, OnRequest: true,
		Tabled: true},

	downscoped("base_explorer"), downscoped("base_picker"), downscoped("base_preview"),
	downscoped("base_sidebar"), downscoped("base_upload"), downscoped("item_download"),
	downscoped("item_preview"), downscoped("item_upload"), downscoped("item_rename"),
	downscoped("item_delete"), downscoped("item_share"), downscoped("annotation_edit"),
	downscoped("annotation_view_all"), downscoped("annotation_view_self"),
	{Name: "item_read", ID: "item_read"}, // the API description's alone
}

func downscoped(id string) subscriptions.Scope {
	return subscriptions.Scope{Name: id, ID: id, Tabled: true}
}

// Scopes lists what an app may hold at Box, and what a downscoped token may. That
// [root_readwrite] includes reading is not said by Box, see the setting
// write_reads.
func Scopes() []subscriptions.Scope {
	out := slices.Clone(catalogue)
	for i := range out {
		out[i].Includes = slices.Clone(out[i].Includes)
		out[i].Aliases = slices.Clone(out[i].Aliases)
		out[i].Needs = slices.Clone(out[i].Needs)
	}
	return out
}

// ParseScopes reads what an admin authorised: the names of OAuth scopes, today's
// or former ones, separated by spaces; or, if there is a comma, names and labels
// of the developer console, separated by commas. A label stands for all scopes of
// its name. What is not in the catalogue is kept as it is, unless it cannot be a
// scope. Nothing at all is nil.
func ParseScopes(text string) ([]string, error) {
	words := strings.Fields(text)
	if strings.Contains(text, ",") {
		words = strings.Split(text, ",")
	}
	var out []string
	for _, w := range words {
		w = strings.TrimSpace(w)
		if w == "" {
			continue
		}
		ids := scopeIDs(w)
		if len(ids) == 0 {
			return nil, fmt.Errorf("no scope and no label of the console: %.40q", w)
		}
		out = append(out, ids...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// scopeIDs are what a name or label stands for.
func scopeIDs(word string) (ids []string) {
	for _, s := range catalogue {
		if s.ID == word || slices.Contains(s.Aliases, word) || strings.EqualFold(s.Name, word) {
			ids = append(ids, s.ID)
		}
	}
	if len(ids) == 0 && isScope(word) {
		return []string{word}
	}
	return ids
}

// isScope says whether a word can be a scope (RFC 6749, section 3.3).
func isScope(word string) bool {
	foreign := func(r rune) bool { return r <= 0x20 || r > 0x7e || r == '"' || r == '\\' }
	return word != "" && len(word) <= 64 && !strings.ContainsFunc(word, foreign)
}

// todaysName is that of a scope which may be called by another of its names.
func todaysName(word string) string {
	for _, s := range catalogue {
		if slices.Contains(s.Aliases, word) {
			return s.ID
		}
	}
	return word
}

// CloseScopes adds what the scopes include, leaves out those that need one which
// is missing, and adds the former names, in order. writeOnly says that
// root_readwrite includes nothing.
func CloseScopes(scopes []string, writeOnly bool) []string {
	held := slices.Clone(scopes)
	if slices.Contains(held, writeAll) && !writeOnly {
		held = append(held, readAll)
	}
	var out []string
	for _, id := range held {
		s := scopeOf(id)
		missing := func(need string) bool { return !slices.Contains(held, need) }
		if !slices.ContainsFunc(s.Needs, missing) {
			out = append(append(out, id), s.Aliases...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func scopeOf(id string) subscriptions.Scope {
	i := slices.IndexFunc(catalogue, func(s subscriptions.Scope) bool { return s.ID == id })
	if i < 0 {
		return subscriptions.Scope{ID: id}
	}
	return catalogue[i]
}
