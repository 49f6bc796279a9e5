package boxsim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/google/go-cmp/cmp"
	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

// vendor is the vendor's description. Answers are held against it; requests are not, since many tests send
// bad ones.
type vendor struct {
	doc    *openapi3.T
	router routers.Router
}

// nulls are properties that the description forbids to be null, but that captures, fixtures of the SDKs or
// the guides show as null.
var nulls = map[string][]string{
	"User": {"created_at", "modified_at", "language", "timezone", "space_amount", "space_used",
		"max_upload_size", "status", "job_title", "phone", "address", "avatar_url"}, // of external users
	"User--Full": {"role", "tracking_codes", "can_see_managed_users", "is_sync_enabled",
		"is_external_collab_restricted", "is_exempt_from_device_limits", "is_exempt_from_login_verification",
		"enterprise", "my_tags", "hostname", "is_platform_access_only", "external_app_user_id"},
	"Collaboration": {"accessible_by", "acknowledged_at", "created_by"},           // pending
	"Event":         {"session_id", "source", "created_by", "additional_details"}, // in captures of 2025
	"Folder":        {"parent", "created_by"},                                     // of the root
	"File--Full":    {"lock"},
}

// extras are properties that captures show and the description lacks.
var extras = map[string][]string{
	"Event":           {"action_by", "ip_address", "accessible_by"},
	"GroupMembership": {"configurable_permissions"}, // fixtures of box-node-sdk, single memberships
}

// description is read once, since it is only looked at.
var description = sync.OnceValues(readDescription)

func loadVendor(t testing.TB) *vendor {
	t.Helper()
	v, err := description()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// readDescription reads testdata/box.openapi.json: a cut of github box/box-openapi, openapi/openapi.json at
// c9a878a9. Properties that it does not know become errors, so that a misspelt one is found.
func readDescription() (*vendor, error) {
	doc, err := openapi3.NewLoader().LoadFromFile("testdata/box.openapi.json")
	if err != nil {
		return nil, err
	}
	doc.Servers = nil
	for _, p := range doc.Paths.Map() {
		for _, op := range p.Operations() {
			op.Servers = nil
		}
	}
	all := doc.Components.Schemas
	for name, list := range nulls {
		for _, property := range list {
			if !allowNull(all[name].Value, property) {
				return nil, fmt.Errorf("the description has no %s.%s", name, property)
			}
		}
	}
	for name, list := range extras {
		for _, property := range list {
			all[name].Value.Properties[property] = openapi3.NewSchemaRef("", &openapi3.Schema{Nullable: true})
		}
	}
	correct(all)
	seen := map[*openapi3.Schema]bool{}
	for _, s := range all {
		flatten(s.Value, seen)
	}
	flattenAnswers(doc, seen)
	router, err := gorillamux.NewRouter(doc)
	return &vendor{doc, router}, err
}

// correct mends what contradicts the guides, or itself.
func correct(all openapi3.Schemas) {
	// Codes: the guide on common errors has many more, access_denied_insufficient_permissions among them.
	all["ClientError"].Value.Properties["code"].Value.Enum = nil
	// Scopes: base_sidebar, and any application scope, can be asked for (guide on scopes; tests of the SDKs).
	all["ResourceScope"].Value.Properties["scope"].Value.Enum = nil
	// Names are open: "unlisted ones may appear" (guide on enterprise events).
	all["Event"].Value.Properties["event_type"] = openapi3.NewSchemaRef("", openapi3.NewStringSchema())
	// Triggers: the guide names three otherwise, and three more.
	all["Webhook"].Value.AllOf[1].Value.Properties["triggers"].Value.Items.Value.Enum = nil
	// The free object fits whatever fits another one: no source can be exactly one of them.
	sources := all["EventSourceResource"].Value
	sources.AnyOf, sources.OneOf = sources.OneOf, nil
	// Entries of folders are files in their mini form too, and their full form can be asked for of folders.
	items := all["Item"].Value
	items.OneOf = openapi3.SchemaRefs{all["File--Full"], all["Folder--Full"], all["WebLink"]}
}

// allowNull finds the property in a schema or its parts.
func allowNull(s *openapi3.Schema, property string) bool {
	for _, part := range append(openapi3.SchemaRefs{{Value: s}}, s.AllOf...) {
		if p := part.Value.Properties[property]; p != nil {
			null := &openapi3.Schema{AnyOf: openapi3.SchemaRefs{p, {Value: &openapi3.Schema{Nullable: true,
				Enum: []any{nil}}}}, Nullable: true}
			part.Value.Properties[property] = openapi3.NewSchemaRef("", null)
			return true
		}
	}
	return false
}

func flattenAnswers(doc *openapi3.T, seen map[*openapi3.Schema]bool) {
	for _, p := range doc.Paths.Map() {
		for _, op := range p.Operations() {
			for _, reply := range op.Responses.Map() {
				for _, content := range reply.Value.Content {
					flatten(content.Schema.Value, seen)
				}
			}
		}
	}
}

// flatten puts the parts of allOf together, since each alone would forbid what the others have; then closes
// every object that names its properties.
func flatten(s *openapi3.Schema, seen map[*openapi3.Schema]bool) {
	if s == nil || seen[s] {
		return
	}
	seen[s] = true
	merge(s)
	for _, list := range []openapi3.SchemaRefs{s.OneOf, s.AnyOf} {
		for _, one := range list {
			flatten(one.Value, seen)
		}
	}
	for _, p := range s.Properties {
		flatten(p.Value, seen)
	}
	if s.Items != nil {
		flatten(s.Items.Value, seen)
	}
	// A defect of the description: shared links require "accessed", which is called access.
	s.Required = slices.DeleteFunc(s.Required, func(name string) bool { return name == "accessed" })
	if no := false; len(s.Properties) > 0 {
		s.AdditionalProperties.Has = &no
	}
}

// merge does so for one schema; parts do not run in a circle, what they mention may.
func merge(s *openapi3.Schema) {
	for _, part := range s.AllOf {
		merge(part.Value)
		absorb(s, part.Value)
	}
	s.AllOf = nil
}

func absorb(s, part *openapi3.Schema) {
	if len(part.Properties) > 0 && s.Properties == nil {
		s.Properties = openapi3.Schemas{}
	}
	for name, p := range part.Properties {
		s.Properties[name] = p
	}
	s.Required = append(s.Required, part.Required...)
	s.Enum = append(s.Enum, part.Enum...)
	s.OneOf, s.AnyOf = append(s.OneOf, part.OneOf...), append(s.AnyOf, part.AnyOf...)
	s.Nullable = s.Nullable || part.Nullable
	if s.Type == nil {
		s.Type = part.Type
	}
	if s.Items == nil {
		s.Items = part.Items
	}
	if part.AdditionalProperties.Schema != nil {
		s.AdditionalProperties = part.AdditionalProperties
	}
}

// check holds an answer against the description. It says nothing of refusals without a body, of empty answers
// that have none by their status, and of addresses that it does not know.
func (v *vendor) check(r *http.Request, a answer) error {
	bare := a.head.Get("WWW-Authenticate") != "" && (a.status == 401 || a.status == 403)
	bare = bare || a.status == 204 || a.status == 304 || strings.HasSuffix(r.URL.Path, "/revoke")
	if len(a.raw) == 0 && bare {
		return nil
	}
	if len(a.raw) == 0 {
		return errors.New("no body")
	}
	known := r.Clone(context.Background())
	known.URL.Path = strings.TrimPrefix(r.URL.Path, "/2.0")
	route, params, err := v.router.FindRoute(known)
	if errors.Is(err, routers.ErrPathNotFound) && a.status == 404 {
		return v.checkError(a.raw)
	}
	if err != nil {
		return err
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: known, PathParams: params, Route: route},
		Status: a.status, Header: a.head, Body: io.NopCloser(bytes.NewReader(a.raw)),
		Options: &openapi3filter.Options{IncludeResponseStatus: a.status < 400},
	})
}

func (v *vendor) checkError(raw []byte) error {
	var body any
	if err := json.Unmarshal(raw, &body); err != nil {
		return err
	}
	return v.doc.Components.Schemas["ClientError"].Value.VisitJSON(body)
}

// TestTheDescriptionIsHeldUp shows that the check can fail: by a misspelt property, a wrong type, an unlisted
// value, and one that is missing.
func TestTheDescriptionIsHeldUp(t *testing.T) {
	v := loadVendor(t)
	for name, c := range map[string]struct{ schema, json string }{
		"misspelt": {"Folder--Full", `{"type":"folder","id":"1","nmae":"x"}`},
		"type":     {"Folder--Full", `{"type":"folder","id":1}`},
		"value":    {"User--Full", `{"type":"user","id":"1","role":"king"}`},
		"missing":  {"File--Full", `{"type":"file"}`},
		"right":    {"Collaboration", `{"type":"collaboration","id":"1","role":"friend"}`},
		"null":     {"Collaboration", `{"type":"collaboration","id":"1","role":null}`},
		"deep": {"Folder--Full", `{"type":"folder","id":"1","permissions":{"can_delete":true,"can_download":true,
			"can_invite_collaborator":true,"can_rename":true,"can_set_share_access":true,"can_share":true,
			"can_fly":true}}`},
	} {
		var body any
		if err := json.Unmarshal([]byte(c.json), &body); err != nil {
			t.Fatal(err)
		}
		if v.doc.Components.Schemas[c.schema].Value.VisitJSON(body) == nil {
			t.Errorf("%s: passes", name)
		}
	}
}

// reason is an error of the check without the schema that it prints.
func reason(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\nSchema:")
	text, _, _ = strings.Cut(text, "\n  Schema:")
	return text
}

// TestStandardForms: without fields an answer has all that the description gives its standard form.
func TestStandardForms(t *testing.T) {
	w := start(t, boxsim.Options{})
	token := w.service(t)
	for path, schema := range map[string]string{"/users/me": "User", plans: "Folder", roadmap: "File",
		"/collaborations/31": "Collaboration", "/groups/11": "Group"} {
		a := w.get(t, token, path).want(t, 200, "")
		got := slices.Sorted(maps.Keys(a.json))
		want := slices.Sorted(maps.Keys(w.vendor.doc.Components.Schemas[schema].Value.Properties))
		want = slices.DeleteFunc(want, func(name string) bool { return name == "acceptance_requirements_status" })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}
