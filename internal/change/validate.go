package change

import "errors"

// validate says what is wrong with a record beyond its form; data is its text, of which the error shows the line.
func (r *Record) validate(data []byte) error {
	if r.Version != Version {
		return errors.New("version 1 was expected")
	}
	return nil
}
