package sqlread
type hardCase struct{ text string }
var hardCases []hardCase
