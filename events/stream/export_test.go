package stream

// Seal and Unseal are what a vault does to a value on its way.
func Seal(key [32]byte, name string, value []byte) ([]byte, error) {
	return (&Vault{key: key}).seal(name, value)
}

// Unseal is the inverse of Seal.
func Unseal(key [32]byte, name string, sealed []byte) ([]byte, error) {
	return (&Vault{key: key}).open(name, sealed)
}
