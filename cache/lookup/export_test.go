package lookup

// Exported for the fuzzer and the benchmarks.
var (
	ReadReply = readReply
	Fields    = fields
	Judge     = judge
)
