package boxsim

import (
	"bytes"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// escaped is JSON as the vendor's deliveries have it: / as \/, and whatever is not ASCII as \uXXXX in lower
// case, in two units where UTF-16 has two. The signature covers these bytes.
func escaped(v any) ([]byte, error) {
	data, err := plain(v)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(len(data) + len(data)/8)
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		data = data[n:]
		switch {
		case r == '/':
			b.WriteString(`\/`)
		case r < utf8.RuneSelf:
			b.WriteByte(byte(r))
		default:
			for _, unit := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		}
	}
	return b.Bytes(), nil
}
