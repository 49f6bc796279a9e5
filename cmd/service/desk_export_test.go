package service

import (
	"log/slog"
	"net/http"

	"github.com/rescindhq/rescind/events"
	"github.com/rescindhq/rescind/subscriptions"
)

// NewDesk is what answers operators over HTTP, without a listener.
func NewDesk(s Subscriptions, token string, homes []events.Home, log *slog.Logger) http.Handler {
	return desk{Subscriptions: s, token: subscriptions.NewSecret(token), homes: homes, log: log}
}

// SubscriptionsPath is subscriptionsPath.
const SubscriptionsPath = subscriptionsPath
