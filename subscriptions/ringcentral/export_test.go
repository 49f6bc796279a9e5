package ringcentral

import "time"

// Gather sets how long the first of a crowd waits for the others.
func (p *Provider) Gather(d time.Duration) { p.together.wait = d }
