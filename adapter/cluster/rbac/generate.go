package rbac

//go:generate go run ./gen
