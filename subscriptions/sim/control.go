package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
)

// showWorld describes the world to humans: no secrets, no tokens.
func (s *RingCentral) showWorld(w http.ResponseWriter, _ *http.Request) {
	type roleLine struct {
		ID          string `json:"id"`
		DisplayName string `json:"displayName"`
		Custom      bool   `json:"custom"`
		Holders     int    `json:"holders"`
	}
	subs := s.Subscriptions()
	s.mu.Lock()
	view := struct {
		Accounts      []string       `json:"accounts"`
		Extensions    []Extension    `json:"extensions"`
		Roles         []roleLine     `json:"roles"`
		JWTs          []string       `json:"jwtCredentials"`
		Apps          []string       `json:"apps"`
		Subscriptions []string       `json:"subscriptions"`
		Calls         map[string]int `json:"calls"`
	}{Accounts: []string{s.opts.AccountID}, JWTs: s.jwtNames(), Apps: slices.Sorted(maps.Keys(s.apps)),
		Calls: maps.Clone(s.calls)}
	for _, id := range s.world.ids {
		view.Extensions = append(view.Extensions, *s.world.extensions[id])
	}
	for _, id := range s.world.roleIDs() {
		r := s.world.roles[id]
		view.Roles = append(view.Roles, roleLine{id, r.DisplayName, r.Custom, len(s.holders(id))})
	}
	s.mu.Unlock()
	for _, x := range subs {
		view.Subscriptions = append(view.Subscriptions, fmt.Sprintf("%s of %s with %s: %s, %d delivered, %d failed",
			x.ID, x.Owner, x.ClientID, x.Status, x.Delivered, x.Failed))
	}
	s.show(w, view)
}

func (s *RingCentral) show(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		s.log.Debug("write answer", "error", err)
	}
}

func (s *RingCentral) showFaults(w http.ResponseWriter, _ *http.Request) { s.show(w, s.Faults()) }

func (s *RingCentral) addFault(w http.ResponseWriter, r *http.Request) {
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

func (s *RingCentral) dropFaults(w http.ResponseWriter, _ *http.Request) {
	s.ClearFaults()
	w.WriteHeader(http.StatusNoContent)
}

func (s *RingCentral) disableFilter(w http.ResponseWriter, r *http.Request) {
	var of struct{ Filter, Reason string }
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = json.Unmarshal(body, &of)
	}
	if err != nil || of.Filter == "" {
		http.Error(w, `want {"filter": "...", "reason": "SUB-412"}`, http.StatusBadRequest)
		return
	}
	s.DisableFilter(of.Filter, of.Reason)
	w.WriteHeader(http.StatusNoContent)
}

func (s *RingCentral) loseSubscription(w http.ResponseWriter, r *http.Request) {
	if err := s.LoseSubscription(r.PathValue("id")); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
