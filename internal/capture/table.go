package capture

type tableColumn[T any] struct{}

func newTableColumn[T, V any](at func(*T) *V) tableColumn[T] { return tableColumn[T]{} }
