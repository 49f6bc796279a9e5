package ringcentral_test

import (
	_ "embed"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/subscriptions/ringcentral"
)

//go:embed testdata/permissions.txt
var table string

// TestScopesAreTheVendorsTable goes through the table row by row, and then
// through the catalogue for what is not in the table.
func TestScopesAreTheVendorsTable(t *testing.T) {
	rows := map[string][]string{} // name: includes, on request
	for line := range strings.Lines(table) {
		if cells := strings.Split(strings.TrimSuffix(line, "\n"), "|"); !strings.HasPrefix(line, "#") {
			rows[cells[0]] = cells[1:]
		}
	}
	if len(rows) != 38 {
		t.Fatalf("%d rows, the table has 38", len(rows))
	}
	var beyond []string
	for _, s := range ringcentral.Scopes() {
		cells, ok := rows[s.Name]
		delete(rows, s.Name)
		if ok != s.Tabled {
			t.Errorf("%s: in the table %v, says %v", s.Name, ok, s.Tabled)
		}
		if !ok {
			beyond = append(beyond, s.ID)
			continue
		}
		if got := strings.Join(s.Includes, ", "); got != cells[0] {
			t.Errorf("%s includes %q, want %q", s.Name, got, cells[0])
		}
		if s.OnRequest != (cells[1] == "on request") {
			t.Errorf("%s on request: %v", s.Name, s.OnRequest)
		}
		if want := strings.ReplaceAll(s.Name, " ", ""); s.ID != want {
			t.Errorf("%s has the id %q, want %q", s.Name, s.ID, want)
		}
	}
	if len(rows) != 0 {
		t.Errorf("rows without a scope: %v", rows)
	}
	if want := []string{"ReadAuditTrail", "RingSense", "WebSocket"}; !slices.Equal(beyond, want) {
		t.Errorf("beyond the table %v, want %v", beyond, want)
	}
}

func TestCloseScopes(t *testing.T) {
	for name, c := range map[string]struct{ give, want []string }{
		"none": {nil, []string{}},
		"two steps": {
			[]string{"Accounts"}, []string{"Accounts", "EditAccounts", "EditExtensions", "ReadAccounts"},
		},
		"the same by three": {[]string{"SMS", "Faxes"}, []string{"Faxes", "ReadMessages", "SMS"}},
		"an unknown one":    {[]string{"Tomorrow"}, []string{"Tomorrow"}},
		"nothing more":      {[]string{"ReadAccounts"}, []string{"ReadAccounts"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, ringcentral.CloseScopes(c.give)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestScopesCannotBeChangedByTheirReader(t *testing.T) {
	ringcentral.Scopes()[0].Includes[0] = "x"
	if got := ringcentral.Scopes()[0].Includes[0]; got == "x" {
		t.Error("the catalogue was changed")
	}
}
