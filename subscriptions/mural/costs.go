package mural

import "github.com/rescindhq/rescind/subscriptions"

// Costs lists what each way of reading takes of the vendor's usual limit of a
// user, at most: of a mural, and with the own token in whose list the subject is
// not. One in the list takes two calls, and a workspace. Tokens are not counted.
func Costs() []subscriptions.Cost {
	return []subscriptions.Cost{
		{Basis: BasisOwn, As: subscriptions.OwnToken, Calls: calls(5)},
		{Basis: BasisMembers, As: subscriptions.ServiceToken, Calls: calls(2)},
	}
}

func calls(n int) []subscriptions.GroupCalls {
	return []subscriptions.GroupCalls{{Group: groupUser, Window: userWindow, Calls: n}}
}
