package box

// TriggersOn lists what is asked for on a kind of item.
func TriggersOn(kind string) []string { return triggersOn(item{kind: kind}) }

// Concerned says whom an event of a type concerns, and whether the table has it.
func Concerned(name string) (whom string, listed bool) {
	n := 0
	for _, row := range eventTypes {
		for _, t := range row.types {
			if t == name {
				n++
			}
		}
	}
	return string(eventReach(name)), n == 1
}

// TriggerConcerns says whom a delivery of a trigger concerns.
func TriggerConcerns(name string) string { return string(triggerReach(name)) }
