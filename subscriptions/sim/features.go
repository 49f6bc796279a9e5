package sim

import (
	"cmp"
	"maps"
	"slices"
)

// Feature is a row of the feature table. Feature ids and permission ids are different name spaces.
type Feature struct {
	ID         string  `json:"id"`
	Available  bool    `json:"available"`
	Permission string  `json:"permission,omitempty"` // the permission it needs besides; empty: none
	Delegable  bool    `json:"delegable,omitempty"`  // shown of other extensions too (admin configuration)
	Params     []Param `json:"params,omitempty"`
	Reason     *Reason `json:"reason,omitempty"` // why not Available; an empty message becomes the vendor's
}

// Param is a parameter of a feature; values are strings whatever they mean.
type Param struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Reason says why a feature is not available. Code is the vendor's: ServicePlanLimitation, AccountLimitation,
// ExtensionTypeLimitation, ExtensionSubTypeLimitation, ExtensionLimitation, InsufficientPermissions,
// ConfigurationLimitation, PermissionLimitation.
type Reason struct {
	Code       string `json:"code"`
	Message    string `json:"message"`
	Permission string `json:"permission,omitempty"`
}

type featureInfo struct {
	ID        string  `json:"id"`
	Available bool    `json:"available"`
	Params    []Param `json:"params,omitempty"`
	Reason    *Reason `json:"reason,omitempty"`
}

type featureList struct {
	Records []featureInfo `json:"records"`
}

// readFeatures lists the caller's own features, or of another extension those that can be delegated. Reasons
// of missing permission speak of the caller in both cases.
func (c *call) readFeatures() (any, error) {
	e, err := c.extension()
	if err != nil {
		return nil, err
	}
	table := c.features(e)
	asked := c.query["featureId"]
	for _, id := range asked {
		if !slices.ContainsFunc(table, func(f Feature) bool { return f.ID == id }) {
			return nil, errParameter("featureId", id)
		}
	}
	list := featureList{Records: []featureInfo{}}
	for _, f := range table {
		if len(asked) > 0 && !slices.Contains(asked, f.ID) || e.ID != c.who.owner && !f.Delegable {
			continue
		}
		info := c.featureInfo(f)
		if info.Available || !c.flag("availableOnly") {
			list.Records = append(list.Records, info)
		}
	}
	return list, nil
}

// features is the default table with the extension's differences.
func (c *call) features(e *Extension) []Feature {
	own := maps.Clone(e.Features)
	table := slices.Clone(c.s.book.features)
	for i, f := range table {
		if o, ok := own[f.ID]; ok {
			table[i] = o
			delete(own, f.ID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(own)) {
		table = append(table, own[id])
	}
	return table
}

func (c *call) featureInfo(f Feature) featureInfo {
	if !f.Available {
		r := Reason{Code: "AccountLimitation"}
		if f.Reason != nil {
			r = *f.Reason
		}
		r.Message = cmp.Or(r.Message, reasonMessage(r))
		return featureInfo{ID: f.ID, Reason: &r}
	}
	if f.Permission != "" && len(c.world.scopesOf(c.s.book, c.who.owner, f.Permission)) == 0 {
		r := Reason{Code: "InsufficientPermissions", Permission: f.Permission}
		r.Message = reasonMessage(r)
		return featureInfo{ID: f.ID, Reason: &r}
	}
	return featureInfo{ID: f.ID, Available: true, Params: f.Params}
}

// reasonMessage is the vendor's text, from captures; those for the last three codes are ours.
func reasonMessage(r Reason) string {
	switch r.Code {
	case "ServicePlanLimitation":
		return "The feature is unavailable for the current service plan"
	case "AccountLimitation":
		return "The feature is turned off for the current account"
	case "ExtensionTypeLimitation":
		return "The feature is not available for the current extension type"
	case "ExtensionLimitation":
		return "The feature is not available for the current extension"
	case "InsufficientPermissions":
		return "No " + r.Permission + " permission granted"
	case "ConfigurationLimitation":
		return "The feature is switched off for the current extension"
	case "PermissionLimitation":
		return "The feature is blocked by a permission of the current extension"
	}
	return "The feature is not available"
}
