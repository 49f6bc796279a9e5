package subscriptions_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

func TestGrantsAreOrderedByWhoFailsFirst(t *testing.T) {
	soon, later := time.Unix(1000, 0), time.Unix(2000, 0)
	want := []subscriptions.Grant{
		{User: "dead, and told to end soon", Dead: "refused", Expires: soon},
		{User: "dead, and told to end later", Dead: "refused again", Expires: later},
		{User: "dead", Dead: "x"},
		{User: "ends soon, served lately", Expires: soon, Refreshed: later},
		{User: "ends later, served long ago", Expires: later, Refreshed: soon},
		{User: "does not tell, never served"},
		{User: "does not tell, served long ago", Refreshed: soon},
		{User: "does not tell, served lately, 1", Refreshed: later},
		{User: "does not tell, served lately, 2", Refreshed: later},
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, subscriptions.Grant.Compare)
	users := func(all []subscriptions.Grant) (names []events.Subject) {
		for _, g := range all {
			names = append(names, g.User)
		}
		return names
	}
	if diff := cmp.Diff(users(want), users(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
