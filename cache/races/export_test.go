package races

// Edited is a client that changes scripts before the server sees them.
func Edited(rdb Redis, edit func(script string) string) Redis { return edited{rdb, edit} }

// Edited returns the options with the scripts changed as they are loaded.
func (o Options) Edited(edit func(script string) string) Options {
	o.edit = func(rdb Redis) Redis { return edited{rdb, edit} }
	return o
}
