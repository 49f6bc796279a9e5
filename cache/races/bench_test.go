package races_test

import (
	"testing"

	"github.com/rescindhq/rescind/cache/races"
)

// BenchmarkFence is one case of the fence on the model.
func BenchmarkFence(b *testing.B) {
	r, err := races.Run(b.Context(), races.Options{Cases: b.N, Strategies: []string{"d"}})
	if err != nil || r.Stale("d") {
		b.Fatal(r, err)
	}
}
