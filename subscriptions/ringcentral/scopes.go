package ringcentral

import (
	"slices"

	"github.com/rescindhq/rescind/subscriptions"
)

// readMessages is what the sending of anything implies.
var readMessages = []string{"ReadMessages"}

// catalogue is the table of docs/basics/permissions.md in github
// ringcentral/ringcentral-api-docs at 64067a50, then the three that only the
// public API description of August 2026 knows.
var catalogue = []subscriptions.Scope{
	tabled("Accounts", "EditAccounts"),
	tabled("AI"),
	tabled("Analytics"),
	tabled("CallControl"),
	tabled("Contacts", "ReadContacts"),
	tabled("ControlWebinars"),
	onRequest("DirectRingOut"),
	tabled("EditAccounts", "ReadAccounts", "EditExtensions"),
	tabled("EditCallLog", "ReadCallLog"),
	tabled("EditCustomData"),
	tabled("EditExtensions"),
	tabled("EditMessages", readMessages...),
	tabled("EditPaymentInfo"),
	tabled("EditPresence", "ReadPresence"),
	onRequest("EditReportingSettings"),
	onRequest("EditUserCredentials"),
	tabled("EditWebinars"),
	tabled("Faxes", readMessages...),
	tabled("Glip"), // its events are TeamMessaging's since 2021
	tabled("InternalMessages", readMessages...),
	tabled("Meetings"),
	tabled("ReadAccounts"),
	tabled("ReadCallLog"),
	tabled("ReadCallRecording", "ReadCallLog"),
	tabled("ReadClientInfo"),
	tabled("ReadContacts"),
	tabled("ReadMessages"),
	tabled("ReadPresence"),
	tabled("ReadWebinars"),
	tabled("RingOut"),
	onRequest("RoleManagement"),
	tabled("SMS", readMessages...),
	tabled("SubscriptionWebhook"),
	tabled("TeamMessaging"),
	tabled("Video"),
	tabled("Voicemail"),
	tabled("VoipCalling"),
	{Name: "A2P SMS", ID: "A2PSMS", Tabled: true},
	{Name: "ReadAuditTrail", ID: "ReadAuditTrail"},
	{Name: "RingSense", ID: "RingSense"},
	{Name: "WebSocket", ID: "WebSocket"},
}

func tabled(id string, includes ...string) subscriptions.Scope {
	return subscriptions.Scope{Name: id, ID: id, Includes: includes, Tabled: true}
}

func onRequest(id string) subscriptions.Scope {
	return subscriptions.Scope{Name: id, ID: id, OnRequest: true, Tabled: true}
}

// Scopes lists what an app may hold at RingCentral ("app permissions"). No
// scope there needs another to be of use, so none is left out of an entry for
// want of its dependency.
func Scopes() []subscriptions.Scope {
	out := slices.Clone(catalogue)
	for i := range out {
		out[i].Includes = slices.Clone(out[i].Includes)
	}
	return out
}

// CloseScopes adds what the scopes include, however deep, each once and in
// order. A scope that is not in the catalogue is kept as it is.
func CloseScopes(scopes []string) []string {
	includes := dictionary{}
	for _, s := range catalogue {
		includes[s.ID] = s.Includes
	}
	return includes.close(scopes)
}
