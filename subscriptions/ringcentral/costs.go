package ringcentral

import (
	"github.com/rescindhq/rescind/cache"
	"github.com/rescindhq/rescind/subscriptions"
	"github.com/rescindhq/rescind/subscriptions/client"
)

// Costs lists what each way of reading an extension takes of the vendor's usual
// limits. Tokens are not counted: a service token serves for an hour, a subject's
// own one comes from the customer. Where many are read at once it is less, since
// then one listing of the account stands for all their assigned roles.
func Costs() []subscriptions.Cost {
	return []subscriptions.Cost{
		{
			Basis: BasisProfile, As: subscriptions.OwnToken,
			Calls: calls(opProfile, opFeatures, opAssignedRoles),
		},
		{
			Basis: BasisProfile, As: subscriptions.ServiceToken,
			Calls: calls(opProfile, opAssignedRoles),
		},
		{
			Basis: BasisRoles, As: subscriptions.ServiceToken,
			Calls:   calls(opAssignedRoles),
			Shared:  "one light call for each role every two lives, at least every 150 s",
			Longest: cache.Ceiling / 2, // a part is fetched again with less than that left
		},
	}
}

// calls counts the operations by their groups, in the order of these.
func calls(all ...client.Op) (counted []subscriptions.GroupCalls) {
	for _, op := range all {
		last := len(counted) - 1
		if last >= 0 && counted[last].Group == op.Group {
			counted[last].Calls++
			continue
		}
		counted = append(counted, subscriptions.GroupCalls{Group: op.Group, Window: usual[op.Group], Calls: 1})
	}
	return counted
}
