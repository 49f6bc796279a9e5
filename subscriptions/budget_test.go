package subscriptions_test

import (
	"slices"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions"
)

func TestCostCarriesWhatItsTightestGroupDoes(t *testing.T) {
	light := subscriptions.Window{Calls: 50, Length: time.Minute}
	medium := subscriptions.Window{Calls: 40, Length: time.Minute}
	one := subscriptions.GroupCalls{Group: "light", Window: light, Calls: 1}
	two := subscriptions.GroupCalls{Group: "medium", Window: medium, Calls: 2}
	tenth := subscriptions.GroupCalls{
		Group: "heavy", Window: subscriptions.Window{Calls: 10, Length: time.Second}, Calls: 1,
	}
	for name, tc := range map[string]struct {
		cost subscriptions.Cost
		want []int // at 10, 30, 60, 120 and 300 s
	}{
		"one group":    {subscriptions.Cost{Calls: []subscriptions.GroupCalls{one}}, []int{6, 20, 40, 80, 200}},
		"two groups":   {subscriptions.Cost{Calls: []subscriptions.GroupCalls{one, two}}, []int{2, 8, 16, 32, 80}},
		"in any order": {subscriptions.Cost{Calls: []subscriptions.GroupCalls{two, one}}, []int{2, 8, 16, 32, 80}},
		"another window": {subscriptions.Cost{Calls: []subscriptions.GroupCalls{tenth}},
			[]int{80, 240, 480, 960, 2400}},
		"resting on a part": {
			subscriptions.Cost{Calls: []subscriptions.GroupCalls{one}, Longest: 150 * time.Second},
			[]int{6, 20, 40, 80, 100},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []int
			for _, seconds := range []int{10, 30, 60, 120, 300} {
				got = append(got, tc.cost.Carries(time.Duration(seconds)*time.Second))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}
