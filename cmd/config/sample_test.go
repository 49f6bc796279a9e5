package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/rescindhq/rescind/cmd/config"
)

// What the sample file shows of other providers as comments is valid once the
// signs of comments are gone.
func TestTheSamplesOtherProvidersAreValid(t *testing.T) {
	b, err := os.ReadFile("testdata/rescind.yml")
	if err != nil {
		t.Fatal(err)
	}
	text, others, found := strings.Cut(string(b), "\n  # box:\n")
	if !found {
		t.Fatal("the sample file shows no other provider")
	}
	text += "\n  box:" + strings.ReplaceAll("\n"+others, "\n  # ", "\n  ")
	c, err := config.Parse([]byte(text), "rescind.yml", environ("MURAL_CLIENT_SECRET=client-hunter2-secret",
		"BOX_CLIENT_SECRET=client-hunter2-secret", "BOX_SIGNATURE_KEY=hunter2", "BOX_SIGNATURE_KEY_2=hunter2-2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []config.Role{config.RoleListener, config.RoleWorker} {
		if err := c.Validate(role); err != nil {
			t.Error(err)
		}
	}
	if len(c.Providers) != 3 {
		t.Errorf("%d providers, want 3", len(c.Providers))
	}
}
