package boxsim_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rescindhq/rescind/subscriptions/sim/boxsim"
)

// vectors reads testdata/box-signature-vectors.json: the test vectors of Box's SDKs, each with its source.
func vectors(t *testing.T) (list []struct {
	Name             string
	Body             string
	Headers          map[string]string
	Key              *string `json:"primary_key"`
	Want             string  `json:"expected_primary_signature"`
	ExpectationHolds bool    `json:"expect_signature_valid"`
}) {
	t.Helper()
	data, err := os.ReadFile("testdata/box-signature-vectors.json")
	must(t, err)
	file := struct{ Vectors any }{&list}
	must(t, json.Unmarshal(data, &file))
	return list
}

func TestSignatureVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			got := boxsim.Sign(*v.Key, []byte(v.Body), v.Headers["box-delivery-timestamp"])
			if got != v.Want {
				t.Errorf("got %s, want %s", got, v.Want)
			}
		})
	}
}

// TestDeliveredBytes holds what is sent against the names in the vectors, whose signatures exist for the
// escaped form only.
func TestDeliveredBytes(t *testing.T) {
	w := start(t, boxsim.Options{})
	h := listen(t, nil)
	w.subscribe(t, w.service(t), "file", boxsim.FileRoadmap, h.url, "FILE.RENAMED", "SHARED_LINK.CREATED")
	field := regexp.MustCompile(`"name":"(?:[^"\\]|\\.)*"`)
	tried := 0
	for _, v := range vectors(t) {
		raw := field.FindString(v.Body)
		if raw == "" || strings.HasPrefix(v.Name, "NEGATIVE") {
			continue
		}
		tried++
		var name string
		must(t, json.Unmarshal([]byte(strings.TrimPrefix(raw, `"name":`)), &name))
		must(t, w.Rename(boxsim.FileRoadmap, name))
		n := h.next(t, "FILE.RENAMED")
		if !strings.Contains(string(n.raw), raw) {
			t.Errorf("%s: %s is not in %s", v.Name, raw, n.raw)
		}
		verify(t, n, "sim-primary-key", "sim-secondary-key")
	}
	if tried < 6 {
		t.Errorf("%d vectors have a name", tried)
	}
	must(t, w.Share(boxsim.FileRoadmap, "open"))
	n := h.next(t, "SHARED_LINK.CREATED")
	plain := func(r rune) bool { return r >= 32 && r < 127 }
	if !strings.Contains(string(n.raw), `"url":"https:\/\/acme.app.box.com\/s\/`) ||
		strings.TrimFunc(string(n.raw), plain) != "" {
		t.Errorf("not escaped: %s", n.raw)
	}
}

// verify checks both signatures; an empty key means that its header is absent.
func verify(t *testing.T, n notice, primary, secondary string) {
	t.Helper()
	at := n.head.Get("Box-Delivery-Timestamp")
	sent, err := time.Parse(time.RFC3339, at)
	age, zoned := time.Since(sent), strings.HasSuffix(at, "-07:00")
	if err != nil || age > time.Minute || age < -time.Second || !zoned {
		t.Errorf("timestamp %q: %v", at, err)
	}
	for name, key := range map[string]string{"Primary": primary, "Secondary": secondary} {
		want := ""
		if key != "" {
			want = boxsim.Sign(key, n.raw, at)
		}
		if got := n.head.Get("Box-Signature-" + name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	w := start(t, boxsim.Options{})
	h := listen(t, nil)
	w.subscribe(t, w.service(t), "folder", boxsim.FolderProjects, h.url, "FOLDER.RENAMED")
	const old = "sim-secondary-key"
	for _, keys := range [][2]string{{"new", old}, {"new", "newer"}, {"one", ""}, {"", "two"}, {}} {
		w.SetKeys(keys[0], keys[1])
		must(t, w.Rename(boxsim.FolderPlans, "x"))
		n := h.next(t, "FOLDER.RENAMED")
		verify(t, n, keys[0], keys[1])
		version, any := n.head.Get("Box-Signature-Version"), keys != [2]string{}
		if (version == "1") != any || (n.head.Get("Box-Signature-Algorithm") == "HmacSHA256") != any {
			t.Errorf("keys %q: version %q", keys, version)
		}
		if _, there := n.head["Box-Signature-Secondary"]; there != (keys[1] != "") {
			t.Errorf("keys %q: header of the second is there: %v", keys, there)
		}
	}
	w.SetKeys("one", "")
	w.SetQuirks(boxsim.Quirks{EmptySignature: true})
	must(t, w.Rename(boxsim.FolderPlans, "y"))
	if _, there := h.next(t, "FOLDER.RENAMED").head["Box-Signature-Secondary"]; !there {
		t.Error("no empty header")
	}
}
