package boxsim

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
)

// showWorld describes the world to humans: no secrets, no tokens, no addresses.
func (s *Box) showWorld(w http.ResponseWriter, _ *http.Request) {
	view := obj{"enterprise": s.opts.EnterpriseID, "users": s.Users(), "items": s.Items(),
		"collaborations": s.Collaborations(), "calls": s.AllCalls()}
	hooks := []string{}
	for _, x := range s.Webhooks() {
		hooks = append(hooks, fmt.Sprintf("%s of %s with %s on %s: %d delivered, %d failed", x.ID, x.User,
			x.ClientID, x.Target, x.Delivered, x.Failed))
	}
	view["webhooks"] = hooks
	unlock := s.lock()
	groups := []Group{}
	for _, g := range inOrder(s.world.groups, func(*Group) bool { return true }) {
		groups = append(groups, *g)
	}
	view["groups"], view["apps"] = groups, slices.Sorted(maps.Keys(s.apps))
	unlock()
	s.show(w, view)
}

func (s *Box) show(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		s.log.Debug("write answer", "error", err)
	}
}

func (s *Box) showFaults(w http.ResponseWriter, _ *http.Request) { s.show(w, s.Faults()) }

func (s *Box) addFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = json.Unmarshal(body, &f)
	}
	if err == nil {
		err = s.Fault(f)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Box) dropFaults(w http.ResponseWriter, _ *http.Request) {
	s.ClearFaults()
	w.WriteHeader(http.StatusNoContent)
}

func (s *Box) loseWebhook(w http.ResponseWriter, r *http.Request) {
	if err := s.LoseWebhook(r.PathValue("id")); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
