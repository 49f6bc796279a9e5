package stream

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckVersion(t *testing.T) {
	for version, ok := range map[string]bool{
		"2.12.0": true, "2.15.2": true, "2.15.2-beta.1": true, "3.0.0": true,
		"2.11.9": false, "2.9.10": false, "1.99.0": false, "": false, "dev": false, "x.y.z": false,
	} {
		err := checkVersion(version)
		if (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
		if err != nil && (!errors.Is(err, ErrServer) || !strings.Contains(err.Error(), "2.12")) {
			t.Errorf("%q: %v does not name the version needed", version, err)
		}
	}
}
