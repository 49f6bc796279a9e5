package muralsim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/rescindhq/rescind/subscriptions/sim/muralsim"
)

// loadVendor reads testdata/mural.connector.swagger.json: four operations of github
// microsoft/PowerPlatformConnectors, certified-connectors/Mural/apiDefinition.swagger.json at
// 8bff86eac6d04e939faee0de15298e911b118c21.
func loadVendor(t testing.TB) *openapi3.T {
	t.Helper()
	data, err := os.ReadFile("testdata/mural.connector.swagger.json")
	must(t, err)
	var old openapi2.T
	must(t, json.Unmarshal(data, &old))
	doc, err := openapi2conv.ToV3(&old)
	must(t, err)
	return doc
}

// unseen is what the connector does not describe and clients of the real service read.
var unseen = map[string]bool{"folderId": true, "state": true, "infinite": true, "_canvasLink": true,
	"expiresOn": true, "trialEnds": true, "sharingSettings": true, "next": true}

// correct mends what is wrong in the description: ids and times are epoch milliseconds, which no int32 holds.
// It also makes a field that nobody has seen an error.
func correct(s *openapi3.Schema) {
	if s.Format == "int32" {
		s.Format = "int64"
	}
	if s.Items != nil {
		correct(s.Items.Value)
	}
	if len(s.Properties) == 0 {
		return
	}
	for _, p := range s.Properties {
		correct(p.Value)
	}
	for name := range unseen {
		if s.Properties[name] == nil {
			s.Properties[name] = openapi3.NewSchemaRef("", openapi3.NewSchema().WithNullable())
		}
	}
	no := false
	s.AdditionalProperties.Has = &no
}

func TestAnswersAreAsTheConnectorDescribes(t *testing.T) {
	w := start(t, muralsim.Options{})
	doc := loadVendor(t)
	token := w.as(t, "u1")
	for _, x := range []struct {
		method, template, path string
		status                 int
		body                   any
	}{
		{"GET", "/workspaces", "/workspaces", 200, nil},
		{"GET", "/workspaces/{workspaceId}/rooms", space + "/rooms", 200, nil},
		{"GET", "/rooms/{roomId}/murals", atOpen + "/murals", 200, nil},
		{"POST", "/murals", "/murals", 201, map[string]any{"workspaceId": "rescind1234", "roomId": openRoom}},
	} {
		response := doc.Paths.Value(v1 + x.template).GetOperation(x.method).Responses.Status(x.status)
		schema := response.Value.Content.Get("application/json").Schema.Value
		correct(schema)
		var got any
		w.call(t, token, x.method, x.path, x.body).want(t, x.status, "").into(t, &got)
		if err := schema.VisitJSON(got); err != nil {
			t.Errorf("%s %s: %v", x.method, x.path, err)
		}
	}
}

func TestTheConnectorsIntegersAreTooSmall(t *testing.T) {
	w := start(t, muralsim.Options{})
	op := loadVendor(t).Paths.Value(v1 + "/rooms/{roomId}/murals").Get
	var got any
	w.get(t, w.as(t, "u1"), atOpen+"/murals").into(t, &got)
	schema := op.Responses.Status(200).Value.Content.Get("application/json").Schema.Value
	if schema.VisitJSON(got) == nil {
		t.Error("the description is right meanwhile: correct need not mend it")
	}
}

// shape lists what a JSON value is made of: ".value[].id string" and so on.
func shape(at string, v any, into map[string]string) map[string]string {
	switch x := v.(type) {
	case map[string]any:
		for k, v := range x {
			shape(at+"."+k, v, into)
		}
	case []any:
		for _, v := range x {
			shape(at+"[]", v, into)
		}
	case json.Number:
		into[at] = "fraction"
		if !strings.ContainsAny(x.String(), ".eE") {
			into[at] = "integer"
		}
	default:
		into[at] = fmt.Sprintf("%T", v)
	}
	return into
}

func number(t testing.TB, data []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	must(t, d.Decode(&v))
	return v
}

// testdata/shapes.json is written by hand after what public clients of the service read and send: github
// mickaelpham/mural-ruby at 740a138, MuralDevKit/mural-integrations-sdk at 155f5f4.
func TestShapes(t *testing.T) {
	w := start(t, muralsim.Options{})
	token := w.as(t, "u1")
	w.call(t, token, "PATCH", "/murals/"+plan+"/visitor-settings",
		map[string]any{"expiresOn": 1660000000000}).want(t, 200, "")
	data, err := os.ReadFile("testdata/shapes.json")
	must(t, err)
	wants, _ := number(t, data).(map[string]any)
	for name, want := range wants {
		method, path, _ := strings.Cut(name, " ")
		var body any
		if method == http.MethodPatch {
			body = map[string]any{"type": "neither"}
		}
		got := shape("", number(t, w.call(t, token, method, path, body).raw), map[string]string{})
		if strings.HasSuffix(path, "/murals") {
			delete(got, ".value[].visitorsSettings.expiresOn") // one of them has it
		}
		same(t, name, shape("", want, map[string]string{}), got)
	}
}

func TestWhatIsNeverShown(t *testing.T) {
	w := start(t, muralsim.Options{})
	token := w.as(t, "u2")
	if a := w.get(t, token, atOpen); bytes.Contains(a.raw, []byte("sharingSettings")) {
		t.Errorf("a room shows sharingSettings to who does not own it: %s", a.raw)
	}
	if a := w.get(t, token, atPrivate); !bytes.Contains(a.raw, []byte("sharingSettings")) {
		t.Errorf("a room hides sharingSettings from its owner: %s", a.raw)
	}
	created := w.post(t, token, "/rooms", object{"name": "N", "type": "open", "workspaceId": "rescind1234"})
	if created.want(t, 201, ""); bytes.Contains(created.raw, []byte("sharingSettings")) {
		t.Errorf("a new room shows sharingSettings: %s", created.raw)
	}
	for _, path := range []string{space + "/members", space + "/users", "/current-user"} {
		w.get(t, token, path).want(t, 404, "NOT_FOUND")
	}
}
